//! Text into tokens: LaTeX, plain mathematics and SymPy's spelling of it.

use super::layout;
use super::limits::{MAX_BYTES, MAX_TOKENS, Unreadable};

/// How a text that can be read in two ways is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// As mathematicians write: `E` and `I` are variables, `log` is to base ten, `1/2x` is 1/(2x).
    #[default]
    Common,
    /// As SymPy prints: `E` is Euler's number, `I` the imaginary unit, `log` natural.
    Sympy,
    /// As [`Dialect::Common`], but `1/2x` is x/2.
    Flat,
    /// As one writes who has a plain number to give: in `5 m` the letter is a unit, `3 x 10^8` is a product, `j` is the
    /// imaginary unit. Only asked where the gold answer has no variables.
    Loose,
}

/// What a token is. Slices point into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Digits, with a point and separators of thousands as written.
    Number,
    /// Letters in a row, as in `xy` or `sin`.
    Word,
    /// `\name`, without the backslash.
    Command,
    /// A single character of its own, or a letter beyond ASCII.
    Sign(char),
    /// The inside of `\text{…}` and its like.
    Text,
}

/// A token.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Whether a space stands before it.
    pub spaced: bool,
    /// Whether it stands in `\mathrm{…}`, `\text{…}` or the like.
    pub upright: bool,
    /// Where it starts.
    pub at: usize,
}

/// Commands that a longer, unknown one may begin with: `\quadx`, `\vertx`.
const PREFIXES: [&str; 24] = [
    "lbrack", "rbrack", "lbrace", "rbrace", "lgroup", "rgroup", "lvert", "rvert", "lVert", "rVert", "vert",
    "quad", "qquad", "lfloor", "rfloor", "lceil", "rceil", "cdot", "times", "left", "right", "pi", "infty",
    "pm",
];

/// Splits a text.
///
/// # Errors
/// It is too long.
pub fn lex(text: &str) -> Result<Vec<Token<'_>>, Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::TooBig);
    }
    let mut lexer = Lexer::new(text);
    while lexer.at < text.len() {
        lexer.step();
        if lexer.tokens.len() > MAX_TOKENS {
            return Err(Unreadable::TooBig);
        }
    }
    Ok(lexer.tokens)
}

