//! Adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What is read is what is meant here exactly; of the many other things that a PEFT directory may say, those that change what the model
//! computes are refused by name. A key that is not known is taken only where it says nothing: null, false or empty.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use burn::module::Param;
use burn::tensor::Tensor;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use super::{Factors, Lora, LoraError, Targets, adapter, leaf, means, put};
use crate::checkpoint::{CheckpointError, Entry, Header, READ, check_numbers, decode, transpose};
use crate::dtype::Dtype;
use crate::fields::{self, Reader};
use crate::files;
use crate::json::{short, shorten};
use crate::llama::Llama;

/// The file that says what the adapters are,
pub use crate::checkpoint::ADAPTER as CONFIG;
/// and the one that holds them.
pub const WEIGHTS: &str = "adapter_model.safetensors";

const PREFIX: &str = "base_model.model.";
const MAGNITUDE: &str = "lora_magnitude_vector";

/// Keys that are read.
const READ_KEYS: [&str; 9] = [
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "lora_dropout",
    "target_modules",
    "init_lora_weights",
    "bias",
];

/// Keys that say nothing of what the model computes: where it came from, how training went, or what else goes with a key that is
/// refused.
const IDLE_KEYS: [&str; 16] = [
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "peft_version",
    "layers_to_transform",
    "layers_pattern",
    "exclude_modules",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "runtime_config",
    "qalora_group_size",
    "ensure_weight_tying",
];

