//! What a `config.json` says of layers that differ: which look through a window, and which have no rotary positions.

use serde_json::{Value, json};

use super::family::{Family, Windows};
use crate::fields::{ConfigError, Reader};
use crate::json::short;

/// The window of transformers' configuration classes where a file switches it on and does not say its length.
const WINDOW: usize = 4096;
/// The first layer with a window of a Qwen file that does not say it, as in transformers.
const FIRST: usize = 28;
/// SmolLM3: of so many layers the last has no rotary positions, where the file names none.
const INTERVAL: usize = 4;

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// In what the layers of a model differ.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layers {
    /// Tokens that a layer with a window sees, the one that looks included; none where no layer has a window.
    sliding_window: Option<usize>,
    /// Whether each layer has the window; empty where none has.
    sliding: Vec<bool>,
    /// Whether each layer is without rotary positions; empty where all have them.
    unrotated: Vec<bool>,
}

impl Layers {
    /// Tokens that a layer sees, the one that looks included; none where it sees all before it.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| is(&self.sliding, layer))
    }

    /// The window of those layers that have one.
    pub fn sliding_window(&self) -> Option<usize> {
        self.sliding_window
    }

    /// Whether a layer has rotary positions.
    pub fn rotates(&self, layer: usize) -> bool {
        !is(&self.unrotated, layer)
    }

    /// Whether all layers have rotary positions, and see all of a text of so many tokens.
    pub fn are_alike(&self, tokens: usize) -> bool {
        self.sliding_window.is_none_or(|window| window >= tokens) && self.unrotated.is_empty()
    }

    pub(super) fn read(file: &Reader, family: &Family, count: usize) -> Result<Self, ConfigError> {
        let unrotated = match family.no_rope_layers {
            true => unrotated(file, count)?,
            false => Vec::new(),
        };
        let listed = listed(file, count)?;
        let window = window(file, family.windows)?;
        let all = |sliding| vec![sliding; count];
        let sliding = match (family.windows, window, &listed) {
            (_, None, _) => all(false),
            // transformers reads no list for these: all layers have the window.
            (Windows::All(_) | Windows::Switched | Windows::Never, ..) => all(true),
            (_, _, Some(listed)) => listed.clone(),
            (Windows::Last, ..) => {
                let first = whole(file, "max_window_layers")?.unwrap_or(FIRST as u64);
                (0..count).map(|layer| layer as u64 >= first).collect()
            }
            (Windows::Unrotated, ..) => (0..count).map(|layer| is(&unrotated, layer)).collect(),
            (Windows::AllBut(every), ..) => {
                // Gemma 3's key; in Gemma 2's files transformers does not look for it.
                let given = file.optional_size("sliding_window_pattern")?;
                let every = given.filter(|_| family.local_theta.is_some()).unwrap_or(every);
                (1..=count).map(|layer| !layer.is_multiple_of(every)).collect()
            }
        };
        if let Some(listed) = listed
            && let Some(layer) = (0..count).find(|&layer| listed[layer] != sliding[layer])
        {
            let what = [FULL, SLIDING].map(|name| format!("\"{name}\""));
            return Err(file.error(
                "layer_types",
                format!(
                    "says {} of layer {layer}, but the other fields of the window make it {}; mend one of them",
                    what[usize::from(listed[layer])],
                    what[usize::from(sliding[layer])]
                ),
            ));
        }
        let in_use = sliding.contains(&true);
        Ok(Self {
            sliding_window: window.filter(|_| in_use),
            sliding: if in_use { sliding } else { Vec::new() },
            unrotated: if unrotated.contains(&true) {
                unrotated
            } else {
                Vec::new()
            },
        })
    }

    /// Writes what [`Layers::read`] reads.
    pub(super) fn write(&self, family: &Family, count: usize, mut put: impl FnMut(&str, Value)) {
        let types: Vec<&str> = (0..count)
            .map(|layer| if is(&self.sliding, layer) { SLIDING } else { FULL })
            .collect();
        let window = json!(self.sliding_window);
        match family.windows {
            Windows::Never => {}
            Windows::All(_) => put("sliding_window", window),
            Windows::AllBut(_) => {
                put("sliding_window", window);
                put("layer_types", json!(types));
            }
            Windows::Switched => {
                put("use_sliding_window", json!(self.sliding_window.is_some()));
                put("sliding_window", window);
            }
            Windows::Last | Windows::Unrotated if self.sliding_window.is_some() => {
                put("use_sliding_window", json!(true));
                put("sliding_window", window);
                put("layer_types", json!(types));
                let first = self.sliding.iter().position(|&sliding| sliding).unwrap_or(count);
                if family.windows == Windows::Last && self.sliding[first..].iter().all(|&sliding| sliding) {
                    put("max_window_layers", json!(first));
                }
            }
            Windows::Last | Windows::Unrotated => put("use_sliding_window", json!(false)),
        }
        if family.no_rope_layers {
            let rotated: Vec<u8> = (0..count).map(|layer| self.rotates(layer).into()).collect();
            put("no_rope_layers", json!(rotated));
        }
    }
}

