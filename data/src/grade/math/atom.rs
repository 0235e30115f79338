//! Names and brackets.

use super::lex::{Dialect, Kind};
use super::names;
use super::node::{Const, Func, Node};
use super::parse::{Parser, Read, joined_conditions, one_or};
use super::tokens::{Joint, OPEN_FROM, OPEN_TO};

impl<'a> Parser<'a> {
    /// The smallest thing that has a value.
    pub fn factor(&mut self) -> Read<Node> {
        let Some(token) = self.peek() else {
            return self.wrong("the end where a value belongs");
        };
        match token.kind {
            Kind::Number => self.number(),
            Kind::Word => self.word(token.text),
            Kind::Command => self.command(token.text),
            // \text{lcm}(4, 6)
            Kind::Text if let Some(function) = self.named_in_text() => {
                self.at += 1;
                self.function(function)
            }
            Kind::Text => {
                self.at += 1;
                Ok(Node::Symbol(token.text.to_owned()))
            }
            Kind::Sign(c) => self.sign(c),
        }
    }

    /// The function that the words which stand here name, where its arguments follow.
    pub fn named_in_text(&self) -> Option<&'static str> {
        let opens = |t: super::lex::Token<'_>| matches!(t.kind, Kind::Sign('(' | '{')) || t.text == "{";
        let token = self.peek().filter(|t| t.kind == Kind::Text)?;
        names::function(token.text).filter(|_| self.peek_at(1).is_some_and(opens))
    }

    fn sign(&mut self, c: char) -> Read<Node> {
        match c {
            '(' => self.round(),
            '[' => self.square(),
            OPEN_FROM => self.turned(),
            '{' => {
                self.at += 1;
                let node = self.group("}")?;
                Ok(node)
            }
            '|' => self.absolute(),
            '⟦' => self.matrix(),
            '⌊' => self.fenced("⌋", "floor"),
            '⌈' => self.fenced("⌉", "ceiling"),
            '√' | '∛' | '∜' => {
                self.at += 1;
                let inside = self.power_free()?;
                let index = match c {
                    '√' => 2,
                    '∛' => 3,
                    _ => 4,
                };
                Ok(Node::Root(inside.into(), index))
            }
            '∅' => {
                self.at += 1;
                Ok(Node::Set(Vec::new()))
            }
            'ℝ' | 'ℤ' | 'ℚ' | 'ℕ' | 'ℂ' => {
                self.at += 1;
                Ok(Node::NumberSet(c))
            }
            _ => {
                let mut buffer = [0; 4];
                let text: &str = c.encode_utf8(&mut buffer);
                let node = if let Some(constant) = names::constant(text) {
                    Node::Const(constant)
                } else if let Some(letter) = names::letter(text) {
                    Node::Symbol(letter.into())
                } else if c == '∠' || c == '△' {
                    Node::Symbol(c.into())
                } else {
                    return self.wrong("a sign where a value belongs");
                };
                self.at += 1;
                self.applied(node)
            }
        }
    }

    /// A word: a function, a constant, a letter by its name, or letters that are multiplied.
    fn word(&mut self, word: &'a str) -> Read<Node> {
        let token = self.tokens[self.at];
        // np.arcsin, math.sqrt
        if matches!(word, "np" | "math" | "sp" | "sympy") && self.peek_at(1).is_some_and(|t| t.text == ".") {
            self.at += 2;
            return self.factor();
        }
        if let Some(node) = self.sympy(word)? {
            return Ok(node);
        }
        if let Some(function) = names::function(word) {
            self.at += 1;
            return self.function(function);
        }
        if let Some(constant) = names::constant(word) {
            self.at += 1;
            return Ok(Node::Const(constant));
        }
        if let Some(letter) = names::letter(word) {
            self.at += 1;
            return self.named(letter.to_owned());
        }
        // bar{x}
        if names::accent(word).is_some() && self.peek_at(1).is_some_and(|t| t.text == "{") {
            return self.accented(word);
        }
        // sinx, lnx: what follows is one letter.
        let (head, last) = word.split_at(word.len() - 1);
        if matches!(head, "sin" | "cos" | "tan" | "ln" | "log" | "exp") {
            let at = self.at;
            self.tokens[at].text = last;
            self.tokens[at].at = token.at + head.len();
            return self.function(names::function(head).unwrap_or("sin"));
        }
        if self.differential(word) {
            return Ok(Node::int(1));
        }
        self.first_letter(word)
    }

    /// `dx` in an integral.
    fn differential(&mut self, word: &str) -> bool {
        if self.integrals == 0 || !word.starts_with('d') {
            return false;
        }
        if let [_, letter] = word.as_bytes() {
            self.at += 1;
            self.differentials.push((*letter as char).to_string());
            return true;
        }
        if word == "d"
            && let Some(letter) = self.peek_at(1).and_then(|t| names::letter(t.text))
        {
            self.at += 2;
            self.differentials.push(letter.to_owned());
            return true;
        }
        false
    }

    /// Letters side by side: the first now, the rest with the next factor.
    fn first_letter(&mut self, word: &'a str) -> Read<Node> {
        let token = self.tokens[self.at];
        let (first, rest) = word.split_at(1);
        if rest.is_empty() {
            self.at += 1;
        } else {
            let at = self.at;
            self.tokens[at].text = rest;
            self.tokens[at].at = token.at + 1;
            self.tokens[at].spaced = false;
        }
        let constant = match first {
            "e" => Some(Const::E),
            "i" => Some(Const::I),
            "j" if self.dialect == Dialect::Loose => Some(Const::I),
            "E" if self.dialect == Dialect::Sympy => Some(Const::E),
            "I" if self.dialect == Dialect::Sympy => Some(Const::I),
            _ => None,
        };
        // e_1 and i' are names.
        // SymPy prints I*x, never I(x).
        let called = self.dialect == Dialect::Sympy && matches!(first, "I" | "E") && self.is_sign('(');
        let named = rest.is_empty() && (self.is_sign('_') || self.is_sign('\'') || called);
        match constant.filter(|_| !named) {
            Some(constant) => Ok(Node::Const(constant)),
            None if rest.is_empty() => self.named(first.to_owned()),
            None => Ok(Node::Symbol(first.to_owned())),
        }
    }

    /// A symbol with its subscript, and the application that may follow.
    pub fn named(&mut self, name: String) -> Read<Node> {
        let mut node = Node::Symbol(name);
        if self.is_sign('_') {
            node = self.subscript(node)?;
        }
        self.applied(node)
    }

    /// `_i`, `_{ij}`: part of the name, as it is written.
    pub fn subscript(&mut self, node: Node) -> Read<Node> {
        let Node::Symbol(mut name) = node else {
            return self.wrong("a subscript that belongs to no name");
        };
        self.at += 1;
        let written = self.raw_argument()?;
        name.push('_');
        name.push_str(&written);
        Ok(Node::Symbol(name))
    }

    /// The text of a group or of one token, without spaces, braces and the names of fonts.
    pub fn raw_argument(&mut self) -> Read<String> {
        let Some(token) = self.peek() else {
            return self.wrong("the end where an argument belongs");
        };
        if token.text != "{" || token.kind == Kind::Command {
            self.at += 1;
            return Ok(token.text.to_owned());
        }
        let mut depth = 0;
        let mut out = String::new();
        while let Some(token) = self.peek() {
            self.at += 1;
            match token.kind {
                Kind::Sign('{') => depth += 1,
                Kind::Sign('}') => depth -= 1,
                _ => out.extend(token.text.chars().filter(|c| !c.is_whitespace())),
            }
            if depth == 0 {
                return Ok(out);
            }
        }
        self.wrong("a group that never closes")
    }

    /// `f(x)`: a function where the name is one that functions have, where the argument is a number, or where there
    /// are several; else `a(x)` is a product.
    pub fn applied(&mut self, node: Node) -> Read<Node> {
        let Node::Symbol(name) = &node else {
            return Ok(node);
        };
        if !self.is_sign('(') {
            return Ok(node);
        }
        let first = name.chars().next().unwrap_or(' ');
        let function =
            name.ends_with('\'') || (matches!(first, 'f' | 'g' | 'h' | 'F' | 'G' | 'H') && name != "hbar");
        if !function && !self.number_or_list_in_brackets() {
            return Ok(node);
        }
        let name = name.clone();
        let args = match self.round()? {
            Node::Tuple(args) => args,
            // t(0, 4]: no argument, but a set.
            set @ Node::Interval(..) => return Ok(Node::Mul(vec![Node::Symbol(name), set])),
            one => vec![one],
        };
        Ok(Node::Call(Func::Applied(name), args))
    }

    fn number_or_list_in_brackets(&self) -> bool {
        let mut depth = 0;
        for (place, token) in self.tokens[self.at..].iter().enumerate().take(200) {
            match token.kind {
                Kind::Sign('(' | '[' | '{') => depth += 1,
                Kind::Sign(')' | ']' | '}') => depth -= 1,
                Kind::Sign(',') if depth == 1 => return true,
                _ => {}
            }
            if depth == 0 {
                return place == 2 && self.tokens[self.at + 1].kind == Kind::Number;
            }
        }
        false
    }

    /// The inside of a group, up to `close`. A list stays one.
    pub fn group(&mut self, close: &str) -> Read<Node> {
        self.brackets += 1;
        let bars = std::mem::take(&mut self.bars);
        let items = self.deeper(Self::items);
        self.brackets -= 1;
        let mut items = items?;
        while self.eat_sign(';') {
            self.brackets += 1;
            let more = self.deeper(Self::items);
            self.brackets -= 1;
            items.extend(more?);
        }
        self.bars = bars;
        let mut node = one_or(items, Node::List);
        if self.is_command("choose") || self.is_command("over") {
            let over = self.is_command("over");
            self.at += 1;
            let below = self.deeper(Self::statement)?;
            node = if over {
                Node::Div(node.into(), below.into())
            } else {
                Node::call("binomial", vec![node, below])
            };
        }
        if self.peek().is_none_or(|t| t.text != close) {
            return self.wrong("a bracket that does not close");
        }
        self.at += 1;
        Ok(node)
    }

    /// Items up to a closing bracket of either kind, and which it was.
    fn bracketed(&mut self) -> Read<(Vec<Node>, bool)> {
        self.at += 1;
        if self.eat_sign(')') {
            return Ok((Vec::new(), false));
        }
        self.brackets += 1;
        let bars = std::mem::take(&mut self.bars);
        let items = self.deeper(|parser| {
            let mut items = parser.items()?;
            while parser.eat_sign(';') {
                items.extend(parser.items()?);
            }
            Ok(items)
        });
        self.brackets -= 1;
        self.bars = bars;
        let items = items?;
        let square = self.is_sign(']') || self.is_command("rbrack");
        if !square && !self.is_sign(')') && !self.is_sign(OPEN_TO) && !self.is_command("rgroup") {
            return self.wrong("a bracket that does not close");
        }
        self.at += 1;
        Ok((items, square))
    }

    pub fn round(&mut self) -> Read<Node> {
        let (mut items, square) = self.bracketed()?;
        if square && items.len() == 2 {
            let (to, from) = (items.remove(1), items.remove(0));
            return Ok(Node::Interval(from.into(), to.into(), false, true));
        }
        Ok(one_or(items, Node::Tuple))
    }

    /// `]2, 5[` and `]2, 5]`: open where the bracket is turned outwards.
    fn turned(&mut self) -> Read<Node> {
        let (items, square) = self.bracketed()?;
        match <[Node; 2]>::try_from(items) {
            Ok([from, to]) => Ok(Node::Interval(from.into(), to.into(), false, square)),
            Err(_) => self.wrong("an interval without its two ends"),
        }
    }

    pub fn square(&mut self) -> Read<Node> {
        let (mut items, square) = self.bracketed()?;
        if let [Node::Interval(.., true, true), Node::Interval(.., true, true)] = items.as_slice() {
            return Ok(Node::Matrix(items.iter().filter_map(row).collect()));
        }
        if items.len() == 2 {
            let (to, from) = (items.remove(1), items.remove(0));
            return Ok(Node::Interval(from.into(), to.into(), true, square));
        }
        // Rows: [[1, 2], [3, 4]]
        let rows: Option<Vec<Vec<Node>>> = (items.len() > 2 && items.len() < 100)
            .then(|| items.iter().map(row).collect())
            .flatten();
        if let Some(rows) = rows {
            return Ok(Node::Matrix(rows));
        }
        Ok(one_or(items, Node::Tuple))
    }

    /// `|x|`.
    pub fn absolute(&mut self) -> Read<Node> {
        self.at += 1;
        let bars = std::mem::replace(&mut self.bars, 1);
        self.brackets += 1;
        let inside = self.deeper(Self::sum)?;
        self.brackets -= 1;
        self.bars = bars;
        let closes = self.is_sign('|')
            || ["vert", "rvert", "Vert", "rVert"]
                .iter()
                .any(|name| self.is_command(name));
        if !closes {
            return self.wrong("a bar that does not close");
        }
        self.at += 1;
        Ok(Node::call("Abs", vec![inside]))
    }

    /// What stands between two marks, under a function.
    pub fn fenced(&mut self, close: &str, function: &'static str) -> Read<Node> {
        self.at += 1;
        let inside = self.group(close)?;
        Ok(Node::call(function, vec![inside]))
    }

    fn matrix(&mut self) -> Read<Node> {
        let kind = self.tokens[self.at].text;
        self.at += 1;
        self.brackets += 1;
        let bars = std::mem::take(&mut self.bars);
        let mut rows = vec![Vec::new()];
        while !self.is_sign('⟧') {
            if self.eat_command("\\\\") {
                rows.push(Vec::new());
                continue;
            }
            if self.eat_sign('&') {
                continue;
            }
            let cell = self.deeper(Self::statement)?;
            if let Some(row) = rows.last_mut() {
                row.push(cell);
            }
        }
        self.at += 1;
        self.brackets -= 1;
        self.bars = bars;
        rows.retain(|row| !row.is_empty());
        // Lines of \begin{cases} that are statements: all of them hold.
        if kind == "array" && rows.len() == 1 && rows[0].len() == 1 {
            return Ok(rows.remove(0).remove(0));
        }
        if (kind.starts_with("cases") || kind == "array")
            && rows.iter().all(|row| matches!(row.as_slice(), [Node::Chain(..)]))
        {
            let items: Vec<Node> = rows.into_iter().flatten().collect();
            let joins = vec![Joint::And; items.len().saturating_sub(1)];
            return Ok(one_or(joined_conditions(items, &joins), Node::List));
        }
        if rows.is_empty() || rows.iter().any(|row| row.len() != rows[0].len()) {
            return self.wrong("a matrix whose rows differ in length");
        }
        Ok(if kind.starts_with("vmatrix") {
            Node::call("det", vec![Node::Matrix(rows)])
        } else {
            Node::Matrix(rows)
        })
    }
}

/// A row that was read as something in square brackets.
pub(super) fn row(node: &Node) -> Option<Vec<Node>> {
    match node {
        Node::Interval(a, b, true, true) => Some(vec![(**a).clone(), (**b).clone()]),
        Node::Tuple(cells) => Some(cells.clone()),
        _ => None,
    }
}
