//! Any bytes are a file of weights or none, and nothing is allocated by what they only say.
#![no_main]

use std::path::Path;

use gcpo_model::checkpoint::Header;
use gcpo_model::config::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Header::parse(bytes);
    // The same bytes as a header without the length in front of it, so that JSON alone gets there.
    let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(bytes);
    let _ = Header::parse(&file);
    let _ = ModelConfig::from_json(bytes, Path::new("config.json"));
});
