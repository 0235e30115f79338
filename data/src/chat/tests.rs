use super::time::strftime;
use super::*;

/// At 2025-08-07T12:34:56.
fn options() -> ChatOptions {
    ChatOptions {
        now: 1_754_570_096,
        ..ChatOptions::default()
    }
}

fn template(source: &str) -> Result<ChatTemplate, ChatError> {
    ChatTemplate::new(
        source,
        "a.jinja",
        [("bos_token", "<s>"), ("eos_token", "</s>")],
        &options(),
    )
}

fn rendered(source: &str, messages: &[Message]) -> Result<String, ChatError> {
    template(source).unwrap().render(messages, true)
}

#[test]
fn a_template_renders_as_in_python() {
    let messages = [
        Message::new("system", " Be brief. "),
        Message::new("user", "2+2?"),
    ];
    let source = "{{ bos_token }}{% for m in messages %}\n  {% if m['role'] == 'user' %}\n[{{ m.content.strip() }}]\n  \
                  {% endif %}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}";
    assert_eq!(rendered(source, &messages).unwrap(), "<s>[2+2?]\n>");
    for (source, expected) in [
        ("{{ true }} {{ none }} {{ undefined_name }}|", "True None |"),
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "system", "content": " Be brief. "}"#,
        ),
        (
            "{{ [1, '<é>'] | tojson(ensure_ascii=true) }}",
            r#"[1, "<\u00e9>"]"#,
        ),
        (
            "{{ {'b': 1, 'a': []} | tojson(indent=2, sort_keys=true) }}",
            "{\n  \"a\": [],\n  \"b\": 1\n}",
        ),
        (
            "{{ strftime_now('%d %b %Y %H:%M:%S %A %-m') }}",
            "07 Aug 2025 12:34:56 Thursday 8",
        ),
        (
            "{% generation %}x{% endgeneration %}{%- generation -%} y {%- endgeneration -%}",
            "xy",
        ),
        (
            "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "012",
        ),
        ("{{ ['a', \"b'c\", none] }}", "['a', \"b'c\", None]"),
    ] {
        assert_eq!(rendered(source, &messages).unwrap(), expected, "{source}");
    }
}

#[test]
fn errors_say_what_and_where() {
    let error = rendered("a\n{{ raise_exception('no system turn') }}", &[]).unwrap_err();
    assert_eq!(
        error,
        ChatError::Render {
            file: "a.jinja".into(),
            message: "no system turn (line 2 of the template)".into()
        }
    );
    assert!(matches!(template("{% if %}"), Err(ChatError::Syntax { .. })));
}

/// As Python 3 and glibc write them in the C locale.
#[test]
fn times_are_written_as_in_python() {
    let written = |format: &str, secs: i64| strftime(format, Timestamp::from_second(secs).unwrap()).unwrap();
    for (days, date) in [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (11_016, "2000-02-29"),
        (20_148, "2025-03-01"),
    ] {
        assert_eq!(written("%Y-%m-%d", days * 86_400), date);
        assert_eq!(written("%F", days * 86_400), date);
    }
    // Sunday 2 March 2025, 00:05:09.
    let secs = 20_149 * 86_400 + 309;
    for (format, text) in [
        ("%a %A|%b %h %B", "Sun Sunday|Mar Mar March"),
        ("%d|%-d|%e|%m|%-m|%y|%Y", "02|2| 2|03|3|25|2025"),
        ("%H|%-H|%I|%-I|%M|%-M|%S|%-S|%p", "00|0|12|12|05|5|09|9|AM"),
        ("%T %Z 100%%é", "00:05:09  100%é"),
    ] {
        assert_eq!(written(format, secs), text, "{format}");
    }
    assert_eq!(written("%I %-I %p", 20_149 * 86_400 + 13 * 3600), "01 1 PM");
    for (format, refused) in [
        ("%d %E", "%E is not"),
        ("%", "% is not supported"),
        ("%-", "%- is not supported"),
    ] {
        let error = strftime(format, Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains(refused), "{error}");
    }
}

