//! Lists, statements and sets: the outer levels of the grammar, and the parser's own state.

use super::lex::{Dialect, Kind, Token, lex};
use super::limits::{MAX_CHAIN, MAX_DEPTH, Unreadable};
use super::names;
use super::node::{Join, Node, Relation};

pub(super) type Read<T> = Result<T, Unreadable>;

/// Reads a whole text.
pub(super) fn parse(text: &str, dialect: Dialect) -> Read<Node> {
    let mut tokens = lex(text)?;
    while tokens.last().is_some_and(|t| {
        matches!(
            t.kind,
            Kind::Sign('.' | ',' | ';' | ':' | '?' | '。' | '，' | '"' | '`')
        ) || t.kind == Kind::Sign('*') && tokens.len() > 1
    }) {
        tokens.pop();
    }
    if tokens.is_empty() {
        return Err(Unreadable::Empty);
    }
    if let Some(words) = only_words(&tokens) {
        return Ok(Node::Text(words));
    }
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        depth: 0,
        chained: 0,
        brackets: 0,
        bars: 0,
        integrals: 0,
        differentials: Vec::new(),
        dialect,
    };
    parser.answer()
}

/// The text, if it is words and nothing else: `\text{…}`, or plain words, one of them of four letters or more.
fn only_words(tokens: &[Token<'_>]) -> Option<String> {
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
fn connective(text: &str) -> Option<()> {
    let last = text
        .trim_matches(|c: char| c.is_whitespace() || ",;:.".contains(c))
        .rsplit(char::is_whitespace)
        .next()?;
    (last.is_empty() || matches!(last.to_ascii_lowercase().as_str(), "and" | "or")).then_some(())
}

pub(super) struct Parser<'a> {
    pub text: &'a str,
    pub tokens: Vec<Token<'a>>,
    pub at: usize,
    depth: usize,
    chained: usize,
    /// How many brackets are open: inside, a comma separates.
    pub brackets: usize,
    /// How many `|…|` are open: there, `|` closes.
    pub bars: usize,
    /// How many integrals are open: there, `dx` is a differential.
    pub integrals: usize,
    /// The differentials read so far.
    pub differentials: Vec<String>,
    pub dialect: Dialect,
}

impl<'a> Parser<'a> {
    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    pub fn peek_at(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    pub fn is_sign(&self, c: char) -> bool {
        self.peek().is_some_and(|t| t.kind == Kind::Sign(c))
    }

    pub fn is_command(&self, name: &str) -> bool {
        self.peek()
            .is_some_and(|t| t.kind == Kind::Command && t.text == name)
    }

    pub fn eat_sign(&mut self, c: char) -> bool {
        let eaten = self.is_sign(c);
        self.at += usize::from(eaten);
        eaten
    }

    pub fn eat_command(&mut self, name: &str) -> bool {
        let eaten = self.is_command(name);
        self.at += usize::from(eaten);
        eaten
    }

    pub fn wrong<T>(&self, what: &'static str) -> Read<T> {
        let near = self
            .peek()
            .map_or("", |t| &self.text[t.at..])
            .chars()
            .take(20)
            .collect();
        Err(Unreadable::Syntax { what, near })
    }

    /// Runs `read` one level deeper.
    pub fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Unreadable::TooBig);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Counts what makes the tree deeper without a bracket.
    pub fn chained(&mut self) -> Read<()> {
        self.chained += 1;
        if self.chained > MAX_CHAIN {
            Err(Unreadable::TooBig)
        } else {
            Ok(())
        }
    }

    /// Everything: lists parted by semicolons.
    fn answer(&mut self) -> Read<Node> {
        let mut groups = vec![self.items()?];
        while self.eat_sign(';') || self.eat_sign('；') {
            if self.at == self.tokens.len() {
                break;
            }
            groups.push(self.items()?);
        }
        if self.at < self.tokens.len() {
            return self.wrong("something is left over");
        }
        if groups.len() == 1 {
            return Ok(one_or(groups.remove(0), Node::List));
        }
        let parted = groups.iter().any(|group| group.len() > 1);
        Ok(Node::List(
            groups
                .into_iter()
                .flat_map(|group| {
                    if parted && group.len() > 1 {
                        vec![Node::Tuple(group)]
                    } else {
                        group
                    }
                })
                .collect(),
        ))
    }

    /// Statements parted by commas, `and`, `or`.
    pub fn items(&mut self) -> Read<Vec<Node>> {
        while self.separator() {}
        let mut items = vec![self.statement()?];
        loop {
            if self.comment() {
                self.at = self.tokens.len();
                return Ok(items);
            }
            if !self.separator() {
                return Ok(items);
            }
            while self.separator() {}
            if self.comment() {
                continue;
            }
            // A list may end in a comma or in "and".
            let ends = self.peek().is_none_or(|t| {
                matches!(t.kind, Kind::Sign(')' | ']' | '}' | ';' | '.' | '⟧'))
                    || t.text == "}"
                    || t.text == "rbrace"
            });
            if ends {
                return Ok(items);
            }
            items.push(self.statement()?);
        }
    }

    /// Whether words that only comment stand here, outside of all brackets.
    fn comment(&self) -> bool {
        let Some(token) = self.peek().filter(|_| self.brackets == 0 && self.at > 0) else {
            return false;
        };
        let first = token.text.split(char::is_whitespace).next().unwrap_or("");
        matches!(token.kind, Kind::Word | Kind::Text)
            && names::is_comment(first)
            && connective(token.text).is_none()
    }

    fn separator(&mut self) -> bool {
        let Some(token) = self.peek() else { return false };
        let separates = match token.kind {
            Kind::Sign(',' | '，' | '、' | '和' | '或') => true,
            Kind::Word => matches!(token.text, "and" | "or"),
            Kind::Text => connective(token.text).is_some(),
            _ => false,
        };
        self.at += usize::from(separates);
        separates
    }

    /// A relation, a chain of them, a ratio, or just a value.
    pub fn statement(&mut self) -> Read<Node> {
        self.deeper(|parser| {
            // "= 5": what stood before is not part of the answer. "\text{area } 5": nor are words in front.
            let approximates = |t: Token<'_>| names::relation(t.text) == Some(Relation::Approx);
            while parser.is_sign('=') || parser.peek().is_some_and(approximates) || parser.leading_words() {
                parser.at += 1;
            }
            let first = parser.ratio()?;
            let mut rest = Vec::new();
            while let Some(relation) = parser.relation() {
                rest.push((relation, parser.ratio()?));
            }
            Ok(if rest.is_empty() {
                first
            } else {
                Node::Chain(first.into(), rest)
            })
        })
    }

    fn leading_words(&self) -> bool {
        let is = |ahead, kind: Kind| self.peek_at(ahead).is_some_and(|t| t.kind == kind);
        is(0, Kind::Text)
            && self.peek_at(1).is_some_and(|next| {
                !matches!(
                    next.kind,
                    Kind::Sign('=' | '<' | '>' | '+' | '-' | ',' | ')' | ']' | '}' | ';')
                ) && names::relation(next.text).is_none()
            })
    }

    fn relation(&mut self) -> Option<Relation> {
        let token = self.peek()?;
        let next = self.peek_at(1).filter(|t| !t.spaced).map(|t| t.kind);
        let (relation, length) = match (token.kind, next) {
            (Kind::Sign('<'), Some(Kind::Sign('='))) => (Relation::LessEqual, 2),
            (Kind::Sign('>'), Some(Kind::Sign('='))) => (Relation::GreaterEqual, 2),
            (Kind::Sign('=') | Kind::Sign(':'), Some(Kind::Sign('='))) => (Relation::Equal, 2),
            (Kind::Sign('!'), Some(Kind::Sign('='))) => (Relation::NotEqual, 2),
            (Kind::Sign('-'), Some(Kind::Sign('>'))) => (Relation::Other('→'), 2),
            (Kind::Command, Some(_)) if token.text == "not" => {
                let behind = self.peek_at(1)?;
                (
                    match names::relation(behind.text)? {
                        Relation::Equal => Relation::NotEqual,
                        Relation::In => Relation::Other('∉'),
                        Relation::Less => Relation::GreaterEqual,
                        Relation::Greater => Relation::LessEqual,
                        other => other,
                    },
                    2,
                )
            }
            (Kind::Command | Kind::Sign(_), _) => (names::relation(token.text)?, 1),
            _ => return None,
        };
        self.at += length;
        Some(relation)
    }

    /// `a : b : c`.
    fn ratio(&mut self) -> Read<Node> {
        let first = self.joined()?;
        let mut parts = vec![first];
        while self.is_sign(':') && self.peek_at(1).is_some_and(|t| t.kind != Kind::Sign('=')) {
            self.at += 1;
            parts.push(self.joined()?);
        }
        Ok(one_or(parts, Node::Ratio))
    }

    /// Unions, intersections and differences of sets, from left to right.
    fn joined(&mut self) -> Read<Node> {
        let mut left = self.sum()?;
        loop {
            let Some(token) = self.peek() else { return Ok(left) };
            let join = match token.text {
                "cup" | "∪" => Join::Union,
                // `(0, 1) U (2, 3)`
                "U" if token.kind == Kind::Word && self.set_follows() => Join::Union,
                "cap" | "∩" => Join::Intersection,
                "setminus" | "backslash" | "∖" => Join::Difference,
                _ => return Ok(left),
            };
            self.at += 1;
            self.chained()?;
            let right = self.sum()?;
            left = Node::Joined(join, left.into(), right.into());
        }
    }

    fn set_follows(&self) -> bool {
        let bracket = |t: Token<'_>| matches!(t.kind, Kind::Sign('(' | '[')) || t.text == "{";
        let closed = self.at > 0
            && self
                .tokens
                .get(self.at - 1)
                .is_some_and(|t| matches!(t.kind, Kind::Sign(')' | ']')) || t.text == "}");
        closed && self.peek_at(1).is_some_and(bracket)
    }

    /// Whether a union sign `U` stands here, which is then no factor.
    pub fn is_union_letter(&self) -> bool {
        self.peek().is_some_and(|t| t.text == "U") && self.set_follows()
    }
}

/// The only one, or all of them as `many`.
pub(super) fn one_or(mut parts: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        many(parts)
    }
}
