//! The objects of a `config.json` that speak of rotary positions, and what stands at its top and is meant for them.

use std::fmt;

use serde_json::{Map, Value};

use super::family::Family;
use crate::fields::{ConfigError, Reader};
use crate::json::shorten;

/// The share of a head that is rotated.
pub(super) const SHARE: &str = "partial_rotary_factor";
/// The length that a stretched model was trained for.
pub(super) const ORIGINAL: &str = "original_max_position_embeddings";

/// What stands at the top of the file, or is known of the family, and is meant for the objects below.
#[derive(Default)]
pub(super) struct Top {
    /// The family's base.
    pub default_theta: f64,
    pub theta: Option<f64>,
    pub share: Option<f64>,
    /// Whether less than a head may be rotated.
    pub has_share: bool,
    pub original: Option<usize>,
    /// In place of a length trained for that is not said.
    pub positions: usize,
    /// Whether `"su"` and `"yarn"` mean longrope, as they did in Phi-3's first files, and nothing else is scaled.
    pub is_phi: bool,
}

impl Top {
    pub fn read(file: &Reader, family: &Family) -> Result<Self, ConfigError> {
        let share = file.number(SHARE)?;
        if let Some(share) = share
            && share != 1.0
            && !family.fused
        {
            return Err(file.error(
                SHARE,
                format!("is {share}; only whole heads are rotated in this family, so it must be 1"),
            ));
        }
        let positions = file.optional_size("max_position_embeddings")?;
        Ok(Self {
            default_theta: family.rope_theta,
            theta: file.positive("rope_theta")?,
            share,
            has_share: family.fused,
            original: file.optional_size(ORIGINAL)?.or(family.original_positions),
            positions: positions.unwrap_or(family.max_position_embeddings),
            is_phi: family.original_positions.is_some(),
        })
    }
}

/// The object of a file that holds the scaling.
pub(super) struct Nested<'a> {
    name: &'static str,
    pub fields: Reader<'a>,
}

impl<'a> Nested<'a> {
    pub fn new(file: &Reader<'a>, name: &'static str, map: &'a Map<String, Value>) -> Self {
        let fields = Reader { map, path: file.path };
        Self { name, fields }
    }

    /// The value of a field of this object that the file may also say as `elsewhere`.
    pub fn same<T: PartialEq + fmt::Display>(
        &self,
        field: &str,
        here: Option<T>,
        elsewhere: &str,
        there: Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match (&here, &there) {
            (Some(a), Some(b)) if a != b => Err(self.error(
                field,
                format!("is {a}, but `{elsewhere}` is {b}; they are two spellings of one setting: remove the one that is wrong"),
            )),
            _ => Ok(here.or(there)),
        }
    }

    /// `rope_type`, which old files call `type`.
    pub fn kind(&self) -> Result<&str, ConfigError> {
        let name = |field| self.at(field, self.fields.string(field));
        let (new, old) = (name("rope_type")?, name("type")?);
        let old_name = format!("{}.type", self.name);
        Ok(self.same("rope_type", new, &old_name, old)?.unwrap_or("default"))
    }

    /// [`ORIGINAL`], of which the file may speak at its top.
    pub fn original(&self, top: &Top) -> Result<Option<usize>, ConfigError> {
        let here = self.at(ORIGINAL, self.fields.optional_size(ORIGINAL))?;
        self.same(ORIGINAL, here, ORIGINAL, top.original)
    }

    pub fn need(&self, kind: &str, field: &str) -> Result<f64, ConfigError> {
        self.positive(field)?.ok_or_else(|| self.missing(kind, field))
    }

    pub fn missing(&self, kind: &str, field: &str) -> ConfigError {
        self.error(field, format!("is missing; rope type \"{kind}\" needs it"))
    }

    pub fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.at(field, self.fields.number(field))
    }

    pub fn positive(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.at(field, self.fields.positive(field))
    }

    /// What was read of a field, its errors with the object's name.
    pub fn at<T>(&self, field: &str, read: Result<T, ConfigError>) -> Result<T, ConfigError> {
        read.map_err(|error| match error {
            ConfigError::Field { problem, .. } => self.error(field, problem),
            other => other,
        })
    }

    pub fn error(&self, field: &str, problem: String) -> ConfigError {
        self.fields
            .error(&format!("{}.{}", self.name, shorten(field)), problem)
    }
}
