//! Buffers that are kept from task to task.

use super::attention;

/// Buffers of a task.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub x: Vec<f32>,
    pub normed: Vec<f32>,
    pub qkv: Vec<f32>,
    pub mixed: Vec<f32>,
    pub ff: Vec<f32>,
    /// What is to be added to `x`.
    pub branch: Vec<f32>,
    pub logits: Vec<f32>,
    pub attention: attention::Scratch,
}
