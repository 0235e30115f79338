//! The text of gcpo: problems, prompts, tokenizers and the check of an answer.
