//! Any two texts can be graded: no panic, and it ends. The first line is the gold answer, the rest what a model wrote.
#![no_main]

use gcpo_data::{Gold, Grader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (gold, text) = input.split_once('\n').unwrap_or((input, input));
    let _ = Grader::new().grade(text, gold);
    if let Ok(gold) = Gold::read(gold) {
        let _ = Grader::math().check(text, &gold);
    }
});
