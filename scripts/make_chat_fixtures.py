#!/usr/bin/env python3
"""Makes data/tests/fixtures/chat.json, chat_prompts.json and chat_templates/: chat templates with what transformers renders of them.

    pip install transformers jinja2
    python scripts/make_chat_fixtures.py
    python scripts/make_chat_fixtures.py FOLDER_OF_TEMPLATES FILE.json    (and GCPO_PROMPTS=FILE.json cargo test prompts_of_messages)

Each entry has the template, the messages, the arguments and what transformers (its own function, so its own Jinja) made of them; where it
failed, `expected` is null. The clock stands still. chat_prompts.json are rows as TRL has them, with the prompt that TRL makes of each: where the
last message is the assistant's, the model goes on with it. chat_templates/ has the form of the folders that GCPO_TEMPLATES may name
(data/src/chat/template_vectors.rs).
"""

import datetime
import json
import sys
from pathlib import Path

import transformers
import transformers.utils.chat_template_utils as utils

NOW = datetime.datetime(2025, 8, 7, 12, 34, 56)
USER = [{"role": "user", "content": " What is 3+4? "}]
TALK = [{"role": "system", "content": "Be brief."}, *USER, {"role": "assistant", "content": "7, it's \"7\"."}]

EXPRESSIONS = [
    # Python's methods that minijinja lacks.
    *(f"'{text}'.{call}" for text in ("a-b-c", "", "-", "abc", "aßB c", " x  y ") for call in (
        "partition('-')", "rpartition('-')", "rsplit('-')", "rsplit('-', 1)", "rsplit()", "rsplit(None, 1)", "removeprefix('a')",
        "removesuffix('c')", "casefold()", "swapcase()", "title()", "zfill(6)", "ljust(6)", "rjust(6, '*')", "center(6, '*')",
        "center(9)", "split('-', 1)", "split()", "find('b')", "rfind('-')", "count('-')", "strip('a ')", "isspace()",
        "upper()", "capitalize()", "isalnum()", "replace('-', '+', 1)", "splitlines()", "index('a')", "rindex('-')")),
    "'-12'.zfill(5)", "'it\\'s o\\'clock'.title()", "'x'.center(4, 'ab')", "'ab'.removeprefix('')", "'ab'.partition('')",
    # Formatting.
    "'%s' % 3", "'%s' % 'x'", "'%s and %s' % ('a', 1)", "'%d%%' % 7", "'%5.2f|%-4s|%04d' % (3.14159, 'a', 42)", "'%s' % none",
    "'%s' % true", "'%s' % [1, 'a']", "'%(k)s!' % {'k': 'v'}", "'%x' % 255", "'%s' % messages[0].content | trim", "'a' ~ '%s' % 1 ~ 'b'",
    "'%s' % (1, 2)", "'%s %s' % 1", "7 % 3", "-7 % 3", "('%s' ~ '!') % 'x'", "'%s' | format(none)",
    # None and what is undefined.
    "tools", "tools is none", "tools is defined", "tools is not none", "not tools", "documents is none", "tools == none",
    "enable_thinking is defined", "nothing", "nothing is defined", "tools | tojson", "nothing | default('d')", "tools or 'no'",
    *(f"{value} is {test}" for value in ("tools", "nothing", "'ab'", "[1]", "{'a': 1}", "1", "true", "(1,)") for test in (
        "iterable", "sequence", "mapping", "string", "number", "none", "boolean", "defined", "true", "integer")),
    "tools | length", "nothing | length", "nothing | list", "tools.x", "nothing.x", "tools[0]", "tools ~ 'a'", "tools + 'a'",
    # What is printed as Python prints it.
    "[1, 1.5, 'a', none, true, {'k': (1,)}]", "(1, 2)", "()", "{'a': \"it's\"}", "'a\\nb'", "['a\\nb\\x07']", "{'b': [], 'a': {}} | tojson",
    "{'b': 1, 'a': ['é', 2.5, none, false]} | tojson(indent=2)", "['é', '😀'] | tojson(ensure_ascii=true)",
    "{1: 2, 'x': 3} | tojson", "[1, 2] | tojson(separators=(',', ':'))", "messages[0] | tojson",
    # Jinja's filters and tests, with the arguments that they have there. No template was seen to use those that are not here: filesizeformat,
    # lipsum, pprint, random, urlencode, urlize, wordwrap, xmlattr, and what Python refuses between values of two kinds.
    *(f"{value} | {call}" for value in ("[3, 1, 2]", "['b', 'A', 'a']", "[]") for call in (
        "sort", "sort(true)", "sort(reverse=true)", "sort(true, true)", "sort(case_sensitive=true)", "first", "last", "min", "max",
        "unique | list", "reverse | list", "join", "join('-')", "list", "length", "count", "sum", "batch(2) | list", "batch(2, 'x') | list",
        "slice(2) | list", "map('string') | list", "select('string') | list", "reject('string') | list")),
    *(f"{value} | {call}" for value in ("[{'n': 'b', 'a': 2}, {'n': 'A', 'a': 1}, {'n': 'c', 'a': 2}]",) for call in (
        "sort(attribute='a') | map(attribute='n') | list", "sort(true, attribute='a') | map(attribute='n') | list",
        "sort(attribute='a,n') | map(attribute='n') | list", "map(attribute='x', default='d') | list", "join(', ', attribute='n')",
        "sum(attribute='a')", "sum('a', 10)", "selectattr('a', 'equalto', 2) | map(attribute='n') | join", "rejectattr('a', 'gt', 1) | list",
        "selectattr('x') | list", "selectattr('x', 'undefined') | list | length", "unique(attribute='a') | map(attribute='n') | list",
        "max(attribute='a')", "min(attribute='n')", "groupby('a') | list | length", "map('length') | list",
        "groupby('a') | map(attribute='grouper') | list")),
    *(f"{value} | {call}" for value in ("'1'", "'x'", "'1.5'", "1.9", "-1.9", "true", "none", "' 12 '", "'0x1f'", "'1e3'", "'1_0'") for call in (
        "int", "int(-1)", "int(default=7)", "float", "float(2.5)", "float('d')", "string", "int(0, 16)", "list")),
    *(f"{value} | {call}" for value in ("2.5", "3.14159", "1234567.891", "10") for call in (
        "round(2)", )),
    *(f"{value} | {call}" for value in ("'a\nb\n\nc\n'", "'  one TWO three-four  '", "''", "'it\'s'") for call in (
        "indent", "indent(2)", "indent(2, true)", "indent(2, true, true)", "indent('> ')", "indent(width=2, first=true)", "indent(2, blank=true)",
        "upper", "lower", "title", "capitalize", "trim", "trim(' e')", "trim('')", "length", "wordcount", "reverse", "list", "first", "last",
        "replace('e', 'E')", "replace('e', 'E', 1)", "center(30)", "truncate(8)", "truncate(8, true)", "truncate(8, true, '')",
        "truncate(8, false, '...', 0)", "escape", "e", "striptags", "default('d', true)", "default('d')", "d('d', true)",
        "string", "safe", "forceescape")),
    *(f"{value} | {call}" for value in ("{'b': 1, 'A': 3, 'a': 2}",) for call in (
        "dictsort", "dictsort(true)", "dictsort(by='value')", "dictsort(false, 'value', true)", "dictsort(reverse=true)", "items | list", "list",
        "length", "first", "tojson", "string", "map('upper') | list", "join(',')", "sort", "max", "default({})")),
    *(f"{value} is {test}" for value in ("1", "2", "1.5", "false") for test in ("odd", "even", "divisibleby(2)", "gt(1)", "lt(2)", "ge(1)", "le(1)")),
    *(f"{value} is {test}" for value in ("1", "2", "'a'", "'A'", "none", "[1]", "nothing", "1.5", "false") for test in (
        "lower", "upper", "in [1, 'a']", "eq(1)", "equalto(1)", "==(1)", "ne(1)",
        "sameas(none)", "false", "float", "escaped", "undefined")),
    "1 - -2", "- 1", "2 ** 3", "2 ** -1", "7 // 2", "-7 // 2", "7 / 2", "6 / 2", "1 == 1.0", "'a' * 3", "3 * 'a'", "[1] * 2", "[1] + [2]",
    "(1,) + (2,)", "'a' < 'b'", "1 < 2 < 3", "3 > 2 > 2", "1 in (1, 2)", "'k' in {'k': 1}", "not 1 in [1]", "1 if false", "[1, 2][-1]", "'abc'[::-1]",
    "'abc'[5:]", "[1, 2, 3][1:] | list", "{'a': 1}.a", "{'a': 1}['b']", "{'a': {'b': 1}}.a.b", "{'a': 1}.get('b', 2)",
    "{'a': 1}.items() | list", "{'a': 1}.keys() | list", "{'a': 1}.values() | list", "dict(a=1)", "{'a': 1} == {'a': 1.0}", "range(3) | list", "range(1, 9, 3) | list",
    "cycler(1, 2).next()", "joiner(', ')()", "namespace(a=1).a", "true and 1", "0 or none", "not ''", "1.0", "1e3", "1_000", "0.1 + 0.2",
    "10 ** 20", "1 // 0", "'%s' % 1.0", "1.0 | string", "100000000000000000000.0", "1e-7", "none ~ 1", "[1, [2, 'x']] | string", "'a' 'b'", "\"a\\nb\"", "'\\u00e9'",
    "'a'.upper()", "'a,b'.split(',')", "'-'.join(['a', 'b'])", "'{} {}'.format(1, 'x')", "'{0:>5}|{k}'.format('a', k=2)", "'abc'.startswith('a')",
    "'abc'.endswith(('c', 'd'))", "'a'.isdigit()", "'1'.isnumeric()", "[1, 2].index(2)", "[1, 1].count(1)", "{'a': 1}.copy()",
    "[3, 1].sort()", "[1].append(2)", "{'a': 1}.update({'b': 2})", "{'a': 1}.pop('a')", "'a'.__class__", "messages.__len__()",
    "messages | length", "messages[-1]['role']", "messages[0].content.split()[-1].rstrip('?')", "'3' in messages[0].content",
]