/// What transformers renders (scripts/make_chat_fixtures.py): Python's methods, formatting, none, undefined, arguments.
#[test]
fn transformers_renders_the_same() {
    #[derive(serde::Deserialize)]
    struct Entry {
        template: String,
        talk: bool,
        arguments: Map<String, Json>,
        expected: Option<String>,
    }
    let fixtures: Json = serde_json::from_str(include_str!("../../tests/fixtures/chat.json")).unwrap();
    let entries: Vec<Entry> = serde_json::from_value(fixtures["entries"].clone()).unwrap();
    let mut failed = Vec::new();
    for entry in &entries {
        let mut options = options();
        assert_eq!(fixtures["now"], options.now);
        options.arguments = entry.arguments.clone();
        let messages = &fixtures[if entry.talk { "talk" } else { "user" }];
        let got = match ChatTemplate::new(&entry.template, "a.jinja", [("bos_token", "<s>")], &options) {
            // transformers takes it and says nothing.
            Err(ChatError::Argument { .. }) => continue,
            got => got.and_then(|template| {
                template.render_with([
                    ("messages", Value::from(Serde(messages))),
                    ("add_generation_prompt", Value::from(true)),
                ])
            }),
        };
        if got.as_ref().ok() != entry.expected.as_ref() {
            failed.push(format!(
                "{:?}\n  {got:?}\n  not {:?}",
                entry.template, entry.expected
            ));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        entries.len(),
        failed.join("\n")
    );
}

#[test]
fn an_argument_that_is_never_read_is_refused() {
    let with = |source: &str, arguments: Json| {
        let options = ChatOptions {
            arguments: arguments.as_object().unwrap().clone(),
            ..ChatOptions::default()
        };
        ChatTemplate::new(source, "a.jinja", [("bos_token", "<s>")], &options)
    };
    let source = "{% if enable_thinking is defined and not enable_thinking %}{{ bos_token }}-{% endif %}";
    let template = with(source, serde_json::json!({"enable_thinking": false})).unwrap();
    assert_eq!(template.render(&[], true).unwrap(), "<s>-");
    for (arguments, said) in [
        (
            serde_json::json!({"thinking": false}),
            "never reads `thinking`; it reads `enable_thinking`",
        ),
        (
            serde_json::json!({"messages": []}),
            "`messages` is what the program itself gives",
        ),
    ] {
        let error = with(source, arguments).unwrap_err().to_string();
        assert!(error.starts_with("prompt.chat_template_kwargs: "), "{error}");
        assert!(error.contains(said), "{error}");
    }
    let error = with("{{ messages }}", serde_json::json!({"a": 1}))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("it reads no arguments"), "{error}");
}

/// Loops without an end, strings of gigabytes, and values that are small and print large.
#[test]
fn bombs_are_refused_in_bounded_time_and_memory() {
    let doubled = "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    let twins = "{% set ns = namespace(a=['x'], b=['x']) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}\
                 {% set ns.b = [ns.b, ns.b] %}{% endfor %}";
    let deep = "{% set ns = namespace(a=[]) %}{% for i in range(100000) %}{% for j in range(100000) %}{% set ns.a = [ns.a] %}\
                {% endfor %}{% endfor %}";
    for (source, said) in [
        ("{{ 'x' * 10**9 }}".to_owned(), "more than"),
        ("{{ '%1000000000s' % 'x' }}".into(), "more than"),
        ("{{ '%1000000000d' | format(1) }}".into(), ""),
        ("{{ 'x'.center(1000000000) }}".into(), "more than"),
        ("{{ 'x'.zfill(1000000000) }}".into(), "more than"),
        ("{{ {'a': 1} | tojson(indent=1000000000) }}".into(), "more than"),
        ("{{ ('x' * 9999).replace('x', 'y' * 99999) }}".into(), "more than"),
        ("{{ 'x' * (('y' * 9999999) | length) * 99 }}".into(), "more than"),
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}".into(),
            "more than",
        ),
        (
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".into(),
            "recursion",
        ),
        (doubled.to_owned(), "more than"),
        (format!("{twins}{{{{ ns.a }}}}"), "more than"),
        (format!("{twins}{{{{ ns.a | tojson }}}}"), "more than"),
        (format!("{twins}{{{{ ns.a | string }}}}"), "more than"),
        (format!("{twins}{{{{ ns.a == ns.b }}}}"), "not done after"),
        (deep.to_owned(), "more than"),
        (
            format!("{{{{ {}1{} }}}}", "[".repeat(9999), "]".repeat(9999)),
            "recursion",
        ),
    ] {
        let started = std::time::Instant::now();
        let error = template(&source).and_then(|template| template.render(&[], true));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(said), "{source}: {error}");
        assert!(started.elapsed().as_secs() < 10, "{source}");
    }
    // A long question is none.
    let long = [Message::new("user", "word ".repeat(200_000))];
    let source =
        "{% for m in messages %}{{ m.content.strip().split() | length }}{{ m.content | trim }}{% endfor %}";
    assert!(rendered(source, &long).unwrap().len() > 999_000);
}
