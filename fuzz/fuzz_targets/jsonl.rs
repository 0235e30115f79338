//! Any file of rows is problems or an error, in every format that is a text.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use gcpo_data::Preset;
use gcpo_data::dataset::load_all;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DIR: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    let dir = DIR.with_borrow_mut(|dir| {
        dir.get_or_insert_with(|| {
            let dir = std::env::temp_dir().join(format!("gcpo-fuzz-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            dir
        })
        .clone()
    });
    for (name, preset) in [("rows.jsonl", "gsm8k"), ("rows.json", "svamp"), ("rows.csv", "math")] {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        let _ = load_all(&path, Preset::named(preset).unwrap());
    }
});
