//! Equations and inequalities compared.

use super::compare::Comparison;
use super::node::{Func, Node, Relation};
use super::points::proportional_at_points;
use super::poly::Atoms;
use super::region::{self, mirrored};
use crate::grade::outcome::{By, Outcome};
use num_traits::Signed;

impl Comparison {
    /// Equations, and chains of inequalities, in any order and orientation.
    pub fn relations(&mut self, a: (&Node, &[(Relation, Node)]), b: (&Node, &[(Relation, Node)])) -> Outcome {
        if a.1.len() == b.1.len() {
            let (left, right) = (pairs(a.0, a.1), pairs(b.0, b.1));
            let mut used = vec![false; right.len()];
            let mut by = By::Exact;
            let all = left.iter().all(|pair| {
                let found = (0..right.len()).find(|at| {
                    !used[*at] && {
                        let outcome = self.relation(pair, &right[*at]);
                        by = by.max(if outcome.equal { outcome.by } else { By::Exact });
                        outcome.equal
                    }
                });
                found.map(|at| used[at] = true).is_some()
            });
            if all {
                return Outcome::of(true, by);
            }
        }
        match (region::solved(a.0, a.1), region::solved(b.0, b.1)) {
            (Some(x), Some(y)) if quantity(a) == quantity(b) => self.regions(&x, &y),
            _ => Outcome::of(false, By::Symbolic),
        }
    }

    fn relation(&mut self, a: &Pair<'_>, b: &Pair<'_>) -> Outcome {
        let ((op, left, right), (other, p, q)) = (turned(a), turned(b));
        if op != other {
            return Outcome::DIFFERENT;
        }
        let straight = (self.scalar(left, p), self.scalar(right, q));
        if straight.0.equal && straight.1.equal {
            return Outcome::of(true, straight.0.by.max(straight.1.by));
        }
        let symmetric = matches!(op, Relation::Equal | Relation::NotEqual);
        if !symmetric && !matches!(op, Relation::Less | Relation::LessEqual) {
            return Outcome::of(false, By::Symbolic);
        }
        self.scalars += 1;
        let difference = |a: &Node, b: &Node| Node::Add(vec![a.clone(), Node::Neg(b.clone().into())]);
        let (x, y) = (difference(left, right), difference(p, q));
        let mut atoms = Atoms::default();
        if let (Ok(f), Ok(g)) = (atoms.form(&x), atoms.form(&y)) {
            // 0 = 0 says nothing.
            if f.num.is_zero() || g.num.is_zero() {
                return Outcome::of(false, By::Symbolic);
            }
            let parts = f.num.proportional(&g.num);
            let sign = f.num.primitive().0.is_positive() == g.num.primitive().0.is_positive();
            if symmetric && parts || (parts && sign && f.den == g.den) {
                return Outcome::of(true, By::Symbolic);
            }
            if f.is_whole() && g.is_whole() && atoms.is_decisive(&f) && atoms.is_decisive(&g) {
                return Outcome::of(false, By::Symbolic);
            }
        }
        proportional_at_points(&x, &y, symmetric)
    }
}

type Pair<'a> = (Relation, &'a Node, &'a Node);

fn pairs<'a>(first: &'a Node, rest: &'a [(Relation, Node)]) -> Vec<Pair<'a>> {
    let mut left = first;
    rest.iter()
        .map(|(relation, right)| {
            let pair = (*relation, left, right);
            left = right;
            pair
        })
        .collect()
}

/// Greater turned into less.
fn turned<'a>(pair: &Pair<'a>) -> Pair<'a> {
    match pair {
        (op @ (Relation::Greater | Relation::GreaterEqual), a, b) => (mirrored(*op), b, a),
        other => *other,
    }
}

/// The one variable that inequalities are about.
fn quantity(relation: (&Node, &[(Relation, Node)])) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |node: &Node| {
        fn walk(node: &Node, names: &mut Vec<String>) {
            match node {
                Node::Symbol(name) | Node::Call(Func::Applied(name), _) if !names.contains(name) => {
                    names.push(name.clone());
                }
                _ => node.children().into_iter().for_each(|part| walk(part, names)),
            }
        }
        walk(node, &mut names);
    };
    add(relation.0);
    relation.1.iter().for_each(|(_, side)| add(side));
    names.sort();
    names
}
