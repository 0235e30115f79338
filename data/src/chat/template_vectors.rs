//! Chat templates against vectors: what transformers, or another program that agrees with it, renders of them.
//!
//! A folder holds `vectors_rendered.jsonl` (real templates in `templates/NAME.jinja`, `/` written `__`, with an error where
//! they refuse the messages), `vectors_external.jsonl` (other programs' own tests) and `vectors_engine.jsonl` (a template and all that it may read);
//! of the last two, what Python does not agree with is left out. `GCPO_TEMPLATES` names such a folder; one that
//! `scripts/make_chat_fixtures.py` made is part of the repository.

use super::*;
use std::fmt;
use std::path::Path;

/// The share of vectors that must pass.
const WANTED: f64 = 0.99;

/// What a vector is called, and what came of it.
type Checked = (String, Result<(), String>);

#[derive(Default)]
struct Report {
    /// By file: vectors that pass, and all that count.
    files: Vec<(String, usize, usize)>,
    /// What failed, and why.
    failures: Vec<String>,
    /// Vectors that Python does not agree with.
    left_out: usize,
}

impl Report {
    fn of(dir: &Path) -> Self {
        let mut report = Self::default();
        report.file(dir, "vectors_rendered.jsonl", rendered);
        report.file(dir, "vectors_external.jsonl", external);
        report.file(dir, "vectors_engine.jsonl", engine);
        report
    }

    fn file(&mut self, dir: &Path, name: &str, check: fn(&Path, &Json) -> Checked) {
        let path = dir.join(name);
        if !path.exists() {
            return;
        }
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut passed, mut all) = (0, 0);
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), number + 1);
            let vector: Json =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", place()));
            if vector.get("python_agrees") == Some(&Json::Bool(false)) {
                self.left_out += 1;
                continue;
            }
            all += 1;
            let (what, result) = check(dir, &vector);
            match result {
                Ok(()) => passed += 1,
                Err(why) => self.failures.push(format!("{} ({what}): {why}", place())),
            }
        }
        self.files.push((name.to_owned(), passed, all));
    }

    fn count(&self) -> (usize, usize) {
        let files = self.files.iter();
        files.fold((0, 0), |sum, (_, passed, all)| (sum.0 + passed, sum.1 + all))
    }

    fn rate(&self) -> f64 {
        let (passed, all) = self.count();
        passed as f64 / all as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        for (name, passed, all) in &self.files {
            writeln!(f, "{name}: {passed} of {all} pass")?;
        }
        let (passed, all) = self.count();
        write!(
            f,
            "{passed} of {all} chat template vectors pass, {:.2} %; {} that Python does not agree with left out",
            100.0 * self.rate(),
            self.left_out
        )
    }
}

fn text<'a>(vector: &'a Json, key: &str) -> &'a str {
    vector[key].as_str().unwrap_or_default()
}

/// Renders as all that a program gives a template is in `values`.
fn render(source: &str, values: &Map<String, Json>, options: &ChatOptions) -> Result<String, ChatError> {
    let template = ChatTemplate::new(source, "template", [("", ""); 0], options)?;
    let values = values.iter();
    template.render_with(values.map(|(name, value)| (name.as_str(), Value::from(Serde(value)))))
}

fn compared(got: &Result<String, ChatError>, expected: &str) -> Result<(), String> {
    match got {
        Ok(got) if got == expected => Ok(()),
        Ok(got) => {
            let same = got
                .chars()
                .zip(expected.chars())
                .take_while(|(a, b)| a == b)
                .count();
            let from = |text: &str| {
                text.chars()
                    .skip(same.saturating_sub(20))
                    .take(120)
                    .collect::<String>()
            };
            Err(format!(
                "from character {same} on, expected …{:?}, not …{:?}",
                from(expected),
                from(got)
            ))
        }
        Err(error) => Err(format!("expected a text, not: {error}")),
    }
}

fn rendered(dir: &Path, vector: &Json) -> Checked {
    let name = text(vector, "template");
    let what = format!("{name}, {}", text(vector, "set"));
    let file = dir.join("templates").join(name.replace('/', "__") + ".jinja");
    let source = match std::fs::read_to_string(&file) {
        Ok(source) => source,
        Err(error) => return (what, Err(format!("{}: {error}", file.display()))),
    };
    let now: Result<jiff::civil::DateTime, _> = text(vector, "now").parse();
    let now = jiff::tz::TimeZone::UTC.to_timestamp(now.expect("`now` is a time"));
    let options = ChatOptions {
        now: now.expect("it is in range").as_second(),
        ..ChatOptions::default()
    };
    let keys = ["messages", "add_generation_prompt", "bos_token", "eos_token"];
    let values = keys.map(|key| (key.to_owned(), vector[key].clone()));
    let got = render(&source, &values.into_iter().collect(), &options);
    let result = match (vector["expected"].as_str(), &got) {
        (Some(expected), got) => compared(got, expected),
        // What a template itself says must come out; how an engine words its own errors is its business.
        (None, Err(ChatError::Render { message, .. })) => {
            match text(vector, "error").strip_prefix("TemplateError: ") {
                Some(said) if !message.starts_with(said) => {
                    Err(format!("expected the error {said:?}, not {message:?}"))
                }
                _ => Ok(()),
            }
        }
        (None, Err(error)) => Err(format!(
            "expected the error {:?}, not: {error}",
            text(vector, "error")
        )),
        (None, Ok(got)) => Err(format!(
            "expected the error {:?}, not {got:?}",
            text(vector, "error")
        )),
    };
    (what, result)
}

fn external(_: &Path, vector: &Json) -> Checked {
    let inputs = vector.get("inputs").and_then(Json::as_object).cloned();
    let inputs = inputs.unwrap_or_else(|| {
        let keys = ["messages", "add_generation_prompt", "bos_token", "eos_token"];
        keys.map(|key| (key.to_owned(), vector[key].clone()))
            .into_iter()
            .collect()
    });
    let got = render(text(vector, "template"), &inputs, &ChatOptions::default());
    (
        text(vector, "name").to_owned(),
        compared(&got, text(vector, "expected")),
    )
}

fn engine(_: &Path, vector: &Json) -> Checked {
    let context = vector["context"].as_object().cloned().unwrap_or_default();
    let got = render(text(vector, "template"), &context, &ChatOptions::default());
    (
        text(vector, "name").to_owned(),
        compared(&got, text(vector, "expected")),
    )
}

#[test]
fn templates_of_the_repository_render_as_in_transformers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat_templates");
    let report = Report::of(&dir);
    println!("{report}");
    assert_eq!(report.files.len(), 3);
    assert!(report.failures.is_empty(), "{report}");
}

#[test]
fn templates_of_a_folder_render_as_in_transformers() {
    let Some(dir) = std::env::var_os("GCPO_TEMPLATES") else {
        eprintln!("skipped: GCPO_TEMPLATES names no folder of chat templates and vectors");
        return;
    };
    let report = Report::of(Path::new(&dir));
    println!("{report}");
    assert!(
        report.count().1 > 0,
        "{} holds no vectors",
        Path::new(&dir).display()
    );
    assert!(
        report.rate() >= WANTED,
        "{:.2} % pass, {:.0} % is wanted",
        100.0 * report.rate(),
        100.0 * WANTED
    );
}
