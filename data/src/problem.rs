//! What is asked, and what counts as right.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One problem of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What it is about, where the data say so: a subject, a course, a kind. Evaluations count by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How hard it is, where the data say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The row's other columns, by name, as they stand in the file: what rewards of the user's own look at.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
}
