//! The program in what a model wrote.

/// How a program begins.
#[derive(Debug, Clone, Copy)]
pub enum Head<'a> {
    /// With this text, at whose end the function of this name begins.
    Function(&'a str, &'a str),
    /// With this text.
    File(&'a str),
}

/// The program that a completion is, in this language.
///
/// Of problems that give the `head` of a function, what stands before it, imports and helpers, belongs to every answer. The thought before
/// the last `</think>` does not count. Then:
///
/// 1. Blocks between ` ``` ` that are of the language or nobody's: the last of them that defines the function, else the last. A block that
///    nothing closes ends with the text.
/// 2. Without a block, the text as it stands.
///
/// What defines the function at the beginning of a line is a program, behind the imports and helpers, and so is a block where a file is
/// begun; anything else goes on from the head, to the letter, as in HumanEval's own harness.
pub fn of_completion(head: Option<Head<'_>>, language: &str, completion: &str) -> String {
    let said = completion
        .rsplit_once("</think>")
        .map_or(completion, |(_, said)| said);
    let defines = |text: &str| match head {
        Some(Head::Function(_, entry)) => is_defined(text, entry),
        _ => true,
    };
    let blocks = blocks(said, language);
    let found = blocks.iter().rev().find(|block| defines(block)).or(blocks.last());
    let text = found.map_or(said, |block| block.as_str());
    match head {
        Some(Head::Function(prompt, entry)) if is_defined(text, entry) => {
            format!("{}{text}", before_function(prompt, entry))
        }
        Some(Head::File(_)) if found.is_some() => text.to_owned(),
        Some(Head::Function(prompt, _) | Head::File(prompt)) => format!("{prompt}{text}"),
        None => text.to_owned(),
    }
}

/// Whether a line begins the function.
fn is_defined(text: &str, entry: &str) -> bool {
    text.lines().any(|line| begins(line, entry))
}

fn begins(line: &str, entry: &str) -> bool {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let name = line.strip_prefix("def ").map(str::trim_start);
    let rest = name.and_then(|name| name.strip_prefix(entry));
    rest.is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// What of a prompt stands before the function that it begins.
fn before_function<'a>(prompt: &'a str, entry: &str) -> &'a str {
    let mut at = 0;
    for line in prompt.split_inclusive('\n') {
        if begins(line, entry) {
            return &prompt[..at];
        }
        at += line.len();
    }
    ""
}

/// What a language is called behind ` ``` `.
fn names(language: &str) -> &[&str] {
    match language {
        "python" => &["python", "python3", "py"],
        "javascript" => &["javascript", "js", "node"],
        "typescript" => &["typescript", "ts"],
        "rust" => &["rust", "rs"],
        "ruby" => &["ruby", "rb"],
        "bash" => &["bash", "sh", "shell"],
        _ => &[],
    }
}

/// The blocks of code that may be of the language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let is_of = |said: &str| {
        let said = said.to_lowercase();
        said.is_empty() || said == language || names(language).contains(&said.as_str())
    };
    let (mut found, mut open) = (Vec::new(), None::<(String, bool, usize)>);
    for line in text.lines() {
        let trimmed = line.trim_start();
        let ticks = trimmed.bytes().take_while(|byte| *byte == b'`').count();
        match &mut open {
            Some((block, is_own, fence)) => {
                if ticks >= *fence && trimmed[ticks..].trim().is_empty() {
                    found.extend(is_own.then(|| std::mem::take(block)));
                    open = None;
                } else {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            None if ticks >= 3 && !trimmed[ticks..].contains('`') => {
                let is_own = is_of(trimmed[ticks..].split_whitespace().next().unwrap_or_default());
                open = Some((String::new(), is_own, ticks));
            }
            None => {}
        }
    }
    found.extend(open.filter(|(_, is_own, _)| *is_own).map(|(block, ..)| block));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Option<Head<'_>> = Some(Head::Function(
        "import math\n\ndef f(x):\n    \"\"\"Twice.\"\"\"\n",
        "f",
    ));

    #[test]
    fn a_body_goes_on_from_the_head_to_the_letter() {
        let program = of_completion(HEAD, "python", "    return 2 * x\n");
        assert_eq!(
            program,
            "import math\n\ndef f(x):\n    \"\"\"Twice.\"\"\"\n    return 2 * x\n"
        );
        assert!(
            of_completion(HEAD, "python", "```python\n    return 2 * x\n```")
                .ends_with("\"\"\"\n    return 2 * x\n")
        );
    }

    #[test]
    fn a_whole_function_keeps_imports_and_helpers() {
        for said in [
            "def f(x):\n    return 2 * x\n",
            "Here it is:\n```python\ndef f(x):\n    return 2 * x\n```\nIt doubles. Use it so:\n```python\nprint(f(2))\n```",
            "<think>```python\ndef f(x): return 3\n```</think>\n```py\ndef f(x):\n    return 2 * x\n",
            "1. Code:\n   ```\ndef f(x):\n    return 2 * x\n   ```\n```bash\npython f.py\n```",
        ] {
            let program = of_completion(HEAD, "python", said);
            assert_eq!(program, "import math\n\ndef f(x):\n    return 2 * x\n", "{said}");
        }
        // Another function of a longer name is another function.
        assert!(
            of_completion(HEAD, "python", "def f2(x):\n    pass").starts_with("import math\n\ndef f(x):")
        );
    }

    #[test]
    fn without_a_head_the_last_block_counts() {
        let said = "First:\n```python\na = 1\n```\nBetter:\n```python\na = 2\n```\n";
        assert_eq!(of_completion(None, "python", said), "a = 2\n");
        assert_eq!(of_completion(None, "python", "def g(): pass"), "def g(): pass");
    }
    #[test]
    fn a_file_is_gone_on_with_or_written_whole() {
        let head = Some(Head::File("//Twice.\nfunction f(x){\n"));
        let of = |said| of_completion(head, "javascript", said);
        assert_eq!(
            of("  return 2 * x;\n}"),
            "//Twice.\nfunction f(x){\n  return 2 * x;\n}"
        );
        let whole = "function f(x) { return 2 * x; }\n";
        assert_eq!(
            of(&format!(
                "So:\n```js\n{whole}```\nRun it:\n```bash\nnode f.js\n```"
            )),
            whole
        );
    }
}
