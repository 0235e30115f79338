//! Mathematical answers: read ([`read`]), understood ([`Answer`]) and compared ([`compare`]).
//!
//! The way of an answer: text → tokens (`lex`) → a tree of [`Node`] (`parse`, `arith`, `atom`) → an [`Answer`]
//! (`answer`: names off, plus-minus opened, lists flattened). Two answers are compared by `compare`, which asks, in
//! this order, exact rationals and the symbolic normal form (`poly`, `normal`), then an evaluation in double-double
//! arithmetic at several points (`wide`, `complex`, `eval`). Every stage has a limit, so any input ends.

mod answer;
mod arith;
mod atom;
mod braces;
mod call;
pub mod compare;
mod complex;
mod eval;
mod integers;
mod layout;
mod lex;
mod limits;
mod mixed;
mod names;
mod node;
mod normal;
mod numeral;
mod parse;
mod points;
mod poly;
mod region;
mod relate;
mod separators;
mod show;
mod sympy;
mod terms;
mod tokens;
mod unit;
pub(crate) mod units;
mod wide;
pub(crate) mod words;

pub use answer::Answer;
pub use lex::Dialect;
pub use limits::{MAX_BYTES, Unreadable};
pub use node::{Node, Rat};

/// Reads `text`, whole, as mathematics in the given dialect.
///
/// # Errors
/// [`Unreadable`].
pub fn read(text: &str, dialect: Dialect) -> Result<Answer, Unreadable> {
    read_with_units(text, dialect).map(|(answer, _)| answer)
}

/// As [`read`], with the units that were passed over.
pub(crate) fn read_with_units(
    text: &str,
    dialect: Dialect,
) -> Result<(Answer, Vec<units::Units>), Unreadable> {
    let (node, mut units) = parse::parse(text, dialect)?;
    if units.is_empty() {
        units.extend(units::Units::of_currency(text));
    }
    Ok((answer::understand(node), units))
}

/// Whether a word means something in mathematics: a function, a letter's name, SymPy's classes.
pub fn is_known_word(word: &str) -> bool {
    names::is_known_word(word)
}

#[cfg(test)]
mod spelling_tests;
#[cfg(test)]
mod tests;
