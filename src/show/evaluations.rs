//! The last evaluations of runs, problem by problem.

use super::seen::Seen;
use crate::eval::report::{Difference, compare};

/// How the last evaluation of a second run differs from a first one's, paired by problem; why they cannot be paired. None where one of
/// them has no evaluation.
pub fn paired(first: &Seen, second: &Seen) -> Option<Result<Vec<Difference>, String>> {
    let (a, b) = (first.evaluated.as_ref()?, second.evaluated.as_ref()?);
    Some(compare(&a.records, &b.records).map_err(|error| error.to_string()))
}
