#!/usr/bin/env python3
"""Makes data/tests/fixtures/chat.json: chat templates with what transformers renders of them.

    pip install transformers jinja2
    python scripts/make_chat_fixtures.py

Each entry has the template, the messages, the arguments and what transformers (its own function, so its own Jinja) made of them; where it
failed, `expected` is null. The clock stands still.
"""

import datetime
import json
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


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main():
    utils.datetime = Clock
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
    path = Path(__file__).parent.parent / "data/tests/fixtures/chat.json"
    path.write_text(json.dumps(document, ensure_ascii=False).replace("}, {\"template", "},\n{\"template") + "\n")


if __name__ == "__main__":
    main()
