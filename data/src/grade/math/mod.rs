//! Mathematical answers: read ([`read`]), understood ([`Answer`]) and compared ([`compare::compare`]).
//!
//! The way of an answer: text → tokens (`lex`) → a tree of [`Node`] (`parse`, `arith`, `atom`) → an [`Answer`]
//! (`answer`: names off, plus-minus opened, lists flattened). Two answers are compared by `compare`, which asks, in
//! this order, exact rationals and the symbolic normal form (`poly`, `normal`), then an evaluation in double-double
//! arithmetic at several points (`wide`, `complex`, `eval`). Every stage has a limit, so any input ends.

mod answer;
mod arith;
mod atom;
mod call;
pub mod compare;
mod complex;
mod eval;
mod integers;
mod lex;
mod names;
mod node;
mod normal;
mod numeral;
mod parse;
mod points;
mod poly;
mod region;
mod relate;
mod show;
mod sympy;
mod terms;
mod wide;

pub use answer::Answer;
pub use lex::Dialect;
pub use node::{Node, Rat};

/// An answer longer than this many bytes is not read.
pub const MAX_BYTES: usize = 20_000;
/// An answer of more tokens than this is not read.
pub const MAX_TOKENS: usize = 4_000;
/// Brackets, fractions and powers nested deeper than this are not read.
pub const MAX_DEPTH: usize = 120;
/// Quotients, remainders, unions and postfix signs in one answer: each makes its tree deeper without a bracket.
pub const MAX_CHAIN: usize = 200;
/// A whole number of more bits than this is not worked out: it stays a power, a factorial and so on.
pub const MAX_BITS: u64 = 16_000;

/// Why a text could not be read as mathematics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is beyond [`MAX_BYTES`], [`MAX_TOKENS`] or [`MAX_DEPTH`].
    #[error("it is too long or too deeply nested (at most {MAX_BYTES} bytes, {MAX_DEPTH} levels)")]
    TooBig,
    /// Something stands where it cannot stand.
    #[error("{what} at {near:?}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// The text from there on, cut to 20 characters.
        near: String,
    },
}

/// Reads `text`, whole, as mathematics in the given dialect.
///
/// # Errors
/// [`Unreadable`].
pub fn read(text: &str, dialect: Dialect) -> Result<Answer, Unreadable> {
    let node = parse::parse(text, dialect)?;
    Ok(answer::understand(node))
}

/// Whether a word means something in mathematics: a function, a letter's name, SymPy's classes.
pub fn is_known_word(word: &str) -> bool {
    names::is_known_word(word)
}

#[cfg(test)]
mod tests;
