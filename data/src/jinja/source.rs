//! What Jinja has and minijinja has not, written in what minijinja has.

/// A template in minijinja's Jinja: transformers' `{% generation %}` block, which only marks what the assistant says, becomes
/// one that is always taken, `'%s' % x` becomes `'%s' | percent(x)`, and what a loop goes through is looked at first (`iterated`): none
/// is an empty list to minijinja. Jinja reads every line end as \n.
pub(crate) fn as_minijinja(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some((before, block, after)) = cut(rest) {
        out.push_str(before);
        rest = after;
        let length = block.len();
        match block.as_bytes().get(1) {
            Some(b'%') => {
                let tag = &block[2..length - 2];
                let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
                match word {
                    "generation" => out.push_str(&block.replace(word, "if true")),
                    "endgeneration" => out.push_str(&block.replace(word, "endif")),
                    "raw" => {
                        // Nothing in it is Jinja.
                        out.push_str(block);
                        let end = end_of_raw(rest).unwrap_or(rest.len());
                        out.push_str(&rest[..end]);
                        rest = &rest[end..];
                    }
                    _ => out.push_str(&with_iterated(&with_percent(block, DEPTH))),
                }
            }
            Some(b'{') => out.push_str(&with_percent(block, DEPTH)),
            _ => out.push_str(block),
        }
    }
    out.push_str(rest);
    out
}

/// A text up to its first brace, the block or the lone brace that stands there, and the rest. None where there is none, or a block is
/// not closed: minijinja says where.
fn cut(text: &str) -> Option<(&str, &str, &str)> {
    let (before, from) = text.split_at(text.find('{')?);
    let length = match from.as_bytes().get(1) {
        Some(b'#') => from.find("#}").map(|end| end + 2),
        Some(b'%') => inside(from, "%}").map(|end| end + 2),
        Some(b'{') => inside(from, "}}").map(|end| end + 2),
        _ => Some(1),
    };
    let (block, after) = from.split_at(length?);
    Some((before, block, after))
}

/// A block, with `| iterated` behind what it goes through where it begins a loop.
fn with_iterated(block: &str) -> String {
    let marked = |c: char| c.is_whitespace() || c == '-' || c == '+';
    let inner = block[2..].trim_start_matches(marked);
    let from = block.len() - inner.len();
    let inner = inner[..inner.len() - 2].trim_end_matches(marked);
    let through = inner
        .strip_prefix("for")
        .filter(|rest| word(rest) == 0)
        .and_then(|rest| {
            let begin = word_at(rest, &["in"])? + "in".len();
            let end = word_at(&rest[begin..], &["if", "recursive"]).map_or(rest.len(), |end| begin + end);
            let begin = from + "for".len() + begin;
            let end = from + "for".len() + end;
            (!block[begin..end].trim().is_empty()).then_some((begin, end))
        });
    match through {
        Some((begin, end)) => {
            let (what, behind) = block[begin..].split_at(end - begin);
            format!("{} ({}) | iterated {behind}", &block[..begin], what.trim())
        }
        None => block.to_owned(),
    }
}

/// Where the first of some words stands in an expression, outside strings and brackets.
fn word_at(text: &str, words: &[&str]) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let length = word(rest);
        at += match rest.as_bytes()[0] {
            _ if length > 0 && words.contains(&&rest[..length]) => return Some(at),
            _ if length > 0 => length,
            b'\'' | b'"' => string(rest)?,
            b'(' | b'[' | b'{' => group(rest)?,
            _ => rest.chars().next()?.len_utf8(),
        };
    }
    None
}

/// Whether a template names something in one of its blocks, outside strings and comments.
pub(crate) fn names(source: &str, name: &str) -> bool {
    let mut rest = source;
    while let Some((_, block, after)) = cut(rest) {
        rest = after;
        let mut at = if block.starts_with("{#") { block.len() } else { 0 };
        while at < block.len() {
            let text = &block[at..];
            let word = word(text);
            match text.as_bytes()[0] {
                _ if word > 0 && &text[..word] == name => return true,
                b'\'' | b'"' => at += string(text).unwrap_or(1),
                _ => at += word.max(text.chars().next().map_or(1, char::len_utf8)),
            }
        }
    }
    false
}

/// The length of the name or number that a text begins with.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// Where a block's closing mark is, outside its strings.
fn inside(block: &str, close: &str) -> Option<usize> {
    let mut at = 2;
    while at < block.len() {
        match block.as_bytes()[at] {
            b'\'' | b'"' => at += string(&block[at..])?,
            _ if block[at..].starts_with(close) => return Some(at),
            _ => at += block[at..].chars().next()?.len_utf8(),
        }
    }
    None
}

fn end_of_raw(text: &str) -> Option<usize> {
    text.match_indices("{%").map(|(at, _)| at).find(|at| {
        let tag = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
        tag.starts_with("endraw")
    })
}

/// The length of the string literal that a text begins with.
fn string(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The length of the group in brackets that a text begins with.
fn group(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let byte = text.as_bytes()[at];
        match byte {
            b'\'' | b'"' => {
                at += string(&text[at..])?;
                continue;
            }
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            b'{' => open.push(b'}'),
            b')' | b']' | b'}' if open.pop() != Some(byte) => return None,
            _ => {}
        }
        at += text[at..].chars().next()?.len_utf8();
        if open.is_empty() {
            return Some(at);
        }
    }
    None
}

/// Brackets in brackets that are looked into; minijinja takes 150.
const DEPTH: usize = 150;
/// Longer expressions stay as they are: looking for the ends of brackets takes the square of the length.
const LONG: usize = 2 << 10;

