//! What is asked, and what counts as right.

use serde::{Deserialize, Serialize};

/// One problem of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Name of the problem, for logs and samples: the data's own, or `FILE-ROW`.
    pub id: String,
    /// What is asked, as text.
    pub question: String,
    /// The gold answer. A plain number is in its shortest form: `43.0` and `1,080` become `43` and `1080`.
    pub answer: String,
    /// A worked solution that ends in the answer, for supervised training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
}