pub(super) struct Lexer<'a> {
    pub text: &'a str,
    at: usize,
    spaced: bool,
    /// The environments that are open: true for one whose lines are the rows of a matrix.
    environments: Vec<bool>,
    /// Where the last group of upright letters ends.
    upright: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            spaced: false,
            environments: Vec::new(),
            upright: 0,
            tokens: Vec::with_capacity(text.len() / 2 + 4),
        }
    }

    pub fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn push(&mut self, kind: Kind, from: usize, to: usize) {
        self.tokens.push(Token {
            kind,
            text: &self.text[from..to],
            spaced: self.spaced,
            upright: from < self.upright,
            at: from,
        });
        self.spaced = false;
        self.at = to;
    }

    fn skip(&mut self, to: usize) {
        self.at = to;
        self.spaced = true;
    }

    fn step(&mut self) {
        let at = self.at;
        match self.byte(at) {
            b'\\' => self.command(),
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(at + 1).is_ascii_digit() => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' => {
                let end = self.letters(at);
                self.push(Kind::Word, at, end);
            }
            b' ' | b'\t' | b'\n' | b'\r' | b'$' | b'~' => self.skip(at + 1),
            b'{' if self.text[at + 1..].trim_start().starts_with('}') => {
                let end = self.text[at..].find('}').map_or(at + 1, |close| at + close + 1);
                self.skip(end);
            }
            // What an aligned block aligns by.
            b'&' if self.environments.last() != Some(&true) => self.skip(at + 1),
            b'{' if self.text[at..].starts_with("{-}") || self.text[at..].starts_with("{+}") => {
                self.push(Kind::Sign(self.byte(at + 1) as char), at + 1, at + 2);
                self.at = at + 3;
            }
            0..=0x7f => self.push(Kind::Sign(self.byte(at) as char), at, at + 1),
            _ => {
                let c = self.text[at..].chars().next().unwrap_or(' ');
                let end = at + c.len_utf8();
                if c.is_whitespace()
                    || matches!(
                        c,
                        '€' | '£' | '¥' | '₹' | '¢' | '\u{200b}' | '\u{2061}' | '\u{feff}'
                    )
                {
                    self.skip(end);
                } else {
                    self.push(Kind::Sign(c), at, end);
                }
            }
        }
    }

    /// The end of digits with separators of thousands that leave no doubt: `1{,}234`, `1,\! 234`, `1\,234`, `1 234`.
    fn number(&mut self) {
        let from = self.at;
        let mut end = self.digits(from);
        if end - from <= 3 && end > from && self.byte(from) != b'0' {
            while let Some(next) = self.group(end) {
                end = next;
            }
        }
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            end = self.digits(end + 1);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            let stop = self.digits(end + 1 + sign);
            if stop > end + 1 + sign && !self.byte(stop).is_ascii_alphabetic() {
                end = stop;
            }
        }
        self.push(Kind::Number, from, end);
    }

    pub fn digits(&self, mut at: usize) -> usize {
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        at
    }

    pub fn letters(&self, mut at: usize) -> usize {
        while self.byte(at).is_ascii_alphabetic() {
            at += 1;
        }
        at
    }

    /// A backslash before `next`, which is no letter.
    fn escaped(&mut self, at: usize, next: u8) {
        match next {
            // Row of a matrix; elsewhere a line break, or a backslash doubled by mistake: `\\frac`.
            b'\\' if self.environments.last() == Some(&true) => self.push(Kind::Command, at, at + 2),
            b'\\' if self.environments.last() == Some(&false) => self.line_end(at),
            b'\\' => self.skip(at + 1 + usize::from(!self.byte(at + 2).is_ascii_alphabetic())),
            b'{' | b'}' => self.push(Kind::Command, at + 1, at + 2),
            b'|' => self.push(Kind::Sign('|'), at + 1, at + 2),
            b'%' => self.push(Kind::Sign('%'), at + 1, at + 2),
            0 | b'0'..=b'9' => self.skip(at + 1),
            b'&' => {
                self.push(Kind::Sign(','), at, at + 2);
                self.spaced = true;
            }
            b'_' | b'#' => self.skip(at + 2),
            _ => {
                // \, \; \: \! \$ \( \) \[ \] and a stray backslash.
                let c = self.text[at + 1..].chars().next().map_or(0, char::len_utf8);
                self.skip(at + 1 + c);
            }
        }
    }

    fn command(&mut self) {
        let at = self.at;
        let next = self.byte(at + 1);
        if !next.is_ascii_alphabetic() {
            return self.escaped(at, next);
        }
        let from = at + 1;
        let end = self.letters(from);
        let name = &self.text[from..end];
        // {\rm cm}: up to the end of the group.
        if name == "rm" && self.upright < end {
            self.upright = self.upright.max(self.group_end(end));
        }
        if layout::is_silent(name) {
            // `\left.` is no bracket; `\left{` is meant as `\left\{`.
            let opens = name.ends_with("left") || name.ends_with("right");
            if opens && self.byte(end) == b'.' {
                return self.skip(end + 1);
            }
            if let Some(block) = self.system(end) {
                return self.skip(block);
            }
            if opens && matches!(self.byte(end), b'{' | b'}') {
                return self.push(Kind::Command, end, end + 1);
            }
            return self.skip(end);
        }
        if let Some(count) = layout::dropped_groups(name) {
            return self.dropped(end, count);
        }
        if layout::takes_length(name) {
            return self.skip(self.length(end));
        }
        if layout::holds_words(name) {
            return self.words(end);
        }
        match name {
            "begin" | "end" => self.environment(name == "begin", end),
            "operatorname" => {
                let star = usize::from(self.byte(end) == b'*');
                self.operator(end + star);
            }
            _ if super::names::is_command(name) => self.push(Kind::Command, from, end),
            _ => {
                let prefix = PREFIXES
                    .iter()
                    .filter(|known| name.starts_with(**known))
                    .max_by_key(|known| known.len());
                match prefix {
                    Some(known) if layout::is_silent(known) => self.skip(from + known.len()),
                    Some(known) => self.push(Kind::Command, from, from + known.len()),
                    None => self.push(Kind::Command, from, end),
                }
            }
        }
    }

    /// Where the lines of a system of equations begin, `\{\begin{array}`: the brace before them holds nothing together.
    fn system(&self, at: usize) -> Option<usize> {
        let block = self.text[at..].strip_prefix("\\{")?;
        let begins = block.trim_start().starts_with("\\begin{") && block.contains("\\right.");
        begins.then(|| self.text.len() - block.len())
    }

    /// Where the group that `at` stands in ends.
    fn group_end(&self, at: usize) -> usize {
        let mut depth = 0;
        for (offset, byte) in self.text.as_bytes()[at..].iter().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 0 => return at + offset,
                b'}' => depth -= 1,
                _ => {}
            }
        }
        self.text.len()
    }

    /// Passes over the groups behind a command, with an option or a star before them.
    fn dropped(&mut self, end: usize, count: usize) {
        let mut end = end + usize::from(self.byte(end) == b'*');
        if self.byte(end) == b'['
            && let Some(close) = self.text[end..].find(']')
        {
            end += close + 1;
        }
        for _ in 0..count {
            match self.inside(end) {
                Some((_, to)) => end = to + 1,
                None => break,
            }
        }
        self.skip(end);
    }

    /// The end of a line of an aligned block: another statement follows, unless the line goes on with a relation.
    fn line_end(&mut self, at: usize) {
        let rest = self.text[at + 2..].trim_start_matches(|c: char| c.is_whitespace() || c == '&');
        let goes_on = rest.is_empty()
            || rest.starts_with(['=', '<', '>', '+', '-', '}'])
            || [
                "\\end",
                "\\le",
                "\\ge",
                "\\approx",
                "\\implies",
                "\\Rightarrow",
                "\\therefore",
                "\\cdot",
                "\\times",
            ]
            .iter()
            .any(|mark| rest.starts_with(mark));
        if goes_on {
            return self.skip(at + 2);
        }
        self.spaced = true;
        self.push(Kind::Sign(','), at, at + 2);
        self.spaced = true;
    }

    /// The inside of the group that opens at or behind `at`, and where it ends.
    pub fn inside(&self, at: usize) -> Option<(usize, usize)> {
        let open = self.text[at..].len() - self.text[at..].trim_start().len() + at;
        if self.byte(open) != b'{' {
            return None;
        }
        let mut depth = 0;
        for (offset, byte) in self.text.as_bytes()[open..].iter().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some((open + 1, open + offset));
            }
        }
        None
    }

    fn words(&mut self, end: usize) {
        let Some((from, to)) = self.inside(end) else {
            return self.skip(end);
        };
        let inside = self.text[from..to].trim();
        // \mathrm{e}, \text{C}: one letter is a name; so is what holds digits or mathematics.
        let one = inside.chars().count() == 1 && inside.chars().all(char::is_alphanumeric);
        let math = inside.contains(['\\', '^', '$', '=']) || inside.bytes().any(|b| b.is_ascii_digit());
        if inside.is_empty() || inside == "\\$" {
            self.skip(to + 1);
        } else if matches!(inside, "-" | "+" | "=" | "<" | ">" | "/") {
            let at = from + self.text[from..to].len() - self.text[from..to].trim_start().len();
            self.push(Kind::Sign(self.byte(at) as char), at, at + 1);
            self.at = to + 1;
        } else if one || math {
            self.upright = self.upright.max(to);
            self.skip(end);
        } else {
            let start = from + self.text[from..to].len() - self.text[from..to].trim_start().len();
            self.push(Kind::Text, start, start + inside.len());
            self.at = to + 1;
        }
    }

    /// `\operatorname{arcsinh}` is the command `\arcsinh`; another name is words.
    fn operator(&mut self, end: usize) {
        match self.inside(end) {
            Some((from, to)) if super::names::is_command(&self.text[from..to]) => {
                self.push(Kind::Command, from, to);
                self.at = to + 1;
            }
            _ => self.words(end),
        }
    }

    /// `\begin{pmatrix}` becomes a command `begin` whose text is the environment's name; others are left out.
    fn environment(&mut self, begins: bool, end: usize) {
        let Some((from, to)) = self.inside(end) else {
            return self.skip(end);
        };
        let name = &self.text[from..to];
        let matrix = name.trim_end_matches('*').ends_with("matrix") || name == "array" || name == "cases";
        if begins {
            self.environments.push(matrix);
        } else {
            self.environments.pop();
        }
        if !matrix {
            return self.skip(to + 1);
        }
        let mut next = to + 1;
        if begins
            && name == "array"
            && let Some((_, columns)) = self.inside(next)
        {
            next = columns + 1;
        }
        // The kind of the matrix stays behind the mark: only a determinant differs.
        let kind = if begins {
            Kind::Sign('⟦')
        } else {
            Kind::Sign('⟧')
        };
        self.push(kind, from, to);
        self.at = next;
    }
}