CODES = "aAbBcCdDeFgGHIjklmMnpPrRsStTuUVwWxXyYzZ%f"

TEMPLATES = [
    "{% if tools is not none %}TOOLS{% endif %}{% if tools %}tools{% endif %}{{ messages[0].content }}",
    "{% for m in messages %}{% if '3' in m.content %}[three]{% else %}[other]{% endif %}{{ m.content | trim }}{% endfor %}",
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{{ level | default('none') }}",
    "{%- set enable = enable_thinking if enable_thinking is defined else true -%}{{ enable }}",
    "{% macro turn(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{% for m in messages %}{{ loop.index0 % 2 == 0 }} {% if loop.last %}{{ '%s of %d' % (loop.index, loop.length) }}{% endif %}{% endfor %}",
    "{% generation %}\n  {{ messages[0].content }}\n{% endgeneration %}\n|",
    "{% raw %}{{ '%s' % x }}{% endraw %}{# '%s' % x #}{{ bos_token }}",
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}",
    "{{ raise_exception('no') }}",
    "a\r\nb{% if true %}\r\nc{% endif %}\r\n",
]
ARGUMENTS = [{}, {"enable_thinking": False}, {"enable_thinking": True, "level": "high"}, {"date_string": "1 Jan 2020"}]


# Templates as real ones are: roles that must alternate, tools by a macro, a date, a system turn that moves.
FILES = {
    "made/chatml": """{%- if messages[0].role != 'system' %}
{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if loop.first and message.role not in ['system', 'user'] %}
        {{- raise_exception('Begin with the user.') }}
    {%- endif %}
    {{- '<|im_start|>%s\\n%s<|im_end|>\\n' % (message.role, message['content'] | trim) }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "made/strict": """{{ bos_token }}{% set ns = namespace(system='') %}
{% for m in messages if m['role'] == 'system' %}{% set ns.system = m['content'] %}{% endfor %}
Today is {{ strftime_now('%-d %B %Y') }}.
{% for m in messages | rejectattr('role', 'equalto', 'system') %}
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant') }}
{% endif %}
{% if m['role'] == 'user' %}
[INST] {{ (ns.system ~ '\\n\\n' if loop.first and ns.system else '') + m['content'].strip() }} [/INST]
{% else %}
{% generation %}
{{ m['content'].split('</think>')[-1].lstrip() }}{{ eos_token }}
{% endgeneration %}
{% endif %}
{% endfor %}
""",
    "made/tools": """{% macro show(tool) %}
{{ tool.name }}({% for name, what in (tool.parameters | default({})).items() %}{{ name }}: {{ what | tojson }}{{ ', ' if not loop.last }}{% endfor %})
{% endmacro %}
{% for tool in tools %}{{ show(tool) | indent(2, first=true) }}{% endfor %}
{% for message in messages %}{{ message.role | upper }}: {{ message.content }}
{% endfor %}""",
}
SETS = {"user": USER, "system_user": TALK[:2], "multi": [*TALK, *USER], "think": [*USER, {"role": "assistant", "content": "<think>3</think> 7"}, *USER],
        "bad_order": [TALK[2], *USER]}
TOOLS = [{"name": "add", "parameters": {"a": {"type": "number"}, "b": {"type": ["number", "null"], "é": True}}}, {"name": "now"}]


def vectors(folder):
    """A folder of templates and vectors."""
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    def rendered(template, **values):
        try:
            return utils._compile_jinja_template(template).render(tools=values.pop("tools", None), documents=None, **values), None
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
    lines = {"rendered": [], "external": [], "engine": []}
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    for name, template in FILES.items():
        (folder / "templates" / (name.replace("/", "__") + ".jinja")).write_text(template)
        for kind, messages in SETS.items():
            for prompt in (True, False):
                expected, error = rendered(template, messages=messages, add_generation_prompt=prompt, **tokens)
                lines["rendered"].append({"template": name, "set": kind, "messages": messages, "add_generation_prompt": prompt, **tokens,
                                          "now": NOW.isoformat(), "expected": expected, "error": error})
        inputs = {"messages": TALK, "tools": TOOLS, "add_generation_prompt": True, "enable_thinking": False, **tokens}
        if "strftime_now" not in template:
            expected, _ = rendered(template, **inputs)
            lines["external"].append({"source": "made", "name": name, "template": template, "inputs": inputs, "expected": expected,
                                      "python_agrees": True})
    context = {"messages": TALK, "numbers": [3, 1, 2], "d": {"b": 1, "a": [True, None]}}
    for number, template in enumerate(("{{ numbers | sort(true) }}{{ d }}", "{{ d | tojson(indent=2) }}", "{{ messages | map(attribute='role') | join(', ') }}",
                                       "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}", "{{ numbers[::-1] }}|{{ 'x' | int(7) }}")):
        expected, _ = rendered(template, **context)
        lines["engine"].append({"name": f"made {number}", "template": template, "context": context, "expected": expected, "python_agrees": True})
    lines["engine"].append({"name": "as JavaScript", "template": "{{ true }}", "context": {}, "expected": "true", "python_agrees": False})
    for kind, entries in lines.items():
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        (folder / f"vectors_{kind}.jsonl").write_text(text)


# Prompts as rows have them: several turns, a message that is begun, thoughts beside a message, arguments.
THOUGHT = [*USER, {"role": "assistant", "content": "7", "reasoning_content": "3 and 4"}, {"role": "user", "content": "Sure?"}]
PROMPTS = {
    "user": (USER, {}), "system": (TALK[:2], {}), "turns": ([*TALK, {"role": "user", "content": "And 5+6?\n"}], {}),
    "begun": ([*USER, {"role": "assistant", "content": "<think>\n"}], {}), "begun_trimmed": ([*TALK[:2], {"role": "assistant", "content": " It is "}], {}),
    "begun_plain": ([*TALK, *USER, {"role": "assistant", "content": "Let me see:"}], {}), "thought": (THOUGHT, {}),
    "thought_trl": ([*USER, {"role": "assistant", "content": "7", "thinking": "3, 4"}, {"role": "user", "content": "Sure?"}], {}),
    "no_thinking": (USER, {"enable_thinking": False}), "thinking": ([*TALK, *USER], {"enable_thinking": True}),
    "tool": ([*USER, {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"a": 3}}]},
              {"role": "tool", "content": "7", "name": "add"}, {"role": "user", "content": "So?"}], {}),
}
PROMPT_FILES = {
    "chatml": FILES["made/chatml"], "strict": FILES["made/strict"],
    "thinks": """{%- for message in messages %}
{{- '<|' + message.role + '|>' }}
{%- if message.reasoning_content is defined and not loop.last %}{{- '<think>' + message.reasoning_content + '</think>' }}{%- endif %}
{%- if message.thinking is defined %}{{- '(' + message.thinking + ')' }}{%- endif %}
{%- if message.tool_calls %}{{- message.tool_calls | tojson }}{%- endif %}
{{- message.content }}
{%- if not (loop.last and message.role == 'assistant') %}{{- '<|end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- if enable_thinking is defined and not enable_thinking %}{{- '<think></think>' }}{%- endif %}{%- endif %}
""",
    "last_turn_is_lost": "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
}


def prompts(path, templates):
    """Rows, and the prompts that TRL makes of them."""
    entries = []
    for name, template in templates.items():
        for kind, (messages, arguments) in PROMPTS.items():
            if any(argument not in template for argument in arguments):
                continue
            begun = messages[-1]["role"] == "assistant"
            try:
                rendered, _ = utils.render_jinja_template(
                    [messages], chat_template=template, add_generation_prompt=not begun, continue_final_message=begun, bos_token="<s>",
                    eos_token="</s>", **arguments)
                expected = rendered[0]
            except Exception:
                expected = None
            row = {"prompt": messages, **({"chat_template_kwargs": arguments} if arguments else {})}
            entries.append({"template": name, "kind": kind, "row": row, "expected": expected})
    document = {"transformers": transformers.__version__, "now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()),
                "templates": templates, "entries": entries}
    path.write_text(json.dumps(document, ensure_ascii=False).replace("}, {\"template", "},\n{\"template") + "\n")


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main():
    utils.datetime = Clock
    fixtures = Path(__file__).parent.parent / "data/tests/fixtures"
    if len(sys.argv) > 1:
        folder, path = map(Path, sys.argv[1:])
        return prompts(path, {file.stem: file.read_text() for file in sorted(folder.glob("*.jinja"))})
    vectors(fixtures / "chat_templates")
    prompts(fixtures / "chat_prompts.json", PROMPT_FILES)
    cases = [("{{ %s }}" % expression, TALK, {}) for expression in EXPRESSIONS]
    cases += [("{{ strftime_now('%s') }}" % ("%" + flag + code), USER, {}) for code in CODES for flag in ("", "-")
              if not (flag and code in "aAbBcDFjnprRtTxXzZ%fPs")]
    cases += [(template, messages, arguments) for template in TEMPLATES for messages in (USER, TALK) for arguments in ARGUMENTS]
    entries = []
    for template, messages, arguments in cases:
        try:
            rendered, _ = utils.render_jinja_template(
                [messages], chat_template=template, add_generation_prompt=True, bos_token="<s>", **arguments)
            expected = rendered[0]
        except Exception:
            expected = None
        entries.append({"template": template, "talk": messages is TALK, "arguments": arguments, "expected": expected})
    document = {"transformers": transformers.__version__, "now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()),
                "user": USER, "talk": TALK, "entries": entries}
    (fixtures / "chat.json").write_text(json.dumps(document, ensure_ascii=False).replace("}, {\"template", "},\n{\"template") + "\n")


if __name__ == "__main__":
    main()
