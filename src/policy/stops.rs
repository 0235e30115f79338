//! Texts that end a completion.

use gcpo_data::Problem;

use super::Policy;

/// Says whether a completion's tokens hold a stop string.
pub type StopCheck<'a> = dyn Fn(&[u32]) -> bool + 'a;

impl Policy {
    /// What says whether a completion's tokens hold a stop string; none where there is no such string. It is asked
    /// after every token, so it looks at the last ones only: no token is shorter than a byte.
    pub fn stops(&self) -> Option<Box<StopCheck<'_>>> {
        self.stops_at(self.ends.clone())
    }

    /// The same for completions to these problems, whatever is trained on.
    pub fn stops_for(&self, problems: &[Problem]) -> Option<Box<StopCheck<'_>>> {
        self.stops_at(self.ends_of(problems))
    }

    /// Ends completions where the programs end that these problems ask to be gone on with; gives the texts that do so.
    pub fn end_programs(&mut self, problems: &[Problem]) -> &[String] {
        self.ends = self.ends_of(problems);
        &self.ends
    }

    /// What ends the programs that are gone on with: nothing where they are asked for in words, or end in several ways.
    fn ends_of(&self, problems: &[Problem]) -> Vec<String> {
        let mut all = problems.iter().map(|problem| match &problem.code {
            Some(code) if self.prompts.continues_programs() => code.ends(),
            _ => Vec::new(),
        });
        let first = all.next().unwrap_or_default();
        match all.all(|ends| ends == first) {
            true => first.into_iter().map(str::to_owned).collect(),
            false => Vec::new(),
        }
    }

    fn stops_at(&self, more: Vec<String>) -> Option<Box<StopCheck<'_>>> {
        let all: Vec<String> = self.stop.iter().cloned().chain(more).collect();
        let longest = all.iter().map(String::len).max()?;
        Some(Box::new(move |tokens| {
            let tail = self.text(&tokens[tokens.len().saturating_sub(longest + 1)..]);
            all.iter().any(|stop| tail.contains(stop))
        }))
    }
}
