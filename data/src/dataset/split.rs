//! The files of a data set: one that is named, or those of a directory that are of one split, as `datasets` tells them apart by their names.

use super::error::DatasetError;
use super::file;
use std::path::{Path, PathBuf};

/// What a split is called in names of files and directories, the split's own name first.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
    ("validation", &["validation", "valid", "dev", "val"]),
];

/// How deep a directory is looked into.
const DEEPEST: usize = 3;

/// Whether a file of this name may hold rows.
fn holds_rows(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(".");
    let (extension, _) = file::format(path);
    let about = [
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
    ];
    ["jsonl", "ndjson", "json", "csv", "parquet"].contains(&extension.as_str())
        && !name.starts_with('.')
        && !about.contains(&name)
}

/// The files of what a user named: the file itself, or those of a split of a directory, in the order of their names. In a directory
/// whose names say no split at all, all files are `"train"`.
///
/// # Errors
/// There is no such split, no file with rows, or a file was asked for a split.
pub fn files_of(path: &Path, split: Option<&str>, by_default: &str) -> Result<Vec<PathBuf>, DatasetError> {
    if let Some((name, revision)) = file::hub_name(path) {
        let at = revision.map_or_else(String::new, |revision| format!("@{revision}"));
        let option = revision.map_or_else(String::new, |revision| format!(" --revision {revision}"));
        let build = if cfg!(feature = "hub") {
            ""
        } else {
            " in a build with `--features hub`"
        };
        return Err(failed(
            path,
            format!(
                "no file or directory here. If it is a data set on the Hugging Face hub, download it (`hf download --repo-type dataset \
                 {name}{option} --local-dir DIR`) and give DIR; or{build} name one of its files, `hf://datasets/{name}{at}/PATH`"
            ),
        ));
    }
    if file::is_on_hub(path) || !path.is_dir() {
        return match split {
            Some(split) if !holds_splits(path) => Err(failed(
                path,
                format!(
                    "split {split:?} is asked for, and this is one file, which has no splits; remove the key"
                ),
            )),
            _ => Ok(vec![path.to_owned()]),
        };
    }
    let mut all = Vec::new();
    let mut arrow = false;
    walk(path, DEEPEST, &mut |found| match holds_rows(found) {
        true => all.push(found.to_owned()),
        false => arrow |= found.extension().is_some_and(|extension| extension == "arrow"),
    })?;
    all.sort();
    if all.is_empty() {
        let arrow = match arrow {
            true => {
                ": there are .arrow files, as `save_to_disk` writes them; write the data set with `to_parquet` or `to_json`"
            }
            false => "",
        };
        return Err(failed(
            path,
            format!("no .jsonl, .json, .csv or .parquet file in it{arrow}"),
        ));
    }
    let asked = split.unwrap_or(by_default);
    let of = |file: &PathBuf| split_of(file.strip_prefix(path).unwrap_or(file), asked);
    let found: Vec<PathBuf> = all.iter().filter(|file| of(file)).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let known = |file: &PathBuf| {
        let relative = file.strip_prefix(path).unwrap_or(file);
        let mut splits = SPLITS.iter().map(|(name, _)| *name);
        splits.find(|name| split_of(relative, name))
    };
    let mut splits: Vec<&str> = all.iter().filter_map(known).collect();
    splits.dedup();
    match (splits.is_empty(), asked) {
        (true, "train") => Ok(all),
        (true, _) => Err(failed(
            path,
            format!(
                "no file of the split {asked:?} in it: none of its {} files says a split by its name",
                all.len()
            ),
        )),
        (false, _) => {
            splits.sort_unstable();
            splits.dedup();
            Err(failed(
                path,
                format!(
                    "no file of the split {asked:?} in it; there are {}",
                    splits.join(" and ")
                ),
            ))
        }
    }
}

/// Whether a file may hold several splits itself: JSON, `{"train": [ … ], "test": [ … ]}`.
pub(super) fn holds_splits(path: &Path) -> bool {
    file::format(path).0 == "json"
}

