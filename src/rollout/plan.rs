//! The tree of prefixes of one query: which tokens stand where in the contexts of stages 1 to 3.
//!
//! ```text
//! (q) ─┬─ answer mark ─────────────── n candidates y_i                            stage 1
//!      ├─ y_0 … y_{n-1}, its mark ─── J integrations y_{n,j}                      stage 2
//!      └─ y_{-i}  (n of them) ─┬─ y_{n,j}, its mark  (J of them) ─── M samples    stage 3
//!                              └─ … ─── y_i, scored                               section 4
//! ```
//!
//! `(q)` is what the three contexts have in common, found in tokens, so that any template shares what it can.

use gcpo_data::Context;

use super::{Completion, RolloutError};

/// The contexts of one query.
#[derive(Debug, Clone)]
pub struct Contexts {
    answer: Vec<u32>,
    /// Of stage 2; empty, as the next two, where the query is only answered.
    integrate: Context,
    /// Of stage 3, what stands before the integration: shared by all integrations.
    others: Context,
    /// Of stage 3, from the integration on.
    integration: Context,
    /// Tokens that all contexts begin with; at least one more follows in each.
    shared: usize,
    /// Candidates are quoted by their last tokens, this many (0: all).
    candidate_tokens: usize,
}

impl Contexts {
    /// A query that is only answered: no second and third stage.
    ///
    /// # Errors
    /// [`RolloutError::Empty`] for a prompt without tokens.
    pub fn answer_only(answer: Vec<u32>) -> Result<Self, RolloutError> {
        if answer.is_empty() {
            return Err(RolloutError::Empty("the answer prompt".into()));
        }
        let shared = answer.len();
        Ok(Self {
            answer,
            integrate: Context::default(),
            others: Context::default(),
            integration: Context::default(),
            shared,
            candidate_tokens: 0,
        })
    }

    /// A query with all its stages.
    ///
    /// # Errors
    /// [`RolloutError::Empty`] if a context has no tokens of its own where it needs one: before the first
    /// candidate (the question), or after the last part (the mark that asks for the completion).
    pub fn new(
        answer: Vec<u32>,
        integrate: Context,
        project: Context,
        candidate_tokens: usize,
    ) -> Result<Self, RolloutError> {
        if answer.is_empty() {
            return Err(RolloutError::Empty("the answer prompt".into()));
        }
        let stages = [("integrate", &integrate), ("project", &project)];
        for (name, context) in stages {
            for (place, tokens) in [("beginning", context.head()), ("end", context.tail())] {
                if tokens.is_empty() {
                    return Err(RolloutError::Empty(format!("the {place} of the {name} prompt")));
                }
            }
        }
        // Each branch must keep a token of its own, whose state predicts the first token below it.
        let shared = stages.iter().fold(answer.len() - 1, |shared, (_, context)| {
            let head = context.head();
            answer[..shared]
                .iter()
                .zip(&head[..head.len() - 1])
                .take_while(|(a, b)| a == b)
                .count()
        });
        if shared == 0 {
            return Err(RolloutError::Empty(
                "what the three prompts have in common (the question)".into(),
            ));
        }
        let (others, integration) = project.split_at_integration();
        Ok(Self {
            answer,
            integrate,
            others,
            integration,
            shared,
            candidate_tokens,
        })
    }

    /// The node `(q)`.
    pub fn root(&self) -> &[u32] {
        &self.answer[..self.shared]
    }

    /// What follows `(q)` before a candidate; empty if the query is only answered.
    pub fn answer_branch(&self) -> &[u32] {
        &self.answer[self.shared..]
    }

    /// The whole context of a candidate.
    pub fn answer(&self) -> &[u32] {
        &self.answer
    }

    /// What follows `(q)` before an integration: `y_0 … y_{n-1}` and the mark.
    pub fn integrate_branch(&self, candidates: &[impl AsRef<Completion>]) -> Vec<u32> {
        self.integrate
            .fill(&self.quotes(candidates), None)
            .split_off(self.shared)
    }

    /// What follows `(q)` in every `x_{i,j}` of one `i`: `y_{-i}`.
    pub fn others_branch(&self, candidates: &[impl AsRef<Completion>], i: usize) -> Vec<u32> {
        self.before_integration(candidates, i).split_off(self.shared)
    }

    /// What follows [`Contexts::others_branch`]: `y_{n,j}` and the mark.
    pub fn integration_branch(&self, integration: &Completion) -> Vec<u32> {
        self.integration
            .fill(&[], Some(integration.quote(self.candidate_tokens)))
    }

    /// The whole context `x_{i,j}`.
    pub fn project(
        &self,
        candidates: &[impl AsRef<Completion>],
        i: usize,
        integration: &Completion,
    ) -> Vec<u32> {
        let mut context = self.before_integration(candidates, i);
        context.extend(self.integration_branch(integration));
        context
    }

    /// Checks that the longest context that can come still fits, its completion included.
    ///
    /// # Errors
    /// [`RolloutError::TooLong`] naming the context.
    pub fn check_fits(&self, max_completion_length: usize, max_positions: usize) -> Result<(), RolloutError> {
        let quote = self.longest_quote(max_completion_length);
        let project = self.others.length(quote) + self.integration.length(quote);
        let contexts = [
            ("the question with its answer", self.answer.len()),
            (
                "the context of the integrated answer",
                self.integrate.length(quote),
            ),
            ("the context of the projection", project),
        ];
        for (what, tokens) in contexts {
            let needed = tokens + max_completion_length;
            if tokens > 0 && needed > max_positions {
                return Err(RolloutError::TooLong {
                    what: what.into(),
                    needed,
                    limit: max_positions,
                });
            }
        }
        Ok(())
    }

