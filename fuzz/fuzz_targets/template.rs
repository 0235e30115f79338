//! Any text is a chat template or none, and one that renders comes to an end, in a text of bounded length.
#![no_main]

use gcpo_data::{ChatOptions, ChatTemplate, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    if let Ok(template) = ChatTemplate::new(source, "template", tokens, &ChatOptions::default()) {
        let messages = [
            Message::new("system", "Be brief."),
            Message::new("user", "What is 2+3?"),
            Message::new("assistant", "<think>2+3</think>5"),
            Message::new("user", "And 5+{{ x }}?"),
        ];
        let _ = template.render(&messages, true);
    }
});