/// An expression, with `percent` in place of the sign behind a string, or behind brackets that begin with one.
fn with_percent(text: &str, depth: usize) -> String {
    if depth == 0 || text.len() > LONG {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (copied, formats) = match rest.as_bytes()[0] {
            b'\'' | b'"' => (string(rest).map(|end| rest[..end].to_owned()), string(rest)),
            b'(' if rest[1..].trim_start().starts_with(['\'', '"']) => {
                let end = group(rest);
                let inner = end.map(|end| format!("({})", with_percent(&rest[1..end - 1], depth - 1)));
                (inner, end)
            }
            _ => (None, None),
        };
        let (Some(copied), Some(length)) = (copied, formats) else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            at += next;
            continue;
        };
        out.push_str(&copied);
        at += length;
        while let Some((value, length)) = behind_percent(&text[at..]) {
            out.push_str(&format!(" | percent({})", with_percent(value, depth - 1)));
            at += length;
        }
    }
    out
}

/// The operand of the percent sign that a text begins with, and the length of both.
fn behind_percent(text: &str) -> Option<(&str, usize)> {
    let sign = text.len() - text.trim_start().len();
    let rest = text[sign..].strip_prefix('%')?;
    if rest.starts_with('}') {
        return None;
    }
    let operand = rest.trim_start();
    let end = operand_length(operand)?;
    let from = text.len() - operand.len();
    Some((&operand[..end], from + end))
}

/// The length of the operand that a text begins with: a literal, a name or a group, with what is behind it: attributes, items,
/// calls and filters.
fn operand_length(text: &str) -> Option<usize> {
    let mut at = text.find(|c: char| c != '-' && c != '+')?;
    at += match text[at..].chars().next()? {
        '\'' | '"' => string(&text[at..])?,
        '(' | '[' | '{' => group(&text[at..])?,
        _ => word(&text[at..]),
    };
    loop {
        let rest = &text[at..];
        let space = rest.len() - rest.trim_start().len();
        let next = &rest[space..];
        at += match next.chars().next() {
            Some('(' | '[') => space + group(next)?,
            Some('.' | '|') => {
                let gap = next[1..].len() - next[1..].trim_start().len();
                let length = word(&next[1 + gap..]);
                if length == 0 {
                    return Some(at);
                }
                space + 1 + gap + length
            }
            _ => break,
        };
    }
    (at > 0).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_minijinja_has_not_is_written_in_what_it_has() {
        for (source, expected) in [
            ("{{ '%s' % x }}", "{{ '%s' | percent(x) }}"),
            ("{{'%s'%x}}%", "{{'%s' | percent(x)}}%"),
            (
                "{{ a ~ \"%s, %d\" % (x.y[0] | upper, -n) ~ b }}",
                "{{ a ~ \"%s, %d\" | percent((x.y[0] | upper, -n)) ~ b }}",
            ),
            (
                "{{ '%s' % f('}}' % 1).y | trim + 'b' }}",
                "{{ '%s' | percent(f('}}' | percent(1)).y | trim) + 'b' }}",
            ),
            (
                "{{ ('a' ~ '%s') % x % y }}",
                "{{ ('a' ~ '%s') | percent(x) | percent(y) }}",
            ),
            (
                "{% if 'a' %}{{ 7 % 2 }}{% endif %}",
                "{% if 'a' %}{{ 7 % 2 }}{% endif %}",
            ),
            ("{% set a = 'é' -%}", "{% set a = 'é' -%}"),
            ("{{ ['%s'] % x }} '%s' % x", "{{ ['%s'] % x }} '%s' % x"),
            ("{# '%s' % x {{ #}{ '%s' % x", "{# '%s' % x {{ #}{ '%s' % x"),
            (
                "{% raw %}{{ '%s' % x }}{%- endraw %}{{ '%s' % x",
                "{% raw %}{{ '%s' % x }}{%- endraw %}{{ '%s' % x",
            ),
            (
                "{%- generation -%}\r\nx{% endgeneration %}",
                "{%- if true -%}\nx{% endif %}",
            ),
            (
                "{%- for k, v in d.items() if 'in' in k -%}{{ v }}{% endfor %}",
                "{%- for k, v in (d.items()) | iterated if 'in' in k -%}{{ v }}{% endfor %}",
            ),
            (
                "{% for x in f(a if b else c)['if'], 2 recursive%}{% for_ in x %}",
                "{% for x in (f(a if b else c)['if'], 2) | iterated recursive%}{% for_ in x %}",
            ),
        ] {
            assert_eq!(as_minijinja(source), expected);
        }
    }

    #[test]
    fn a_template_names_what_stands_in_its_blocks() {
        let source = "text a {# b #}{{ c.d | e('f') }}{% if g_h %}{{ '{{ i }}' }}{% endif %}{ j";
        for (name, named) in [
            ("a", false),
            ("b", false),
            ("c", true),
            ("e", true),
            ("f", false),
            ("g_h", true),
            ("g", false),
            ("i", false),
            ("j", false),
        ] {
            assert_eq!(names(source, name), named, "{name}");
        }
    }

    #[test]
    fn brackets_without_an_end_take_no_time() {
        let started = std::time::Instant::now();
        for block in [
            "('a'".repeat(250_000),
            format!("{}{}", "('%s' % ".repeat(99_999), ")".repeat(99_999)),
        ] {
            as_minijinja(&format!("{{{{ {block} }}}}"));
        }
        let blocks = format!("{{{{ {} }}}}", "('a'".repeat(500)).repeat(400);
        assert!(as_minijinja(&blocks) == blocks);
        // A second; were each bracket looked for from the start again, it would be many minutes, on a busy machine as on an idle one.
        assert!(started.elapsed().as_secs() < 60);
    }
}