/// Whether a name has a word of this split in it.
fn split_of(relative: &Path, split: &str) -> bool {
    let named = SPLITS.iter().find(|(name, _)| *name == split);
    let own = [split];
    let words = named.map_or(&own[..], |(_, words)| words);
    let mut parts = relative.iter().filter_map(|part| part.to_str());
    parts.any(|part| {
        let part = part.to_ascii_lowercase();
        let mut pieces = part.split(|c: char| !c.is_ascii_alphanumeric());
        // A split of one's own may have a name of several words.
        pieces.any(|piece| words.contains(&piece)) || part.split('.').next() == Some(split)
    })
}

fn walk(dir: &Path, depth: usize, see: &mut dyn FnMut(&Path)) -> Result<(), DatasetError> {
    let io = |source| DatasetError::Io {
        path: dir.to_owned(),
        source,
    };
    for entry in dir.read_dir().map_err(io)? {
        let entry = entry.map_err(io)?.path();
        let hidden = entry
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match entry.is_dir() {
            true if depth > 1 && !hidden => walk(&entry, depth - 1, see)?,
            true => {}
            false => see(&entry),
        }
    }
    Ok(())
}

fn failed(path: &Path, message: String) -> DatasetError {
    DatasetError::Damaged {
        path: path.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn found(names: &[&str], split: Option<&str>, by_default: &str) -> Result<Vec<String>, String> {
        let dir = dir(names);
        let relative = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
        files_of(dir.path(), split, by_default)
            .map(|files| files.iter().map(relative).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_told_apart_by_the_words_of_their_names() {
        let hub = [
            "README.md",
            "dataset_info.json",
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
            "data/test-00000-of-00001.parquet",
            ".cache/train.jsonl",
        ];
        assert_eq!(
            found(&hub, None, "train").unwrap(),
            [
                "data/train-00000-of-00002.parquet",
                "data/train-00001-of-00002.parquet"
            ]
        );
        assert_eq!(
            found(&hub, Some("test"), "train").unwrap(),
            ["data/test-00000-of-00001.parquet"]
        );
        assert_eq!(
            found(&hub, Some("validation"), "train")
                .unwrap_err()
                .rsplit_once(": ")
                .unwrap()
                .1,
            "no file of the split \"validation\" in it; there are test and train"
        );
        assert_eq!(
            found(&["dev.jsonl", "x.jsonl"], Some("validation"), "train").unwrap(),
            ["dev.jsonl"]
        );
        assert_eq!(
            found(&["train/a.csv", "test/a.csv"], None, "test").unwrap(),
            ["test/a.csv"]
        );
        assert_eq!(
            found(
                &["train_prefs.jsonl", "own_split.jsonl"],
                Some("own_split"),
                "train"
            )
            .unwrap(),
            ["own_split.jsonl"]
        );
        // Names that say no split are all for training.
        assert_eq!(
            found(&["b.jsonl", "a.json.gz"], None, "train").unwrap(),
            ["a.json.gz", "b.jsonl"]
        );
        assert!(
            found(&["b.jsonl"], None, "test")
                .unwrap_err()
                .contains("none of its 1 files says a split")
        );
        assert!(
            found(&["train/data-00000.arrow", "train/state.json"], None, "train")
                .unwrap_err()
                .contains("`save_to_disk`")
        );
        assert!(
            found(&["a.txt"], None, "train")
                .unwrap_err()
                .contains("no .jsonl, .json, .csv or .parquet file in it")
        );
    }

    #[test]
    fn what_is_on_the_hub_says_how_to_get_it() {
        let error = files_of(Path::new("trl-lib/none@v1"), None, "train")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("trl-lib/none@v1: no file or directory here.")
                && error
                    .contains("`hf download --repo-type dataset trl-lib/none --revision v1 --local-dir DIR`")
                && error.contains("`hf://datasets/trl-lib/none@v1/PATH`"),
            "{error}"
        );
    }

    #[test]
    fn a_file_is_itself() {
        let dir = dir(&["a.jsonl"]);
        let file = dir.path().join("a.jsonl");
        assert_eq!(
            files_of(&file, None, "train").unwrap(),
            std::slice::from_ref(&file)
        );
        let error = files_of(&file, Some("test"), "train").unwrap_err().to_string();
        assert!(
            error.contains("split \"test\" is asked for, and this is one file"),
            "{error}"
        );
    }
}