/// How `A` and `B` may have begun without the base having been changed for it.
const PLAIN_INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What `adapter_config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Peft {
    /// The adapters.
    pub lora: Lora,
    /// The base model, as it was named.
    pub base: String,
}

impl Peft {
    /// Writes the adapters of `model` into the existing directory `dir`.
    ///
    /// # Errors
    /// A file could not be written, or a number is not finite.
    pub fn save(&self, model: &Llama, dir: &Path) -> Result<(), LoraError> {
        let path = dir.join(WEIGHTS);
        let mut tensors = Vec::new();
        let mut leaves: Vec<String> = Vec::new();
        for (at, projection) in model.projections() {
            let Some(adapter) = adapter(projection) else {
                continue;
            };
            leaves.push(leaf(&at).to_owned());
            for (name, factor) in [("lora_A", &adapter.a), ("lora_B", &adapter.b)] {
                let [rows, columns] = factor.shape().dims();
                let name = format!("{PREFIX}{at}.{name}.weight");
                let values = transpose(&numbers(factor, &path, &name)?, rows, columns);
                tensors.push((name, vec![columns, rows], bytes(&values)));
            }
            if let Some(magnitude) = &adapter.magnitude {
                let name = format!("{PREFIX}{at}.{MAGNITUDE}");
                let values = numbers(magnitude, &path, &name)?;
                tensors.push((name, vec![values.len()], bytes(&values)));
            }
        }
        let views: Vec<(&str, TensorView)> = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
                (name.as_str(), view.expect("the bytes were made for this shape"))
            })
            .collect();
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views, Some(metadata), &path)
            .map_err(|error| unwritten(&path, error))?;
        leaves.sort();
        leaves.dedup();
        // Names of layers, where they are all that was asked for, mean more than was: PEFT is then told each path.
        let names = Targets::Named(leaves.clone());
        let targets = match names.paths(model)? == super::places(model) {
            true => leaves,
            false => super::places(model),
        };
        let path = dir.join(CONFIG);
        let text = format!("{:#}\n", self.to_json(&targets));
        Ok(std::fs::write(&path, text).map_err(|error| unwritten(&path, error))?)
    }

    fn to_json(&self, targets: &[String]) -> Value {
        let lora = &self.lora;
        // PEFT's type for it is a whole number.
        let alpha = match lora.alpha.fract() == 0.0 && lora.alpha.abs() < 1e9 {
            true => json!(lora.alpha as i64),
            false => json!(lora.alpha),
        };
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": lora.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": lora.r,
            "rank_pattern": {},
            "revision": null,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": lora.use_dora,
            "use_rslora": lora.use_rslora,
        })
    }

    /// The base model with the adapters in `dir`, and what they are. Factors become f32.
    ///
    /// # Errors
    /// A file is missing or damaged, says what is not computed here, or belongs to another model.
    pub fn load(base: Llama, dir: &Path) -> Result<(Llama, Self), LoraError> {
        let path = dir.join(CONFIG);
        let map = fields::object(&fields::read(&path)?, &path)?;
        let config = AdapterConfig::read(&Reader {
            map: &map,
            path: &path,
        })?;
        let path = dir.join(WEIGHTS);
        if !path.exists() && dir.join("adapter_model.bin").exists() {
            let problem = "it is missing; adapter_model.bin is not read: PEFT's save_pretrained writes it anew as safetensors";
            return Err(LoraError::Tensors {
                path,
                problem: problem.into(),
            });
        }
        let factors = config.factors(&base, &path)?;
        Ok((put(base, &config.peft.lora, factors), config.peft))
    }
}

/// `adapter_config.json`.
struct AdapterConfig {
    peft: Peft,
    /// Whether every projection that the targets mean has an adapter: they are names, and no other key takes one out.
    is_whole: bool,
}

impl AdapterConfig {
    fn read(json: &Reader) -> Result<Self, LoraError> {
        let kind = json.string("peft_type")?;
        if kind != Some("LORA") {
            let kind = kind.unwrap_or("missing");
            return Err(json
                .error(
                    "peft_type",
                    format!("is {}; only \"LORA\" is read", shorten(kind)),
                )
                .into());
        }
        refuse(json)?;
        let wrong = |problem: &str| json.error("target_modules", problem.into());
        let names: Option<Vec<String>> = match json.get("target_modules") {
            // "all-linear", or a regular expression: the tensors say what it came to.
            Some(Value::String(_)) => None,
            Some(Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                let names = names.ok_or_else(|| wrong("must be a list of names"))?;
                Some(names.into_iter().map(str::to_owned).collect())
            }
            _ => return Err(wrong("is missing; write the names of modules").into()),
        };
        let says = |key: &str| json.get(key).is_some_and(|value| !is_nothing(value));
        Ok(Self {
            is_whole: names.is_some() && !says("layers_to_transform") && !says("exclude_modules"),
            peft: Peft {
                lora: Lora {
                    r: json.size("r")?,
                    alpha: json.number("lora_alpha")?.unwrap_or(8.0),
                    use_rslora: json.flag("use_rslora")?.unwrap_or(false),
                    use_dora: json.flag("use_dora")?.unwrap_or(false),
                    dropout: json.number("lora_dropout")?.unwrap_or(0.0),
                    targets: names.map_or(Targets::AllLinear, Targets::Named),
                },
                base: json
                    .string("base_model_name_or_path")?
                    .unwrap_or_default()
                    .to_owned(),
            },
        })
    }

    /// The factors in the file at `path`, as they are kept here, by the paths of their projections.
    fn factors(&self, base: &Llama, path: &Path) -> Result<BTreeMap<String, Factors>, LoraError> {
        let wrong = |problem: String| LoraError::Tensors {
            path: path.into(),
            problem,
        };
        let mut tensors = Tensors::open(path)?;
        let r = self.peft.lora.r;
        let mut factors = BTreeMap::new();
        for (at, projection) in base.projections() {
            let [from, to] = projection.weight.shape().dims();
            let [a, b] = ["lora_A", "lora_B"].map(|leaf| format!("{PREFIX}{at}.{leaf}.weight"));
            match (tensors.take(&a, &[r, from])?, tensors.take(&b, &[to, r])?) {
                (Some(a), Some(b)) => {
                    let name = format!("{PREFIX}{at}.{MAGNITUDE}");
                    let magnitude = match self.peft.lora.use_dora {
                        false => None,
                        true => Some(tensors.take(&name, &[to])?.ok_or_else(|| {
                            wrong(format!("lacks {name}, which use_dora in {CONFIG} asks for"))
                        })?),
                    };
                    let (a, b) = (transpose(&a, r, from), transpose(&b, to, r));
                    factors.insert(at, Factors { a, b, magnitude });
                }
                (None, None) => {}
                (None, Some(_)) => return Err(wrong(format!("lacks {a}, the other half of {b}"))),
                (Some(_), None) => return Err(wrong(format!("lacks {b}, the other half of {a}"))),
            }
        }
        if let Some(name) = tensors.header.tensors.keys().next() {
            let more = match tensors.header.tensors.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            return Err(wrong(format!(
                "holds {}{more}, which belongs to no projection of the base model: adapters of linear layers are read, but \
                 not of the head or the embedding, nor whole modules. PEFT's merge_and_unload makes a model of such an adapter",
                shorten(name)
            )));
        }
        if factors.is_empty() {
            return Err(wrong("holds no adapter".into()));
        }
        if let (Targets::Named(names), true) = (&self.peft.lora.targets, self.is_whole) {
            let all = base.projections();
            let mut meant = all
                .iter()
                .filter(|(at, _)| names.iter().any(|name| means(name, at)));
            if let Some((at, _)) = meant.find(|(at, _)| !factors.contains_key(at)) {
                return Err(wrong(format!(
                    "lacks {PREFIX}{at}.lora_A.weight, which target_modules in {CONFIG} asks for: the adapter is of another model"
                )));
            }
        }
        Ok(factors)
    }
}

/// Refuses what would change the numbers and is not computed.
fn refuse(json: &Reader) -> Result<(), LoraError> {
    const MERGE: &str = "merge it with PEFT (merge_and_unload) and take the merged model";
    if json.string("bias")?.is_some_and(|bias| bias != "none") {
        let problem = format!("trains biases as well, which are not read: {MERGE}");
        return Err(json.error("bias", problem).into());
    }
    match json.get("init_lora_weights") {
        None | Some(Value::Bool(_)) => {}
        Some(Value::String(init)) if PLAIN_INITS.contains(&init.as_str()) => {}
        Some(other) => {
            let problem = format!(
                "is {}, which changes the base model's weights: {MERGE}",
                short(other)
            );
            return Err(json.error("init_lora_weights", problem).into());
        }
    }
    for (key, value) in json.map {
        let is_known = [READ_KEYS.as_slice(), &IDLE_KEYS]
            .concat()
            .contains(&key.as_str());
        if !is_known && !is_nothing(value) {
            let problem = format!("is {}, which is not computed here: {MERGE}", short(value));
            return Err(json.error(&shorten(key), problem).into());
        }
    }
    Ok(())
}

/// Whether a key with this value is as good as none.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => Map::is_empty(map),
        _ => false,
    }
}

/// The tensors of a file that were not taken yet.
struct Tensors<'a> {
    path: &'a Path,
    file: File,
    header: Header,
}

impl<'a> Tensors<'a> {
    fn open(path: &'a Path) -> Result<Self, LoraError> {
        let (mut file, size) = files::open(path).map_err(|source| unread(path, source))?;
        let header = Header::read(&mut file, size).map_err(|problem| CheckpointError::Format {
            path: path.into(),
            problem,
        })?;
        Ok(Self { path, file, header })
    }

    /// The numbers of a tensor, which must be of this shape.
    fn take(&mut self, name: &str, expected: &[usize]) -> Result<Option<Vec<f32>>, LoraError> {
        let Some(Entry {
            dtype,
            shape,
            from,
            bytes,
        }) = self.header.tensors.remove(name)
        else {
            return Ok(None);
        };
        if shape != expected {
            let problem = format!(
                "{name} has shape {shape:?}, but r in {CONFIG} and the base model make it {expected:?}"
            );
            return Err(LoraError::Tensors {
                path: self.path.into(),
                problem,
            });
        }
        if !READ.contains(&dtype) {
            return Err(CheckpointError::Dtype {
                path: self.path.into(),
                name: name.into(),
                found: dtype,
            }
            .into());
        }
        let mut data = vec![0; bytes as usize];
        self.file
            .seek(SeekFrom::Start(from))
            .and_then(|_| self.file.read_exact(&mut data))
            .map_err(|source| unread(self.path, source))?;
        let values = decode(dtype, &data);
        check_numbers(&values, Dtype::F32, self.path, name)?;
        Ok(Some(values))
    }
}

/// The numbers of a parameter that is saved as the tensor `name` in the file at `path`.
fn numbers<const D: usize>(
    param: &Param<Tensor<D>>,
    path: &Path,
    name: &str,
) -> Result<Vec<f32>, CheckpointError> {
    let values = param.val().without_autodiff();
    let values: Vec<f32> = values.try_into_vec_as().expect("a parameter can be read as f32");
    check_numbers(&values, Dtype::F32, path, name)?;
    Ok(values)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn unread(path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Read {
        path: path.into(),
        source,
    }
}

fn unwritten(path: &Path, error: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Write {
        path: path.into(),
        problem: error.to_string(),
    }
}
