//! The style of the prompts where nobody says one: rows of messages are written by a chat template.

use gcpo_data::dataset;

use super::Draft;
use crate::console::note;
use crate::policy::PromptStyle;
use crate::source::{Paths, rows_of};

impl Draft {
    /// Sets `prompt.style` to `"chat"` where it is not given and the prompts of a file are lists of messages, which nothing else can
    /// write; says so. What is wrong with the file is found by whoever reads it.
    pub fn style_of_rows(&mut self) {
        if self.prompt.style.is_some() {
            return;
        }
        let places = [
            (
                self.data.path.as_ref().map(Paths::first),
                self.data.split.as_deref().unwrap_or("train"),
                self.data.preset.as_ref(),
            ),
            (
                self.eval.path.as_deref(),
                self.eval.split.as_deref().unwrap_or("test"),
                self.eval.preset.as_ref().or(self.data.preset.as_ref()),
            ),
        ];
        let of_messages = places.into_iter().find_map(|(path, split, preset)| {
            let (path, rows) = (path?, rows_of(preset).ok()?);
            dataset::begins_with_messages(path, split, rows).then_some(path)
        });
        if let Some(path) = of_messages {
            note(&format!(
                "prompts in the style \"chat\": those of {} are lists of messages",
                path.display()
            ));
            self.prompt.style = Some(PromptStyle::Chat);
        }
    }
}
