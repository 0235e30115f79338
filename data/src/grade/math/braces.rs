//! Sets in braces: their members, or the condition that makes them.

use super::node::{Func, Node, Relation};
use super::parse::{Parser, Read, joined_conditions};
use super::tokens::Joint;

impl Parser<'_> {
    /// A set, or a set-builder, which is its condition.
    pub fn braces(&mut self) -> Read<Node> {
        self.at += 1;
        if self.is_sign('}') || self.is_command("}") || self.is_command("rbrace") {
            self.at += 1;
            return Ok(Node::Set(Vec::new()));
        }
        self.brackets += 1;
        let bars = std::mem::replace(&mut self.bars, 1);
        let items = self.deeper(Self::items);
        let mut items = items?;
        while self.eat_sign(';') {
            items.extend(self.deeper(Self::items)?);
        }
        let condition = if self.eat_sign('|') {
            Some(self.deeper(Self::items)?)
        } else {
            None
        };
        self.brackets -= 1;
        self.bars = bars;
        if !(self.is_sign('}') || self.is_command("}") || self.is_command("rbrace")) {
            return self.wrong("a set that does not close");
        }
        self.at += 1;
        if let Some(mut condition) = condition
            && condition.len() == 1
        {
            return Ok(condition.remove(0));
        }
        let joins = std::mem::take(&mut self.joins);
        Ok(match condition_of(&mut items, &joins) {
            Some(condition) => condition,
            None => Node::Set(items),
        })
    }
}

/// The condition that makes a set, where its braces hold one and no members.
fn condition_of(items: &mut Vec<Node>, joins: &[Joint]) -> Option<Node> {
    // \{x : x > 1\} and \{x \mid x > 1\}
    if let [Node::Ratio(parts)] = items.as_slice()
        && let [Node::Symbol(_), condition] = parts.as_slice()
    {
        return Some(condition.clone());
    }
    if let [Node::Chain(first, rest)] = items.as_slice()
        && let Some((name, body)) = builder(first, rest)
    {
        return Some(Node::Chain(name.into(), body));
    }
    // \{x \in \mathbb{R} \mid x > 1\}
    if let [Node::Chain(first, rest)] = items.as_slice()
        && let Some(both) = bounded_builder(first, rest)
    {
        return Some(both);
    }
    // \{x \mid x < -1 or x > 1\}
    if let [Node::Chain(first, rest), ..] = items.as_slice()
        && let Some((name, body)) = builder(first, rest)
    {
        items[0] = Node::Chain(name.into(), body);
        *items = joined_conditions(std::mem::take(items), joins);
        if items.len() == 1 {
            return Some(items.remove(0));
        }
    }
    // \{x : x < -1 or x > 1\}: the colon is in the first of the conditions.
    if let [Node::Call(Func::Named("Or" | "And" | "Conditions"), parts)] = items.as_mut_slice() {
        if let Some(Node::Chain(first, rest)) = parts.first()
            && let Some((name, body)) = builder(first, rest)
        {
            parts[0] = Node::Chain(name.into(), body);
        }
        return Some(items.remove(0));
    }
    None
}

/// `x \mid x > 1` and `x : x > 1` inside a set: the condition.
fn builder(first: &Node, rest: &[(Relation, Node)]) -> Option<(Node, Vec<(Relation, Node)>)> {
    if let Node::Ratio(parts) = first
        && let [Node::Symbol(_), name] = parts.as_slice()
    {
        return Some((name.clone(), rest.to_vec()));
    }
    let ((Relation::Other('∣'), name), body) = rest.split_first()? else {
        return None;
    };
    (matches!(first, Node::Symbol(_)) && !body.is_empty()).then(|| (name.clone(), body.to_vec()))
}

/// `x \in R \mid x > 1` and `x \in R : x > 1` inside a set: both conditions.
fn bounded_builder(first: &Node, rest: &[(Relation, Node)]) -> Option<Node> {
    let (all, name, body) = match rest {
        [(Relation::In, all), (Relation::Other('∣'), name), body @ ..] => (all, name, body),
        [(Relation::In, Node::Ratio(parts)), body @ ..] => match parts.as_slice() {
            [all, name] => (all, name, body),
            _ => return None,
        },
        _ => return None,
    };
    (matches!(first, Node::Symbol(_)) && !body.is_empty()).then(|| {
        let within = Node::Chain(first.clone().into(), vec![(Relation::In, all.clone())]);
        Node::call(
            "And",
            vec![within, Node::Chain(name.clone().into(), body.to_vec())],
        )
    })
}
