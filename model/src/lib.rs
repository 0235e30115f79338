//! The language models of gcpo: a Llama-style decoder on burn, its cache and its checkpoints.
