//! Lists, statements and sets: the outer levels of the grammar, and the parser's own state.

use super::lex::{Dialect, Kind, Token, lex};
use super::limits::{MAX_CHAIN, MAX_DEPTH, Unreadable};
use super::names;
use super::node::{Join, Node, Relation};
use super::tokens::{Joint, OPEN_TO, conclusion, connective, only_words, turned_brackets, without_ends};
use super::units::Units;

pub(super) type Read<T> = Result<T, Unreadable>;

/// Reads a whole text; with the units that were passed over.
pub(super) fn parse(text: &str, dialect: Dialect) -> Read<(Node, Vec<Units>)> {
    let mut tokens = lex(text)?;
    without_ends(&mut tokens);
    conclusion(&mut tokens);
    if tokens.is_empty() {
        return Err(Unreadable::Empty);
    }
    if let Some(words) = only_words(&tokens) {
        return Ok((Node::Text(words), Vec::new()));
    }
    turned_brackets(&mut tokens);
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
        units: Vec::new(),
        unit_depth: 0,
        joins: Vec::new(),
        dialect,
    };
    let node = parser.answer()?;
    Ok((node, parser.units))
}

/// Conditions of which one is an inequality, `x < -1 or x > 1`, as one node: `Or` and `And` where the words say so,
/// `Conditions` where commas part them. Anything else stays a list.
pub(super) fn joined_conditions(items: Vec<Node>, joins: &[Joint]) -> Vec<Node> {
    let condition = |node: &Node| match node {
        Node::Chain(_, rest) => {
            let orders = rest.iter().any(|(op, _)| op.is_inequality());
            let states = |op: &Relation| op.is_inequality() || matches!(op, Relation::Equal | Relation::In);
            rest.iter().all(|(op, _)| states(op)).then_some(orders)
        }
        _ => None,
    };
    let kinds: Option<Vec<bool>> = items.iter().map(condition).collect();
    let one = items.len() >= 2
        && joins.len() + 1 == items.len()
        && kinds.is_some_and(|kinds| kinds.contains(&true));
    if !one {
        return items;
    }
    let or = joins.contains(&Joint::Or);
    let and = joins.contains(&Joint::And);
    if !(or && and) {
        let name = if or {
            "Or"
        } else if and {
            "And"
        } else {
            "Conditions"
        };
        return vec![Node::call(name, items)];
    }
    // "and" binds closer than "or".
    let mut parts: Vec<Vec<Node>> = vec![Vec::new()];
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 && joins[at - 1] != Joint::And {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    let all = |part| one_or(part, |items| Node::call("And", items));
    vec![Node::call("Or", parts.into_iter().map(all).collect())]
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
    /// The units passed over so far.
    pub units: Vec<Units>,
    pub unit_depth: usize,
    /// What parted the statements that [`Parser::items`] read last.
    pub joins: Vec<Joint>,
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

    /// Statements parted by commas, `and`, `or`. What parted them is left in `joins`. Conditions of which one is an
    /// inequality come as one.
    pub fn items(&mut self) -> Read<Vec<Node>> {
        let (items, joins) = self.listed()?;
        let items = joined_conditions(items, &joins);
        self.joins = joins;
        Ok(items)
    }

    fn listed(&mut self) -> Read<(Vec<Node>, Vec<Joint>)> {
        while self.separator().is_some() {}
        let mut items = vec![self.statement()?];
        let mut joins = Vec::new();
        loop {
            if self.comment() {
                self.at = self.tokens.len();
                return Ok((items, joins));
            }
            let Some(mut joint) = self.separator() else {
                return Ok((items, joins));
            };
            while let Some(next) = self.separator() {
                joint = joint.max(next);
            }
            if self.comment() {
                continue;
            }
            // A list may end in a comma or in "and".
            let ends = self.peek().is_none_or(|t| {
                matches!(t.kind, Kind::Sign(')' | ']' | '}' | ';' | '.' | '⟧' | OPEN_TO))
                    || t.text == "}"
                    || t.text == "rbrace"
            });
            if ends {
                return Ok((items, joins));
            }
            items.push(self.statement()?);
            joins.push(joint);
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

    fn separator(&mut self) -> Option<Joint> {
        let token = self.peek()?;
        let joint = match (token.kind, token.text) {
            (Kind::Sign(','), _) => Joint::Comma,
            (Kind::Sign('和' | '∧'), _) | (Kind::Word, "and") | (Kind::Command, "land" | "wedge") => {
                Joint::And
            }
            (Kind::Sign('或' | '∨'), _) | (Kind::Word, "or") | (Kind::Command, "lor" | "vee") => Joint::Or,
            (Kind::Text, text) => connective(text)?,
            _ => return None,
        };
        self.at += 1;
        Some(joint)
    }

    /// A relation, a chain of them, a ratio, or just a value.
    pub fn statement(&mut self) -> Read<Node> {
        self.deeper(|parser| {
            // "= 5": what stood before is not part of the answer. "\text{area } 5": nor are words in front.
            let approximates =
                |t: Token<'_>| t.kind != Kind::Text && names::relation(t.text) == Some(Relation::Approx);
            while parser.is_sign('=') || parser.peek().is_some_and(approximates) || parser.leading_words() {
                parser.at += 1;
                parser.eat_sign(':');
            }
            // USD 4
            if parser.names_currency() {
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

    fn names_currency(&self) -> bool {
        let number = |t: Token<'_>| t.kind == Kind::Number;
        self.peek_at(1).is_some_and(number)
            && self.peek().is_some_and(|t| {
                t.kind == Kind::Word
                    && matches!(
                        t.text,
                        "USD" | "US" | "EUR" | "GBP" | "INR" | "CNY" | "JPY" | "Rs"
                    )
            })
    }

    fn leading_words(&self) -> bool {
        let is = |ahead, kind: Kind| self.peek_at(ahead).is_some_and(|t| t.kind == kind);
        let qualifies = |text: &str| {
            let first = text.trim().split(char::is_whitespace).next().unwrap_or("");
            let first = first.to_ascii_lowercase();
            matches!(
                first.as_str(),
                "not"
                    | "no"
                    | "never"
                    | "neither"
                    | "less"
                    | "more"
                    | "greater"
                    | "fewer"
                    | "at"
                    | "minus"
                    | "negative"
            )
        };
        is(0, Kind::Text)
            && self.named_in_text().is_none()
            && !self.peek().is_some_and(|t| qualifies(t.text))
            && self.peek_at(1).is_some_and(|next| {
                !matches!(
                    next.kind,
                    Kind::Sign('=' | '<' | '>' | '+' | '-' | ',' | ')' | ']' | '}' | ';' | OPEN_TO)
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
        let is_to = |t: Token<'_>| matches!(t.kind, Kind::Text | Kind::Word) && t.text == "to";
        while self.peek().is_some_and(|t| t.kind == Kind::Sign(':') || is_to(t))
            && self.peek_at(1).is_some_and(|t| t.kind != Kind::Sign('='))
        {
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
