//! What a checkpoint holds, found out from its headers: every tensor is known to be there once, in the shape and a format that
//! can be read, before room is made for any. Values are looked at only where a tensor could be left out: left out is
//! only what says nothing that is not said elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{ADAPTER, CheckpointError, INDEX, WEIGHTS};
use super::expected::Expected;
use super::header::{Entry, Header};
use super::kept::ConfigJson;
use super::numbers::{READ, decode};
use crate::config::ModelConfig;
use crate::fields;
use crate::files;
use crate::json;
use crate::rope::{base_frequencies, inverse_frequencies};

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
const SCORE: &str = "score.weight";
const FREQUENCIES: &str = "rotary_emb.inv_freq";

/// Numbers of two tensors that are compared at a time.
const COMPARED_AT_ONCE: u64 = 1 << 20;

/// The tensors of a checkpoint, none that [`ModelConfig`] does not ask for.
pub(super) struct Contents<'a> {
    /// With `tie_word_embeddings` as the weights are.
    pub config: ModelConfig,
    /// `config.json` as it was.
    pub config_json: ConfigJson,
    pub files: Vec<Weights<'a>>,
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
    tensors: BTreeMap<String, Place>,
    /// Whether it is a classifier's, which has a head that scores in the place of the language model's.
    scores: bool,
    score: Option<Place>,
    /// The weights file, or the directory of several.
    place: PathBuf,
}

/// A file of weights.
pub(super) struct Weights<'a> {
    pub path: PathBuf,
    pub bytes: u64,
    /// What it holds.
    pub header: Header,
    data: Data<'a>,
}

enum Data<'a> {
    File(File),
    Memory(Cursor<&'a [u8]>),
}

/// A tensor's file, by its number, and its place there.
#[derive(Clone)]
struct Place {
    file: usize,
    entry: Entry,
}

/// What `config.json` says, and how it says it.
struct Config {
    config: ModelConfig,
    json: ConfigJson,
    scores: bool,
}

impl Config {
    fn read(json: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let map = fields::object(json, path)?;
        let config = ModelConfig::from_map(&map, path)?;
        Ok(Self {
            json: ConfigJson::new(map, &config),
            config,
            scores: false,
        })
    }
}

impl<'a> Contents<'a> {
    /// Of a directory in Hugging Face layout.
    pub fn of_dir(dir: &Path) -> Result<Self, CheckpointError> {
        Self::of_kind(dir, false)
    }

    /// Of a sequence classifier's directory.
    pub fn of_classifier(dir: &Path) -> Result<Self, CheckpointError> {
        Self::of_kind(dir, true)
    }

    fn of_kind(dir: &Path, scores: bool) -> Result<Self, CheckpointError> {
        if dir.join(ADAPTER).is_file() && !dir.join("config.json").exists() {
            return Err(CheckpointError::Adapter(dir.into()));
        }
        let path = dir.join("config.json");
        let mut config = Config::read(&fields::read(&path)?, &path)?;
        config.scores = scores;
        // It has no head of a language model.
        config.config.tie_word_embeddings |= scores;
        let (weights, index) = (dir.join(WEIGHTS), dir.join(INDEX));
        if weights.exists() {
            let mut contents = Self::new(config, vec![Weights::open(weights.clone())?], None, weights)?;
            if index.exists() {
                // As transformers does it.
                let (index, dir) = (index.display(), dir.display());
                contents.warnings.push(format!(
                    "{index} is not read: {dir} holds {WEIGHTS} as well, which is"
                ));
            }
            Ok(contents)
        } else if index.exists() {
            let listed = read_index(&index)?;
            let files = listed.keys().map(|file| Weights::open(dir.join(file)));
            let files = files.collect::<Result<_, _>>()?;
            let names = listed.into_values().collect();
            Self::new(config, files, Some((&index, names)), dir.into())
        } else {
            Err(CheckpointError::NoWeights(dir.into()))
        }
    }

    /// Of files in memory.
    pub fn of_bytes(config: &[u8], weights: &'a [u8]) -> Result<Self, CheckpointError> {
        let config = Config::read(config, Path::new("config.json"))?;
        let path = PathBuf::from(WEIGHTS);
        let weights = Weights::new(
            path.clone(),
            Data::Memory(Cursor::new(weights)),
            weights.len() as u64,
        )?;
        Self::new(config, vec![weights], None, path)
    }

    /// `index`: where the files were listed, and which names each of them is said to hold.
    fn new(
        config: Config,
        files: Vec<Weights<'a>>,
        index: Option<(&Path, Vec<BTreeSet<String>>)>,
        place: PathBuf,
    ) -> Result<Self, CheckpointError> {
        if let Some((path, names)) = &index {
            for (file, names) in files.iter().zip(names) {
                file.check_listed(names, path, &config.config)?;
            }
        }
        let has_score = |file: &Weights| file.header.tensors.contains_key(SCORE);
        if config.scores && !files.iter().any(has_score) {
            return Err(CheckpointError::NoScore(place));
        }
        let mut contents = Self {
            config: config.config,
            config_json: config.json,
            files,
            warnings: Vec::new(),
            tensors: BTreeMap::new(),
            scores: config.scores,
            score: None,
            place,
        };
        contents.collect()?;
        contents.find_head()?;
        Ok(contents)
    }

