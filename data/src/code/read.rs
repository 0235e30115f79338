//! A problem whose answer is a program, from the fields of its row.

use super::{CodeForm, CodeProblem};
use serde_json::{Map, Value};

/// What a row has to have.
const FORMS: &str = "a row has task_id, prompt, entry_point, canonical_solution and test, as HumanEval's; task_id, text, code and \
                     test_list, as MBPP's; or name, prompt, language and tests, as MultiPL-E's";

impl CodeProblem {
    /// A problem from a row's fields; `prompt` is what was asked, where the row has it no more.
    ///
    /// # Errors
    /// It is a row of none of them; the message says what is missing.
    pub fn of_row(fields: &Map<String, Value>, prompt: Option<&str>) -> Result<Self, String> {
        let row = Row(fields);
        let id = row.id()?;
        let prompt = prompt.map(str::to_owned);
        if fields.contains_key("test_list") {
            return Self::of_task(&row, id, prompt);
        }
        let solution = row.text("canonical_solution").unwrap_or_default();
        let whole = |form, entry_point, tests, language| {
            Ok(Self {
                id,
                form,
                prompt: prompt.map_or_else(|| row.needed("prompt"), Ok)?,
                entry_point,
                setup: String::new(),
                tests,
                solution,
                language,
                stop: row.list("stop_tokens")?,
                shots: Vec::new(),
            })
        };
        if let (Some(tests), false) = (row.text("tests"), fields.contains_key("test")) {
            let language = language(&row.needed("language")?);
            return whole(CodeForm::File, None, vec![tests], language);
        }
        let entry_point = row.needed("entry_point")?;
        let tests = vec![format!("{}\ncheck({entry_point})", row.needed("test")?)];
        whole(CodeForm::Function, Some(entry_point), tests, "python".to_owned())
    }

    fn of_task(row: &Row<'_>, id: String, prompt: Option<String>) -> Result<Self, String> {
        let tests = row.list("test_list")?;
        if tests.is_empty() {
            return Err("`test_list` is empty: any program would pass; drop the row".to_owned());
        }
        let mut setup = row.list("test_imports")?;
        setup.extend(row.text("test_setup_code"));
        let asked = row.text("text").or_else(|| row.text("prompt")).or(prompt);
        Ok(Self {
            id,
            form: CodeForm::Task,
            prompt: asked.map_or_else(|| row.needed("text"), Ok)?,
            entry_point: None,
            setup: setup.join("\n"),
            tests,
            solution: row.text("code").unwrap_or_default(),
            language: "python".to_owned(),
            stop: Vec::new(),
            shots: Vec::new(),
        })
    }
}

struct Row<'a>(&'a Map<String, Value>);

impl Row<'_> {
    fn id(&self) -> Result<String, String> {
        let names = ["task_id", "id", "name"];
        match names.iter().find_map(|name| self.0.get(*name)) {
            Some(Value::String(id)) => Ok(id.clone()),
            Some(Value::Number(id)) => Ok(id.to_string()),
            _ => self.needed("task_id"),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    fn needed(&self, name: &str) -> Result<String, String> {
        self.text(name)
            .ok_or_else(|| format!("missing field `{name}`; {FORMS}"))
    }

    fn list(&self, name: &str) -> Result<Vec<String>, String> {
        let Some(value) = self.0.get(name) else {
            return Ok(Vec::new());
        };
        let items: Option<Vec<String>> = value.as_array().and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect()
        });
        items.ok_or_else(|| format!("`{name}` is no list of texts"))
    }
}

/// A language by its name, which MultiPL-E writes as the end of a file's.
fn language(given: &str) -> String {
    let known = [
        ("py", "python"),
        ("js", "javascript"),
        ("ts", "typescript"),
        ("rs", "rust"),
        ("rb", "ruby"),
        ("sh", "bash"),
    ];
    let found = known.iter().find(|(short, _)| *short == given);
    found.map_or(given, |(_, name)| name).to_lowercase()
}
