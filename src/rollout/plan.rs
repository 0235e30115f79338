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

use super::{Completion, RolloutError};

/// A part of a context: fixed tokens, or a place that a sampled text fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Tokens of the template and the question.
    Tokens(Vec<u32>),
    /// The k-th of the candidates that the context quotes.
    Candidate(usize),
    /// The integrated answer.
    Integration,
}

/// The contexts of one query, in tokens.
#[derive(Debug, Clone)]
pub struct PromptPlan {
    answer: Vec<u32>,
    integrate: Vec<Chunk>,
    project: Vec<Chunk>,
    /// Tokens that all contexts begin with; at least one more follows in each.
    shared: usize,
    /// Candidates are quoted by their last tokens, this many (0: all).
    candidate_tokens: usize,
}

impl PromptPlan {
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
            integrate: Vec::new(),
            project: Vec::new(),
            shared,
            candidate_tokens: 0,
        })
    }

    /// A query with all its stages. In `project`, everything before [`Chunk::Integration`] is shared by all
    /// integrations.
    ///
    /// # Errors
    /// [`RolloutError::Empty`] if a context has no tokens of its own where it needs one: before the first
    /// candidate (the question), or after the last part (the mark that asks for the completion).
    pub fn new(
        answer: Vec<u32>,
        integrate: Vec<Chunk>,
        project: Vec<Chunk>,
        candidate_tokens: usize,
    ) -> Result<Self, RolloutError> {
        let head = |name: &str, chunks: &[Chunk]| match chunks.first() {
            Some(Chunk::Tokens(tokens)) if !tokens.is_empty() => Ok(tokens.clone()),
            _ => Err(RolloutError::Empty(format!("the beginning of the {name} prompt"))),
        };
        let tail = |name: &str, chunks: &[Chunk]| match chunks.last() {
            Some(Chunk::Tokens(tokens)) if !tokens.is_empty() => Ok(()),
            _ => Err(RolloutError::Empty(format!("the end of the {name} prompt"))),
        };
        if answer.is_empty() {
            return Err(RolloutError::Empty("the answer prompt".into()));
        }
        let heads = [head("integrate", &integrate)?, head("project", &project)?];
        tail("integrate", &integrate)?;
        tail("project", &project)?;
        // Each branch must keep a token of its own, whose state predicts the first token below it.
        let shared = heads.iter().fold(answer.len() - 1, |shared, head| {
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
        Ok(Self {
            answer,
            integrate,
            project,
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
        let quoted: Vec<&Completion> = candidates.iter().map(AsRef::as_ref).collect();
        self.fill(&self.integrate, &quoted, None).split_off(self.shared)
    }

    /// What follows `(q)` in every `x_{i,j}` of one `i`: `y_{-i}`.
    pub fn others_branch(&self, candidates: &[impl AsRef<Completion>], i: usize) -> Vec<u32> {
        let cut = self.integration_at();
        self.fill(&self.project[..cut], &others(candidates, i), None)
            .split_off(self.shared)
    }

    /// What follows [`PromptPlan::others_branch`]: `y_{n,j}` and the mark.
    pub fn integration_branch(&self, integration: &Completion) -> Vec<u32> {
        self.fill(&self.project[self.integration_at()..], &[], Some(integration))
    }

    /// The whole context `x_{i,j}`.
    pub fn project(
        &self,
        candidates: &[impl AsRef<Completion>],
        i: usize,
        integration: &Completion,
    ) -> Vec<u32> {
        self.fill(&self.project, &others(candidates, i), Some(integration))
    }

    /// Checks that the longest context that can come still fits, its completion included.
    ///
    /// # Errors
    /// [`RolloutError::TooLong`] naming the context.
    pub fn check_fits(&self, max_completion_length: usize, max_positions: usize) -> Result<(), RolloutError> {
        let length = |chunks: &[Chunk]| self.longest(chunks, max_completion_length);
        let contexts = [
            ("the question with its answer", self.answer.len()),
            ("the context of the integrated answer", length(&self.integrate)),
            ("the context of the projection", length(&self.project)),
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

    /// Lengths, at most, of all prefixes that the stages of one query run, in tokens of their own: `(q)` and what is
    /// below it for `n` candidates and `integrations` of them.
    pub fn prefixes(&self, n: usize, integrations: usize, max_completion_length: usize) -> Vec<usize> {
        let mut lengths = vec![self.shared, self.answer.len() - self.shared];
        if integrations > 0 && !self.integrate.is_empty() {
            let (others, integration) = self.project.split_at(self.integration_at());
            let length = |chunks: &[Chunk]| self.longest(chunks, max_completion_length);
            lengths.push(length(&self.integrate) - self.shared);
            lengths.extend(vec![length(others) - self.shared; n]);
            lengths.extend(vec![length(integration); n * integrations]);
        }
        lengths
    }

    /// Tokens of a context, at most.
    fn longest(&self, chunks: &[Chunk], max_completion_length: usize) -> usize {
        let quote = match self.candidate_tokens {
            0 => max_completion_length,
            limit => limit.min(max_completion_length),
        };
        let length = |chunk: &Chunk| match chunk {
            Chunk::Tokens(tokens) => tokens.len(),
            Chunk::Candidate(_) | Chunk::Integration => quote,
        };
        chunks.iter().map(length).sum()
    }

    fn integration_at(&self) -> usize {
        self.project
            .iter()
            .position(|c| *c == Chunk::Integration)
            .unwrap_or(self.project.len())
    }

    fn fill(
        &self,
        chunks: &[Chunk],
        candidates: &[&Completion],
        integration: Option<&Completion>,
    ) -> Vec<u32> {
        let mut context = Vec::new();
        for chunk in chunks {
            context.extend_from_slice(match chunk {
                Chunk::Tokens(tokens) => tokens,
                Chunk::Candidate(k) => candidates[*k].quote(self.candidate_tokens),
                Chunk::Integration => integration
                    .expect("a context with an integration is given one")
                    .quote(self.candidate_tokens),
            });
        }
        context
    }
}

fn others(candidates: &[impl AsRef<Completion>], i: usize) -> Vec<&Completion> {
    candidates
        .iter()
        .enumerate()
        .filter(|(k, _)| *k != i)
        .map(|(_, c)| c.as_ref())
        .collect()
}

#[cfg(test)]
mod tests {
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

    fn plan(candidate_tokens: usize) -> PromptPlan {
        let q = vec![1, 2, 3];
        let first = Chunk::Tokens([q.clone(), vec![50]].concat());
        let mut integrate = vec![first.clone(), Chunk::Candidate(0)];
        let mut project = integrate.clone();
        for k in 1..3 {
            integrate.extend([Chunk::Tokens(vec![50]), Chunk::Candidate(k)]);
        }
        project.extend([Chunk::Tokens(vec![50]), Chunk::Candidate(1)]);
        integrate.push(Chunk::Tokens(vec![51]));
        project.extend([
            Chunk::Tokens(vec![51]),
            Chunk::Integration,
            Chunk::Tokens(vec![50]),
        ]);
        PromptPlan::new(vec![1, 2, 3, 50], integrate, project, candidate_tokens).unwrap()
    }

    #[test]
    fn branches_join_to_the_contexts() {
        let plan = plan(0);
        let ys = [
            completion(&[10, EOS]),
            completion(&[20, 21]),
            completion(&[30, EOS]),
        ];
        let y_n = completion(&[40, 41, EOS]);
        assert_eq!(plan.root(), [1, 2, 3]);
        assert_eq!(plan.answer_branch(), [50]);
        assert_eq!(plan.integrate_branch(&ys), [50, 10, 50, 20, 21, 50, 30, 51]);
        assert_eq!(plan.others_branch(&ys, 1), [50, 10, 50, 30, 51]);
        assert_eq!(plan.integration_branch(&y_n), [40, 41, 50]);
        let joined = [
            plan.root(),
            &plan.others_branch(&ys, 1),
            &plan.integration_branch(&y_n),
        ]
        .concat();
        assert_eq!(plan.project(&ys, 1, &y_n), joined);
    }

    #[test]
    fn quotes_keep_their_last_tokens() {
        let plan = plan(1);
        let ys = [
            completion(&[10, 11, EOS]),
            completion(&[20, 21]),
            completion(&[EOS]),
        ];
        assert_eq!(plan.integrate_branch(&ys), [50, 11, 50, 21, 50, 51]);
    }

    #[test]
    fn every_branch_keeps_a_token_of_its_own() {
        // The answer prompt is a prefix of the others: one token of it must stay below (q).
        let body = |mark: u32| vec![Chunk::Tokens(vec![1, 2, 3, mark]), Chunk::Tokens(vec![9])];
        let plan = PromptPlan::new(vec![1, 2, 3], body(4), body(5), 0).unwrap();
        assert_eq!(plan.root(), [1, 2]);
        assert_eq!(plan.answer_branch(), [3]);
    }

    #[test]
    fn contexts_that_cannot_fit_are_refused_by_name() {
        let plan = plan(0);
        assert!(plan.check_fits(4, 3 + 3 * 5 + 1 + 4).is_ok());
        let error = plan.check_fits(4, 20).unwrap_err().to_string();
        assert!(
            error.contains("integrated answer takes 23 tokens") && error.contains("20 positions"),
            "{error}"
        );
    }
}