    /// Finds a place for every tensor of every file.
    fn collect(&mut self) -> Result<(), CheckpointError> {
        // A head of its own has a place even where the configuration ties it: what becomes of it is decided by its values.
        let untied = ModelConfig {
            tie_word_embeddings: self.scores,
            ..self.config.clone()
        };
        let expected = Expected::new(&untied);
        let mut frequencies = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            let mut extra = Vec::new();
            for (name, entry) in &file.header.tensors {
                let place = Place {
                    file: number,
                    entry: entry.clone(),
                };
                let Some((name, shape)) = expected.find(name) else {
                    match (is_frequencies(name), self.scores && name == SCORE) {
                        (true, _) => frequencies.push((name.clone(), place)),
                        (_, true) => self.score = Some(place),
                        _ => extra.push(json::shorten(name)),
                    }
                    continue;
                };
                file.check(&name, entry, shape)?;
                if let Some(other) = self.tensors.insert(name.clone(), place) {
                    return Err(CheckpointError::Twice {
                        path: file.path.clone(),
                        other: self.files[other.file].path.clone(),
                        name,
                    });
                }
            }
            if !extra.is_empty() {
                return Err(CheckpointError::Extra {
                    path: file.path.clone(),
                    names: extra,
                });
            }
        }
        self.compare_frequencies(frequencies)
    }

    /// A head beside an embedding that it is said to be: left out where it is, and the model's own where it is not. A head alone
    /// is the embedding too. As transformers 5 does it.
    fn find_head(&mut self) -> Result<(), CheckpointError> {
        if !self.config.tie_word_embeddings {
            return Ok(());
        }
        let Some(head) = self.tensors.remove(HEAD) else {
            return Ok(());
        };
        let Some(embedding) = self.tensors.get(EMBEDDING).cloned() else {
            self.tensors.insert(EMBEDDING.into(), head);
            return Ok(());
        };
        if !self.are_equal(&head, &embedding)? {
            self.warnings.push(format!(
                "{}: {HEAD} differs from {EMBEDDING}, though tie_word_embeddings in config.json makes them one: both are \
                 used, as in transformers; \"tie_word_embeddings\": false would say so",
                self.files[head.file].path.display()
            ));
            self.tensors.insert(HEAD.into(), head);
            self.config.tie_word_embeddings = false;
        }
        Ok(())
    }

    /// Whether two tensors of one shape hold the same numbers.
    fn are_equal(&mut self, a: &Place, b: &Place) -> Result<bool, CheckpointError> {
        let numbers: u64 = a.entry.shape.iter().map(|&size| size as u64).product();
        for from in (0..numbers).step_by(COMPARED_AT_ONCE as usize) {
            let count = COMPARED_AT_ONCE.min(numbers - from);
            if self.part(a, from, count)? != self.part(b, from, count)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rotary frequencies are those of the configuration; old releases of transformers stored them, and new ones ignore them.
    fn compare_frequencies(&mut self, found: Vec<(String, Place)>) -> Result<(), CheckpointError> {
        let right = [inverse_frequencies(&self.config), base_frequencies(&self.config)];
        let mut other = Vec::new();
        for (name, place) in found {
            let [length] = place.entry.shape[..] else {
                other.push((name, place.file));
                continue;
            };
            let is_right = length == right[0].len() && READ.contains(&place.entry.dtype) && {
                let values = self.part(&place, 0, length as u64)?;
                right.iter().any(|right| are_near(&values, right))
            };
            if !is_right {
                other.push((name, place.file));
            }
        }
        if let Some((name, file)) = other.first() {
            let others = match other.len() {
                1 => String::new(),
                count => format!(" and {} more like it", count - 1),
            };
            self.warnings.push(format!(
                "{}: {}{others} does not hold the rotary frequencies of config.json; those of config.json are used, as \
                 transformers does",
                self.files[*file].path.display(),
                json::shorten(name)
            ));
        }
        Ok(())
    }

    /// Whether all tensors are there that the configuration asks for.
    pub fn check_missing(&self) -> Result<(), CheckpointError> {
        let expected = Expected::new(&self.config);
        let count = expected.count() - self.tensors.len();
        if count == 0 {
            return Ok(());
        }
        let missing = expected.names().filter(|name| !self.tensors.contains_key(name));
        Err(CheckpointError::Missing {
            path: self.place.clone(),
            names: missing.take(4).collect(),
            count,
        })
    }

    /// The numbers of a tensor, and the file that they are in.
    pub fn numbers(&mut self, name: &str) -> Result<(Vec<f32>, &Path), CheckpointError> {
        let place = self.tensors[name].clone();
        let count = place.entry.shape.iter().map(|&size| size as u64).product();
        let values = self.part(&place, 0, count)?;
        Ok((values, &self.files[place.file].path))
    }

    /// `[d]`: the head of a classifier of one label.
    pub fn score(&mut self) -> Result<Vec<f32>, CheckpointError> {
        let place = self
            .score
            .clone()
            .ok_or(CheckpointError::NoScore(self.place.clone()))?;
        let (file, shape) = (&self.files[place.file], [1, self.config.hidden_size]);
        if place.entry.shape != shape {
            return Err(CheckpointError::Labels {
                path: file.path.clone(),
                found: place.entry.shape,
                size: shape[1],
            });
        }
        file.check(SCORE, &place.entry, &shape)?;
        self.part(&place, 0, shape[1] as u64)
    }

    /// `count` numbers of a tensor from number `from` on.
    fn part(&mut self, place: &Place, from: u64, count: u64) -> Result<Vec<f32>, CheckpointError> {
        let size = (place.entry.dtype.bitsize() / 8) as u64;
        let bytes = self.files[place.file].bytes_at(place.entry.from + from * size, count * size)?;
        Ok(decode(place.entry.dtype, &bytes))
    }
}

impl<'a> Weights<'a> {
    fn open(path: PathBuf) -> Result<Self, CheckpointError> {
        match files::open(&path) {
            Ok((file, size)) => Self::new(path, Data::File(file), size),
            Err(source) => Err(CheckpointError::Read { path, source }),
        }
    }

    fn new(path: PathBuf, mut data: Data<'a>, size: u64) -> Result<Self, CheckpointError> {
        let header = match &mut data {
            Data::File(file) => Header::read(file, size),
            Data::Memory(bytes) => Header::read(bytes, size),
        };
        match header {
            Ok(header) => Ok(Self {
                path,
                bytes: size,
                header,
                data,
            }),
            Err(problem) => Err(CheckpointError::Format { path, problem }),
        }
    }

    fn bytes_at(&mut self, from: u64, count: u64) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = vec![0; count as usize];
        let read = match &mut self.data {
            Data::File(file) => file
                .seek(SeekFrom::Start(from))
                .and_then(|_| file.read_exact(&mut bytes)),
            Data::Memory(data) => data
                .seek(SeekFrom::Start(from))
                .and_then(|_| data.read_exact(&mut bytes)),
        };
        match read {
            Ok(()) => Ok(bytes),
            Err(source) => Err(CheckpointError::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Whether the file holds what the index says, and nothing beside that would count.
    fn check_listed(
        &self,
        names: &BTreeSet<String>,
        index: &Path,
        config: &ModelConfig,
    ) -> Result<(), CheckpointError> {
        let found = &self.header.tensors;
        let counts = |name: &&String| !(is_frequencies(name) || config.tie_word_embeddings && *name == HEAD);
        let unlisted = found.keys().filter(|name| !names.contains(*name)).find(counts);
        let lacking = names
            .iter()
            .filter(|name| !found.contains_key(*name))
            .find(counts);
        let problem = match (unlisted, lacking) {
            (Some(name), _) => format!("holds {}, which is not listed for it", json::shorten(name)),
            (_, Some(name)) => format!("lacks {}, which is listed for it", json::shorten(name)),
            _ => return Ok(()),
        };
        Err(CheckpointError::Index {
            path: index.into(),
            problem: format!("{} {problem}", self.path.display()),
        })
    }

    fn check(&self, name: &str, entry: &Entry, expected: &[usize]) -> Result<(), CheckpointError> {
        if entry.shape != expected {
            return Err(CheckpointError::Shape {
                path: self.path.clone(),
                name: name.into(),
                expected: expected.into(),
                found: json::shorten(&format!("{:?}", entry.shape)),
            });
        }
        if !READ.contains(&entry.dtype) {
            return Err(CheckpointError::Dtype {
                path: self.path.clone(),
                name: name.into(),
                found: entry.dtype,
            });
        }
        Ok(())
    }
}

fn is_frequencies(name: &str) -> bool {
    name.strip_suffix(FREQUENCIES)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Equal but for the rounding of 16 bits.
fn are_near(values: &[f32], right: &[f64]) -> bool {
    let pairs = values.iter().zip(right);
    pairs
        .map(|(&value, right)| (f64::from(value) - right).abs() / (right + 1e-5))
        .all(|off| off < 1e-2)
}

/// The files of a sharded checkpoint, each with the tensors that it should hold.
fn read_index(path: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, CheckpointError> {
    let text = files::read_json(path).map_err(|source| CheckpointError::Read {
        path: path.into(),
        source,
    })?;
    let error = |problem: String| CheckpointError::Index {
        path: path.into(),
        problem,
    };
    let index = json::object(&text).map_err(|source| error(source.to_string()))?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| error("`weight_map` is missing, or no object".into()))?;
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, file) in map {
        let plain = file.as_str().filter(|file| is_file_name(file));
        let plain = plain.ok_or_else(|| {
            let (name, file) = (json::shorten(name), json::short(file));
            error(format!(
                "`weight_map.{name}` is {file}; it must be the name of a file beside the index"
            ))
        })?;
        files.entry(plain.into()).or_default().insert(name.clone());
    }
    Ok(files)
}

/// Whether a path is the name of a file in its directory.
fn is_file_name(path: &str) -> bool {
    Path::new(path).file_name().is_some_and(|name| name == path)
}
