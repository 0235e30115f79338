//! The program in what a model wrote.

/// The program that a completion is.
///
/// `head` is, of problems that give one, the beginning of a program and the function that it begins: what stands before that function,
/// imports and helpers, belongs to every answer. The thought before the last `</think>` does not count. Then:
///
/// 1. Blocks between ` ``` ` that are Python's or nobody's: the last of them that defines the function, else the last. A block that
///    nothing closes ends with the text.
/// 2. Without a block, the text as it stands.
///
/// What defines the function at the beginning of a line is a program, behind the imports and helpers; anything else goes on from the
/// head, to the letter, as in HumanEval's own harness.
pub fn of_completion(head: Option<(&str, &str)>, completion: &str) -> String {
    let said = completion
        .rsplit_once("</think>")
        .map_or(completion, |(_, said)| said);
    let defines = |text: &str| head.is_none_or(|(_, entry)| is_defined(text, entry));
    let blocks = blocks(said);
    let found = blocks.iter().rev().find(|block| defines(block)).or(blocks.last());
    let text = found.map_or(said, |block| block.as_str());
    match head {
        Some((prompt, entry)) if is_defined(text, entry) => {
            format!("{}{text}", before_function(prompt, entry))
        }
        Some((prompt, _)) => format!("{prompt}{text}"),
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

/// The blocks of code that may be Python.
fn blocks(text: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), None::<(String, bool, usize)>);
    for line in text.lines() {
        let trimmed = line.trim_start();
        let ticks = trimmed.bytes().take_while(|byte| *byte == b'`').count();
        match &mut open {
            Some((block, is_python, fence)) => {
                if ticks >= *fence && trimmed[ticks..].trim().is_empty() {
                    found.extend(is_python.then(|| std::mem::take(block)));
                    open = None;
                } else {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            None if ticks >= 3 && !trimmed[ticks..].contains('`') => {
                let language = trimmed[ticks..].split_whitespace().next().unwrap_or_default();
                let is_python = ["", "python", "python3", "py", "Python"].contains(&language);
                open = Some((String::new(), is_python, ticks));
            }
            None => {}
        }
    }
    found.extend(
        open.filter(|(_, is_python, _)| *is_python)
            .map(|(block, ..)| block),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Option<(&str, &str)> = Some(("import math\n\ndef f(x):\n    \"\"\"Twice.\"\"\"\n", "f"));

    #[test]
    fn a_body_goes_on_from_the_head_to_the_letter() {
        let program = of_completion(HEAD, "    return 2 * x\n");
        assert_eq!(
            program,
            "import math\n\ndef f(x):\n    \"\"\"Twice.\"\"\"\n    return 2 * x\n"
        );
        assert!(
            of_completion(HEAD, "```python\n    return 2 * x\n```").ends_with("\"\"\"\n    return 2 * x\n")
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
            let program = of_completion(HEAD, said);
            assert_eq!(program, "import math\n\ndef f(x):\n    return 2 * x\n", "{said}");
        }
        // Another function of a longer name is another function.
        assert!(of_completion(HEAD, "def f2(x):\n    pass").starts_with("import math\n\ndef f(x):"));
    }

    #[test]
    fn without_a_head_the_last_block_counts() {
        let said = "First:\n```python\na = 1\n```\nBetter:\n```python\na = 2\n```\n";
        assert_eq!(of_completion(None, said), "a = 2\n");
        assert_eq!(of_completion(None, "def g(): pass"), "def g(): pass");
    }
}
