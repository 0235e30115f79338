//! What is done to the tokens of an answer before they are parsed: marks at its end, conclusions, brackets that are turned
//! outwards, and whether all of it is words.

use super::layout;
use super::lex::{Kind, Token};
use super::names;
use super::node::Relation;

/// Takes away the marks behind an answer: full stops, emphasis, the end of a proof.
pub(super) fn without_ends(tokens: &mut Vec<Token<'_>>) {
    let ends = |t: &Token<'_>| matches!(t.kind, Kind::Sign('.' | ',' | ';' | ':' | '?' | '。' | '"' | '`'));
    while let Some(last) = tokens.last()
        && (ends(last) || tokens.len() > 1 && (last.kind == Kind::Sign('*') || layout::ends_proof(last.text)))
    {
        tokens.pop();
    }
}

/// Leaves only what stands behind the last sign of a conclusion, where an equation or nothing stands before it:
/// `\therefore x = 4`, `2x = 8 \implies x = 4`. What a statement implies may else be the answer.
pub(super) fn conclusion(tokens: &mut Vec<Token<'_>>) {
    let arrow = |t: &Token<'_>| names::relation(t.text) == Some(Relation::Other('→'));
    if tokens.len() > 1 && arrow(&tokens[0]) {
        tokens.remove(0);
    }
    let concludes =
        |t: &Token<'_>| matches!(t.kind, Kind::Command | Kind::Sign(_)) && layout::concludes(t.text);
    let Some(at) = tokens.iter().rposition(concludes) else {
        return;
    };
    let states = |t: &Token<'_>| {
        concludes(t)
            || t.kind != Kind::Text
                && matches!(names::relation(t.text), Some(op) if !matches!(op, Relation::Other(_)))
    };
    let opens = |t: &Token<'_>| {
        matches!(t.kind, Kind::Sign('(' | '[' | '{' | '⟦')) || t.text == "{" || t.text == "lbrace"
    };
    if at + 1 < tokens.len()
        && (at == 0 || tokens[..at].iter().any(states))
        && !tokens[..at].iter().any(opens)
    {
        tokens.drain(..=at);
    } else if at + 1 == tokens.len() && at > 0 {
        tokens.pop();
    }
}

/// An end of an interval that a bracket turned outwards leaves open, as in `]2, 5[`, is marked as such.
pub(super) fn turned_brackets(tokens: &mut [Token<'_>]) {
    let square = |t: &Token<'_>| matches!(t.kind, Kind::Sign('[' | ']'));
    if !tokens.iter().any(square) {
        return;
    }
    // Only where the brackets do not close each other as they usually do.
    let mut depth = 0i32;
    let usual = tokens.iter().all(|t| {
        depth += match t.kind {
            Kind::Sign('[' | '(') => 1,
            Kind::Sign(']' | ')') => -1,
            _ => 0,
        };
        depth >= 0
    });
    if usual && depth == 0 {
        return;
    }
    let mut open = None;
    let mut depth = 0;
    for at in 0..tokens.len() {
        match (tokens[at].kind, open) {
            (Kind::Sign('[' | ']'), None) => open = Some((at, 0)),
            (Kind::Sign('[' | ']'), Some((from, 1))) if depth == 0 => {
                if tokens[from].kind == Kind::Sign(']') {
                    tokens[from].kind = Kind::Sign(OPEN_FROM);
                }
                if tokens[at].kind == Kind::Sign('[') {
                    tokens[at].kind = Kind::Sign(OPEN_TO);
                }
                open = None;
            }
            (Kind::Sign(',' | ';'), Some((from, parts))) if depth == 0 => open = Some((from, parts + 1)),
            (Kind::Sign('(' | '{'), Some(_)) => depth += 1,
            // `[2, 5)` is complete.
            (Kind::Sign(')'), Some((_, 1))) if depth == 0 => open = None,
            (Kind::Sign(')' | '}'), Some(_)) => depth -= 1,
            _ => {}
        }
    }
}

/// Brackets that stand for `]` where an interval begins, and for `[` where one ends.
pub(super) const OPEN_FROM: char = '⁅';
pub(super) const OPEN_TO: char = '⁆';

/// The text, if it is words and nothing else: `\text{…}`, or plain words, one of them of four letters or more.
pub(super) fn only_words(tokens: &[Token<'_>]) -> Option<String> {
    let marked = tokens.iter().any(|t| t.kind == Kind::Text);
    let long = tokens.iter().any(|t| t.text.len() >= 4);
    let words = tokens.iter().all(|t| match t.kind {
        Kind::Text => true,
        Kind::Word => marked || (t.text.len() >= 2 && !names::is_known_word(t.text)),
        Kind::Sign(c) => marked && matches!(c, '.' | ',' | '(' | ')' | ':' | '\'' | '-'),
        _ => false,
    });
    let connects = |t: &Token<'_>| t.kind == Kind::Text && connective(t.text).is_some();
    if !words || !(marked || long) || tokens.iter().all(connects) {
        return None;
    }
    let mut out = String::new();
    for token in tokens {
        if token.spaced && !out.is_empty() {
            out.push(' ');
        }
        out.push_str(token.text);
    }
    Some(out)
}

/// `and`, `or`, also behind a comment: `for part (a) and`.
pub(super) fn connective(text: &str) -> Option<Joint> {
    let last = text
        .trim_matches(|c: char| c.is_whitespace() || ",;:.".contains(c))
        .rsplit(char::is_whitespace)
        .next()?;
    match last.to_ascii_lowercase().as_str() {
        "" => Some(Joint::Comma),
        "and" => Some(Joint::And),
        "or" => Some(Joint::Or),
        _ => None,
    }
}

/// What parts two statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Joint {
    Comma,
    And,
    Or,
}
