//! What a `config.json` says of rotary positions.

use std::fmt;

use serde_json::{Map, Value, json};

use super::family::Family;
use super::nested::{Nested, ORIGINAL, SHARE, Top};
use super::scaling::{RopeScaling, scaling};
use crate::fields::{ConfigError, Reader};
use crate::json::shorten;

/// Where Gemma 3 says what holds for layers without a window, and with one.
const FULL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// Rotary positions.
#[derive(PartialEq)]
pub(super) struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    pub scaling: RopeScaling,
    /// The share of a head that is rotated.
    pub share: f64,
    /// The base in layers with a window, where they have one of their own.
    pub local_theta: Option<f64>,
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with base {}", self.scaling.to_json(), self.theta)?;
        match self.share {
            1.0 => Ok(()),
            share => write!(f, " over {share} of a head"),
        }
    }
}

/// The base of the frequencies and their scaling. `rope_parameters` of transformers 5 says both; `rope_theta` and
/// `rope_scaling` of 4 say one each. A file may say them in both ways, as those do that this crate writes, but not
/// differently: releases of transformers differ in which they read.
fn read(file: &Reader, family: &Family) -> Result<Rope, ConfigError> {
    let top = Top::read(file, family)?;
    let parse = |name: &'static str, map: Option<&Map<String, Value>>| -> Result<Option<Rope>, ConfigError> {
        let map = map.filter(|map| !map.is_empty());
        map.map(|map| of_object(&Nested::new(file, name, map), &top))
            .transpose()
    };
    let (parameters, old) = (file.object("rope_parameters")?, file.object("rope_scaling")?);
    let (new, local_theta) = match family.local_theta {
        None => (parse("rope_parameters", parameters)?, None),
        Some(theta) => {
            let [full, local] = by_layer(file, parameters)?;
            (
                parse("rope_parameters.full_attention", full)?,
                Some(of_windows(file, local)?.unwrap_or(theta)),
            )
        }
    };
    let inside = [parameters, old]
        .iter()
        .flatten()
        .any(|map| map.contains_key("rope_theta"));
    let old = parse("rope_scaling", old)?;
    if let (Some(new), Some(old)) = (&new, &old)
        && new != old
    {
        return Err(file.error(
            "rope_scaling",
            format!(
                "says {old}, but `rope_parameters` says {new}; they are two spellings of one setting: remove the one that \
                 is wrong"
            ),
        ));
    }
    if top.theta.is_none() && !inside {
        file.refuse_nulls(&["rope_theta"])?;
    }
    let rope = new.or(old).unwrap_or(Rope {
        theta: top.theta.unwrap_or(top.default_theta),
        scaling: RopeScaling::Default,
        share: top.share.unwrap_or(1.0),
        local_theta: None,
    });
    Ok(Rope { local_theta, ..rope })
}

impl Rope {
    /// Reads them for heads of `head_dim` features.
    pub fn read(file: &Reader, family: &Family, head_dim: usize) -> Result<Self, ConfigError> {
        let rope = read(file, family)?;
        let rotated = head_dim as f64 * rope.share;
        let is_share = rope.share > 0.0 && rope.share <= 1.0;
        if !is_share || rotated < 2.0 || (rotated as usize) % 2 == 1 {
            let problem = format!(
                "is {}, and {rotated} features of a head of {head_dim}; rotary positions need an even number of them",
                rope.share
            );
            return Err(file.error(SHARE, problem));
        }
        if let RopeScaling::LongRope(long) = &rope.scaling {
            let checked = long.check(rotated as usize / 2);
            checked.map_err(|(key, problem)| file.error(&format!("rope_parameters.{key}"), problem))?;
        }
        Ok(rope)
    }

    /// Writes both layouts: `rope_parameters` is what transformers 5 reads, the others what 4 reads.
    pub fn write(&self, family: &Family, mut put: impl FnMut(&str, Value)) {
        let mut rope = self.scaling.to_json();
        let mut scaling = match self.scaling {
            RopeScaling::Default => Value::Null,
            _ => rope.clone(),
        };
        if let (Some(_), Some(map)) = (family.original_positions, scaling.as_object_mut()) {
            // transformers 4 takes these three keys here, and no others.
            map.remove(ORIGINAL);
            let kind = map.remove("rope_type").unwrap_or_default();
            map.insert("type".into(), kind);
            put(ORIGINAL, rope[ORIGINAL].clone());
        }
        rope["rope_theta"] = json!(self.theta);
        if family.fused {
            rope[SHARE] = json!(self.share);
            put(SHARE, json!(self.share));
        }
        if let Some(theta) = self.local_theta {
            let local = json!({ "rope_type": "default", "rope_theta": theta });
            rope = json!({ FULL: rope, LOCAL: local });
            put("rope_local_base_freq", json!(theta));
        }
        put("rope_parameters", rope);
        put("rope_theta", json!(self.theta));
        put("rope_scaling", scaling);
    }
}

/// The two objects of a file whose layers turn differently.
fn by_layer<'a>(
    file: &Reader,
    parameters: Option<&'a Map<String, Value>>,
) -> Result<[Option<&'a Map<String, Value>>; 2], ConfigError> {
    let Some(map) = parameters else {
        return Ok([None; 2]);
    };
    if let Some(other) = map.keys().find(|key| ![FULL, LOCAL].contains(&key.as_str())) {
        return Err(file.error(
            &format!("rope_parameters.{}", shorten(other)),
            format!("has no meaning in this family, whose `rope_parameters` hold `{FULL}` and `{LOCAL}`"),
        ));
    }
    let object = |key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(file.error(&format!("rope_parameters.{key}"), "must be an object".into())),
    };
    Ok([object(FULL)?, object(LOCAL)?])
}

/// The base of layers with a window.
fn of_windows(file: &Reader, local: Option<&Map<String, Value>>) -> Result<Option<f64>, ConfigError> {
    const OLD: &str = "rope_local_base_freq";
    let top = file.positive(OLD)?;
    let Some(map) = local else {
        return Ok(top);
    };
    let nested = Nested::new(file, "rope_parameters.sliding_attention", map);
    let theta = nested.positive("rope_theta")?;
    let theta = nested.same("rope_theta", theta, OLD, top)?;
    let rope = of_object(&nested, &Top::default())?;
    match rope.scaling {
        RopeScaling::Default => Ok(theta),
        other => Err(nested.error(
            "rope_type",
            format!(
                "makes it {}; layers with a window are read with \"default\" only",
                other.to_json()
            ),
        )),
    }
}

/// What an object says.
fn of_object(rope: &Nested, top: &Top) -> Result<Rope, ConfigError> {
    if let Some((field, _)) = rope.fields.map.iter().find(|(_, value)| value.is_object()) {
        return Err(rope.error(
            field,
            "is an object; rotary positions that differ between layers are not supported".into(),
        ));
    }
    let share = rope.number(SHARE)?;
    if let Some(share) = share
        && share != 1.0
        && !top.has_share
    {
        return Err(rope.error(SHARE, format!("is {share}; it must be 1")));
    }
    let theta = rope.same(
        "rope_theta",
        rope.positive("rope_theta")?,
        "rope_theta",
        top.theta,
    )?;
    Ok(Rope {
        theta: theta.unwrap_or(top.default_theta),
        share: rope.same(SHARE, share, SHARE, top.share)?.unwrap_or(1.0),
        scaling: scaling(rope, top)?,
        local_theta: None,
    })
}
