//! What stands in front of a completion, in tokens, with places for texts that are sampled.
//!
//! A sampled text goes in as the token ids that were sampled, never by way of text, which might tokenise differently.

/// A part of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Tokens of the template and the question.
    Tokens(Vec<u32>),
    /// A place for one of the candidates: its index in the list that the context is filled with.
    Candidate(usize),
    /// A place for the integration.
    Integration,
}

/// A prompt in tokens, with what the tokenizer puts in front of a text. Made by [`crate::Prompts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    parts: Vec<Part>,
    /// The text of the template and the question that it ends with.
    end: String,
}

impl Context {
    /// A context of these parts, in their order.
    pub fn new(parts: Vec<Part>) -> Self {
        let end = String::new();
        Self { parts, end }
    }

    /// The same, which ends with this text; nothing where it ends with a place.
    pub(crate) fn ending_with(self, end: &str) -> Self {
        Self {
            end: end.to_owned(),
            ..self
        }
    }

    /// The text of the template and the question that it ends with, as far as that is known.
    pub(crate) fn end(&self) -> &str {
        &self.end
    }

    /// Whether it has no parts.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The tokens, with the candidates and the integration in their places.
    ///
    /// # Panics
    /// If there is a place for which nothing is given.
    pub fn fill(&self, candidates: &[&[u32]], integration: Option<&[u32]>) -> Vec<u32> {
        let mut tokens = Vec::new();
        for part in &self.parts {
            tokens.extend_from_slice(match part {
                Part::Tokens(fixed) => fixed,
                Part::Candidate(k) => candidates[*k],
                Part::Integration => integration.expect("a context with an integration is given one"),
            });
        }
        tokens
    }

    /// Its length in tokens where every place takes `quote` of them.
    pub fn length(&self, quote: usize) -> usize {
        let length = |part: &Part| match part {
            Part::Tokens(fixed) => fixed.len(),
            Part::Candidate(_) | Part::Integration => quote,
        };
        self.parts.iter().map(length).sum()
    }

    /// What stands before the integration, and what begins with it; the latter is empty where it has no place.
    pub fn split_at_integration(mut self) -> (Self, Self) {
        let is_integration = |part: &Part| *part == Part::Integration;
        let at = self
            .parts
            .iter()
            .position(is_integration)
            .unwrap_or(self.parts.len());
        let rest = Self::new(self.parts.split_off(at)).ending_with(&self.end);
        if !rest.is_empty() {
            self.end.clear();
        }
        (self, rest)
    }

    /// The fixed tokens that it begins with.
    pub fn head(&self) -> &[u32] {
        fixed(self.parts.first())
    }

    /// The fixed tokens that it ends with.
    pub fn tail(&self) -> &[u32] {
        fixed(self.parts.last())
    }
}

fn fixed(part: Option<&Part>) -> &[u32] {
    match part {
        Some(Part::Tokens(tokens)) => tokens,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_counted_and_cut_at() {
        let context = Context::new(vec![
            Part::Tokens(vec![1, 2]),
            Part::Candidate(1),
            Part::Candidate(0),
            Part::Integration,
            Part::Tokens(vec![3]),
        ]);
        assert_eq!(
            context.fill(&[&[10], &[20, 21]], Some(&[30])),
            [1, 2, 20, 21, 10, 30, 3]
        );
        assert_eq!(context.length(5), 18);
        assert_eq!((context.head(), context.tail()), (&[1, 2][..], &[3][..]));
        let (before, rest) = context.split_at_integration();
        assert_eq!(before.fill(&[&[10], &[20, 21]], None), [1, 2, 20, 21, 10]);
        assert_eq!(rest.fill(&[], Some(&[30])), [30, 3]);
        assert_eq!((before.tail(), rest.head()), (&[][..], &[][..]));
        let (all, nothing) = before.clone().split_at_integration();
        assert!(all == before && nothing.is_empty());
    }
}
