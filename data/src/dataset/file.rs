//! Where the bytes of a data set come from: a file, gzipped or not, or the Hugging Face hub.

use super::error::DatasetError;
use crate::files::{self, limit};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// How a file of a data set on the Hugging Face hub is written: `hf://datasets/OWNER/NAME[@REVISION]/PATH`, as
/// huggingface_hub writes it.
pub const HUB: &str = "hf://datasets/";

/// Whether a path is an address on the Hugging Face hub.
pub fn is_on_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with("hf://"))
}

/// The name and the revision that a path is on the hub, if it is written like one, `OWNER/NAME` or `OWNER/NAME@REVISION`, and is nothing here.
pub fn hub_name(path: &Path) -> Option<(&str, Option<&str>)> {
    // A config's paths are absolute by the time that they are read.
    let here = std::env::current_dir().unwrap_or_default();
    let text = path.strip_prefix(here).unwrap_or(path).to_str()?;
    let (name, revision) = match text.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (text, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_part =
        |part: &str| part.chars().all(plain) && part.starts_with(|c: char| c.is_ascii_alphanumeric());
    let (owner, own) = name.split_once('/')?;
    let is_file = ["jsonl", "ndjson", "json", "csv", "parquet"].contains(&format(path).0.as_str());
    (is_part(owner) && is_part(own) && !is_file && !path.exists()).then_some((name, revision))
}

/// The path itself, or that of the local copy of a file on the hub.
pub(super) fn local(path: &Path) -> Result<Cow<'_, Path>, DatasetError> {
    if !is_on_hub(path) {
        return Ok(Cow::Borrowed(path));
    }
    let failed = |message: String| DatasetError::Hub {
        path: path.to_owned(),
        message,
    };
    let address = Address::parse(&path.to_string_lossy()).ok_or_else(|| {
        failed(format!(
            "an address on the hub is `{HUB}OWNER/NAME[@REVISION]/PATH`"
        ))
    })?;
    fetch(path, &address).map(Cow::Owned)
}

/// A file of a data set on the hub.
#[derive(Debug, PartialEq)]
struct Address {
    repo: String,
    revision: String,
    file: String,
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(HUB)?.splitn(3, '/');
        let (owner, name, file) = (parts.next()?, parts.next()?, parts.next()?);
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        // Within an address, the slashes of a branch's name are escaped.
        let revision = revision.replace("%2F", "/");
        let full = [owner, name, &revision, file].iter().all(|part| !part.is_empty());
        full.then(|| Self {
            repo: format!("{owner}/{name}"),
            revision,
            file: file.to_owned(),
        })
    }
}

#[cfg(feature = "hub")]
fn fetch(path: &Path, address: &Address) -> Result<PathBuf, DatasetError> {
    let failed = |error: hf_hub::api::sync::ApiError| DatasetError::Hub {
        path: path.to_owned(),
        message: format!("cannot be had from the hub: {error}"),
    };
    // As huggingface_hub: the cache is in HF_HOME, the address in HF_ENDPOINT.
    let api = hf_hub::api::sync::ApiBuilder::from_env()
        .with_progress(false)
        .build()
        .map_err(failed)?;
    let repo = hf_hub::Repo::with_revision(
        address.repo.clone(),
        hf_hub::RepoType::Dataset,
        address.revision.clone(),
    );
    api.repo(repo).get(&address.file).map_err(failed)
}

#[cfg(not(feature = "hub"))]
fn fetch(path: &Path, address: &Address) -> Result<PathBuf, DatasetError> {
    let Address { repo, revision, file } = address;
    let option = match revision.as_str() {
        "main" => String::new(),
        revision => format!(" --revision {revision}"),
    };
    Err(DatasetError::Feature {
        path: path.to_owned(),
        what: "a data set on the Hugging Face hub",
        feature: "hub",
        instead: format!(
            "download it (`hf download --repo-type dataset {repo} {file}{option} --local-dir DIR`) and give DIR/{file}"
        ),
    })
}

/// The extension that says the format, in lower case: that before `.gz`, if it is gzipped.
pub(super) fn format(path: &Path) -> (String, bool) {
    let lower = |path: &Path| {
        path.extension()
            .and_then(|e| e.to_str())
            .unwrap_or("")
            .to_ascii_lowercase()
    };
    match lower(path).as_str() {
        "gz" => (lower(Path::new(path.file_stem().unwrap_or_default())), true),
        plain => (plain.to_owned(), false),
    }
}

