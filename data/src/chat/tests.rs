use super::*;
use crate::testing::shared;

fn rendered(source: &str, messages: &[Message]) -> Result<String, ChatError> {
    ChatTemplate::new(source, [("bos_token", "<s>"), ("eos_token", "</s>")])
        .unwrap()
        .with_clock(Clock::Fixed(1_754_570_096))
        .render(messages, true)
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
        ChatError::Render("no system turn (line 2 of the template)".into())
    );
    assert!(matches!(
        ChatTemplate::new("{% if %}", [("a", "b")]),
        Err(ChatError::Syntax(_))
    ));
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
        ("%T %Z 100%%é", "00:05:09 UTC 100%é"),
    ] {
        assert_eq!(written(format, secs), text, "{format}");
    }
    assert_eq!(written("%I %-I %p", 20_149 * 86_400 + 13 * 3600), "01 1 PM");
    for (format, refused) in [("%d %f", "%f is not"), ("%", "% is not"), ("%-", "% is not")] {
        let error = strftime(format, Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains(refused), "{error}");
    }
}

/// Every vector of the shared set, but those where Python goes through null tools, which are undefined here.
#[test]
fn vectors_of_real_templates() {
    let Some(dir) = shared("data/chat_templates") else {
        return;
    };
    let text = std::fs::read_to_string(dir.join("vectors_rendered.jsonl")).unwrap();
    let mut failed = BTreeMap::<String, Vec<String>>::new();
    let mut passed = 0;
    for line in text.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = vector["template"].as_str().unwrap();
        if vector["error"] == "TypeError: 'NoneType' object is not iterable" {
            continue;
        }
        let file = dir.join("templates").join(name.replace('/', "__") + ".jinja");
        let source = std::fs::read_to_string(file).unwrap();
        let tokens = ["bos_token", "eos_token"].map(|name| (name, vector[name].as_str().unwrap()));
        let now = vector["now"].as_str().unwrap();
        assert_eq!(now, "2025-08-07T12:34:56");
        let got = ChatTemplate::new(&source, tokens).and_then(|template| {
            template.with_clock(Clock::Fixed(1_754_570_096)).render_values(
                Value::from(Serde(&vector["messages"])),
                vector["add_generation_prompt"].as_bool().unwrap(),
            )
        });
        let matches = match (&got, vector["expected"].as_str()) {
            (Ok(got), Some(expected)) => got == expected,
            (Err(ChatError::Render(_)), None) => true,
            _ => false,
        };
        if matches {
            passed += 1;
        } else {
            let detail = format!(
                "{}: {got:?}\n  not {} {}",
                vector["set"], vector["expected"], vector["error"]
            );
            failed.entry(name.to_owned()).or_default().push(detail);
        }
    }
    eprintln!("{passed} vectors pass");
    for (name, details) in &failed {
        eprintln!("{name}: {} fail, first: {}", details.len(), details[0]);
    }
    assert!(
        failed.is_empty(),
        "{} templates fail: {:?}",
        failed.len(),
        failed.keys()
    );
}