fn is(layers: &[bool], layer: usize) -> bool {
    layers.get(layer).is_some_and(|&is| is)
}

/// The window's length, none where it is off.
fn window(file: &Reader, windows: Windows) -> Result<Option<usize>, ConfigError> {
    const KEY: &str = "sliding_window";
    let given = file.optional_size(KEY)?;
    let switch = file.flag("use_sliding_window")?;
    let is_null = file.map.get(KEY) == Some(&Value::Null);
    match windows {
        // Mistral-like files have a window without the switch.
        Windows::Never => match given {
            Some(_) if switch != Some(false) => Err(file.error(
                KEY,
                "is set, but this family has no windows in transformers; write null, or the `model_type` that is meant"
                    .to_string(),
            )),
            _ => Ok(None),
        },
        Windows::All(_) if is_null => Ok(None),
        Windows::All(default) => Ok(given.or(default)),
        Windows::Last | Windows::Switched if switch == Some(true) && !is_null => {
            Ok(given.or(Some(WINDOW)))
        }
        Windows::AllBut(_) if is_null && file.get("layer_types").is_none() => Err(file.error(
            KEY,
            "is null, but layers of this family have a window; write its length".to_string(),
        )),
        Windows::AllBut(_) if is_null => Ok(None),
        Windows::AllBut(_) => Ok(given.or(Some(WINDOW))),
        Windows::Unrotated if switch == Some(true) => Ok(given),
        Windows::Last | Windows::Switched | Windows::Unrotated => Ok(None),
    }
}

/// `layer_types`: whether each layer has a window.
fn listed(file: &Reader, count: usize) -> Result<Option<Vec<bool>>, ConfigError> {
    const KEY: &str = "layer_types";
    let types = match file.get(KEY) {
        None => return Ok(None),
        Some(Value::Array(types)) => types,
        Some(other) => return Err(file.error(KEY, format!("is {}; it must be a list", short(other)))),
    };
    if types.len() != count {
        return Err(file.error(
            KEY,
            format!("names {} layers, but num_hidden_layers is {count}", types.len()),
        ));
    }
    let each = types.iter().map(|kind| match kind.as_str() {
        Some(FULL) => Ok(false),
        Some(SLIDING) => Ok(true),
        _ => Err(file.error(
            KEY,
            format!("holds {}; each must be \"{FULL}\" or \"{SLIDING}\"", short(kind)),
        )),
    });
    each.collect::<Result<_, _>>().map(Some)
}

/// `no_rope_layers`, in which 0 is a layer without rotary positions, or every so many layers one.
fn unrotated(file: &Reader, count: usize) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "no_rope_layers";
    let list = match file.get(KEY) {
        None => {
            let interval = file.optional_size("no_rope_layer_interval")?.unwrap_or(INTERVAL);
            return Ok((1..=count).map(|layer| layer.is_multiple_of(interval)).collect());
        }
        Some(Value::Array(list)) => list,
        Some(other) => return Err(file.error(KEY, format!("is {}; it must be a list", short(other)))),
    };
    if list.len() < count {
        return Err(file.error(
            KEY,
            format!("names {} layers, but num_hidden_layers is {count}", list.len()),
        ));
    }
    let each = list.iter().take(count).map(|flag| match flag.as_u64() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(file.error(
            KEY,
            format!(
                "holds {}; each must be 1 (with rotary positions) or 0 (without)",
                short(flag)
            ),
        )),
    });
    each.collect()
}

fn whole(file: &Reader, key: &str) -> Result<Option<u64>, ConfigError> {
    let number = |value: &Value| {
        let wrong = || file.error(key, format!("is {}; it must be a whole number", short(value)));
        value.as_u64().ok_or_else(wrong)
    };
    file.get(key).map(number).transpose()
}