/// The file's name without its extensions.
pub(super) fn stem(path: &Path) -> &str {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("row");
    if format(path).1 {
        return stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    }
    stem
}

/// The text of a file, unpacked if it is gzipped, without a byte order mark.
pub(super) fn text(path: &Path) -> Result<String, DatasetError> {
    let io = |source| DatasetError::Io {
        path: path.to_owned(),
        source,
    };
    let file = files::open(path).map_err(io)?;
    let bytes = match format(path).1 {
        true => unpacked(path, file)?,
        false => files::take(file, limit::ROWS).map_err(io)?,
    };
    let mut text = String::from_utf8(bytes).map_err(|error| DatasetError::Row {
        path: path.to_owned(),
        line: files::line_of(error.as_bytes(), error.utf8_error().valid_up_to()),
        message: "not UTF-8; save the file as UTF-8".to_owned(),
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The first lines of a file, ten at most.
pub(super) fn first_lines(path: &Path) -> Result<Vec<String>, DatasetError> {
    let io = |source| DatasetError::Io {
        path: path.to_owned(),
        source,
    };
    let file = files::open(path).map_err(io)?;
    let lines = BufReader::new(file.take(FIRST)).lines();
    lines.take(10).collect::<Result<_, _>>().map_err(io)
}

/// No first row is longer, in bytes.
const FIRST: u64 = 16 << 20;

/// Gzip packs a thousand to one, so that a small file could fill any memory.
fn unpacked(path: &Path, file: File) -> Result<Vec<u8>, DatasetError> {
    let damaged = |message: String| DatasetError::Damaged {
        path: path.to_owned(),
        message,
    };
    let mut unpacked = Vec::new();
    // A gzip file may have several members, one after another.
    flate2::read::MultiGzDecoder::new(file)
        .take(limit::ROWS + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| damaged(format!("not a whole gzip file: {error}; download it again")))?;
    if unpacked.len() as u64 > limit::ROWS {
        return Err(damaged(format!(
            "more than {} GiB unpacked; split it",
            limit::ROWS >> 30
        )));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_the_hub_has_a_data_set_a_revision_and_a_file() {
        let parse = |text: &str| Address::parse(text).map(|a| (a.repo, a.revision, a.file));
        let found =
            |repo: &str, revision: &str, file: &str| Some((repo.into(), revision.into(), file.into()));
        assert_eq!(
            parse("hf://datasets/openai/gsm8k/main/test-0.parquet"),
            found("openai/gsm8k", "main", "main/test-0.parquet")
        );
        assert_eq!(
            parse("hf://datasets/a/b@refs%2Fconvert%2Fparquet/x.json"),
            found("a/b", "refs/convert/parquet", "x.json")
        );
        for wrong in [
            "hf://datasets/a/b",
            "hf://datasets/a/b/",
            "hf://models/a/b/c",
            "hf://datasets//b/c",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let error = local(Path::new("hf://datasets/a")).unwrap_err().to_string();
        assert!(
            error.contains("hf://datasets/OWNER/NAME[@REVISION]/PATH"),
            "{error}"
        );
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn the_hub_needs_its_feature() {
        let error = local(Path::new("hf://datasets/a/b/c.jsonl"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--features hub")
                && error.contains("`hf download --repo-type dataset a/b c.jsonl --local-dir DIR`"),
            "{error}"
        );
    }

    #[test]
    fn a_name_on_the_hub_has_an_owner_and_is_nothing_here() {
        let named = |text| hub_name(Path::new(text));
        assert_eq!(
            named("trl-lib/DeepMath-103K"),
            Some(("trl-lib/DeepMath-103K", None))
        );
        assert_eq!(named("Qwen/Qwen3-0.6B@v1"), Some(("Qwen/Qwen3-0.6B", Some("v1"))));
        for none in [
            "a",
            "./a/b",
            "../b",
            "/a/b",
            "a/b/c",
            "data/train.jsonl",
            "a/x.json.gz",
            "src/dataset",
        ] {
            assert_eq!(named(none), None, "{none}");
        }
    }

    #[test]
    fn a_gzipped_file_has_two_extensions() {
        assert_eq!(format(Path::new("a/HumanEval.jsonl.GZ")), ("jsonl".into(), true));
        assert_eq!(format(Path::new("a.JSON")), ("json".into(), false));
        assert_eq!(stem(Path::new("a/HumanEval.jsonl.gz")), "HumanEval");
        assert_eq!(stem(Path::new("a/test.v2.jsonl")), "test.v2");
    }
}