    /// The longest completion, `most` tokens at most, with which [`Contexts::check_fits`] finds nothing too long; 0 where there is none.
    pub fn longest_completion(&self, most: usize, max_positions: usize) -> usize {
        let fits = |length: &usize| self.check_fits(*length, max_positions).is_ok();
        (1..=most).rev().find(fits).unwrap_or(0)
    }

    /// Lengths, at most, of all prefixes that the stages of one query run, in tokens of their own: `(q)` and what is
    /// below it for `n` candidates and `integrations` of them.
    pub fn prefixes(&self, n: usize, integrations: usize, max_completion_length: usize) -> Vec<usize> {
        let mut lengths = vec![self.shared, self.answer.len() - self.shared];
        if integrations > 0 && !self.integrate.is_empty() {
            let quote = self.longest_quote(max_completion_length);
            lengths.push(self.integrate.length(quote) - self.shared);
            lengths.extend(vec![self.others.length(quote) - self.shared; n]);
            lengths.extend(vec![self.integration.length(quote); n * integrations]);
        }
        lengths
    }

    /// Tokens of a candidate that another context quotes, at most.
    fn longest_quote(&self, max_completion_length: usize) -> usize {
        match self.candidate_tokens {
            0 => max_completion_length,
            limit => limit.min(max_completion_length),
        }
    }

    fn quotes<'a>(&self, candidates: &'a [impl AsRef<Completion>]) -> Vec<&'a [u32]> {
        candidates
            .iter()
            .map(|y| y.as_ref().quote(self.candidate_tokens))
            .collect()
    }

    /// `(q)` and `y_{-i}`.
    fn before_integration(&self, candidates: &[impl AsRef<Completion>], i: usize) -> Vec<u32> {
        let mut others = self.quotes(candidates);
        others.remove(i);
        self.others.fill(&others, None)
    }
}

#[cfg(test)]
mod tests {
    use gcpo_data::Part;

    use super::*;
    use crate::rollout::Finish;

    const EOS: u32 = 99;

    fn completion(tokens: &[u32]) -> Completion {
        let finish = if tokens.last() == Some(&EOS) {
            Finish::Eos
        } else {
            Finish::Length
        };
        Completion {
            tokens: tokens.to_vec(),
            logp: vec![0.0; tokens.len()],
            sampling_logp: vec![0.0; tokens.len()],
            finish,
        }
    }

    fn contexts(candidate_tokens: usize) -> Contexts {
        let q = vec![1, 2, 3];
        let first = Part::Tokens([q.clone(), vec![50]].concat());
        let mut integrate = vec![first.clone(), Part::Candidate(0)];
        let mut project = integrate.clone();
        for k in 1..3 {
            integrate.extend([Part::Tokens(vec![50]), Part::Candidate(k)]);
        }
        project.extend([Part::Tokens(vec![50]), Part::Candidate(1)]);
        integrate.push(Part::Tokens(vec![51]));
        project.extend([Part::Tokens(vec![51]), Part::Integration, Part::Tokens(vec![50])]);
        let (integrate, project) = (Context::new(integrate), Context::new(project));
        Contexts::new(vec![1, 2, 3, 50], integrate, project, candidate_tokens).unwrap()
    }

    #[test]
    fn branches_join_to_the_contexts() {
        let contexts = contexts(0);
        let ys = [
            completion(&[10, EOS]),
            completion(&[20, 21]),
            completion(&[30, EOS]),
        ];
        let y_n = completion(&[40, 41, EOS]);
        assert_eq!(contexts.root(), [1, 2, 3]);
        assert_eq!(contexts.answer_branch(), [50]);
        assert_eq!(contexts.integrate_branch(&ys), [50, 10, 50, 20, 21, 50, 30, 51]);
        assert_eq!(contexts.others_branch(&ys, 1), [50, 10, 50, 30, 51]);
        assert_eq!(contexts.integration_branch(&y_n), [40, 41, 50]);
        let joined = [
            contexts.root(),
            &contexts.others_branch(&ys, 1),
            &contexts.integration_branch(&y_n),
        ]
        .concat();
        assert_eq!(contexts.project(&ys, 1, &y_n), joined);
    }

    #[test]
    fn quotes_keep_their_last_tokens() {
        let contexts = contexts(1);
        let ys = [
            completion(&[10, 11, EOS]),
            completion(&[20, 21]),
            completion(&[EOS]),
        ];
        assert_eq!(contexts.integrate_branch(&ys), [50, 11, 50, 21, 50, 51]);
    }

    #[test]
    fn every_branch_keeps_a_token_of_its_own() {
        // The answer prompt is a prefix of the others: one token of it must stay below (q).
        let body = |mark: u32| Context::new(vec![Part::Tokens(vec![1, 2, 3, mark]), Part::Tokens(vec![9])]);
        let contexts = Contexts::new(vec![1, 2, 3], body(4), body(5), 0).unwrap();
        assert_eq!(contexts.root(), [1, 2]);
        assert_eq!(contexts.answer_branch(), [3]);
    }

    #[test]
    fn contexts_that_cannot_fit_are_refused_by_name() {
        let contexts = contexts(0);
        assert!(contexts.check_fits(4, 3 + 3 * 5 + 1 + 4).is_ok());
        assert_eq!(contexts.longest_completion(4, 3 + 3 * 5 + 1 + 4), 4);
        assert_eq!(contexts.longest_completion(9, 3 + 3 * 5 + 1 + 3), 3);
        assert_eq!(contexts.longest_completion(9, 3), 0);
        let error = contexts.check_fits(4, 20).unwrap_err().to_string();
        assert!(
            error.contains("integrated answer takes 23 tokens") && error.contains("20 positions"),
            "{error}"
        );
    }
}
