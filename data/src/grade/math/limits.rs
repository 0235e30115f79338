//! How much is read, and why a text could not be.

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
    /// It is longer, or deeper nested, than what is read.
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
