//! The header of a safetensors file: which tensors it holds, and where.
//!
//! Stricter and cheaper than `SafeTensors::deserialize`: the file need not be in memory, a name may stand there once only, and
//! what is wrong is said of the tensor that it is wrong of. Nothing is allocated that the file does not hold.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::json::shorten;

/// Longest header that is read, in bytes; the limit of the format.
const HEADER_BYTES: u64 = 100_000_000;

/// Bytes before the header: its length.
const LENGTH_BYTES: u64 = 8;

/// Which tensors a file holds, and where: their bytes cover it to its end, without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// By name.
    pub tensors: BTreeMap<String, Entry>,
}

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The format of its numbers.
    pub dtype: Dtype,
    /// Its shape; the product is known to be countable.
    pub shape: Vec<usize>,
    /// Where its bytes begin, from the beginning of the file.
    pub from: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Header {
    /// Reads the header of a file in memory.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn parse(mut file: &[u8]) -> Result<Self, String> {
        let size = file.len() as u64;
        Self::read(&mut file, size)
    }

    /// Reads the header at the beginning of a file of `size` bytes.
    ///
    /// # Errors
    /// What is wrong with it, in words; with the tensor's name where it is one of them.
    pub fn read(file: &mut impl Read, size: u64) -> Result<Self, String> {
        let mut length = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut length).map_err(|error| cut(&error))?;
        let length = u64::from_le_bytes(length);
        let rest = size.saturating_sub(LENGTH_BYTES);
        if length > rest {
            return Err(format!(
                "it says that its header has {length} bytes, and has {rest} behind that; it is cut off, or something else"
            ));
        }
        if length > HEADER_BYTES {
            return Err(format!(
                "its header has {length} bytes; at most {HEADER_BYTES} are read"
            ));
        }
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(|error| cut(&error))?;
        let Infos(infos) =
            serde_json::from_slice(&json).map_err(|error| format!("its header is wrong: {error}"))?;
        let tensors = place(infos, LENGTH_BYTES + length, rest - length)?;
        Ok(Self { tensors })
    }
}

fn cut(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it is cut off in its header".into(),
        _ => error.to_string(),
    }
}

/// Checks that tensors cover the `bytes` bytes from `begin` on.
fn place(
    infos: BTreeMap<String, TensorInfo>,
    begin: u64,
    bytes: u64,
) -> Result<BTreeMap<String, Entry>, String> {
    let mut order: Vec<(&String, &TensorInfo)> = infos.iter().collect();
    order.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in order {
        let (from, to) = info.data_offsets;
        let wrong = |what: String| Err(format!("{} {what}", shorten(name)));
        if from != end {
            let how = if from < end {
                "overlap those of another"
            } else {
                "begin behind a gap"
            };
            return wrong(format!(
                "has bytes {from} to {to}, which {how} (the tensors before it end at {end})"
            ));
        }
        let numbers = info.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let bits = numbers.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        match bits {
            Some(bits) if bits.is_multiple_of(8) && to.checked_sub(from) == Some(bits / 8) => {}
            _ => {
                return wrong(format!(
                    "has shape {} in {}, which does not fit its bytes {from} to {to}",
                    shorten(&format!("{:?}", info.shape)),
                    info.dtype
                ));
            }
        }
        if to as u64 > bytes {
            return wrong(format!(
                "ends at byte {to} of the data, which has {bytes}; the file is cut off"
            ));
        }
        end = to;
    }
    if end as u64 != bytes {
        return Err(format!(
            "its tensors end at byte {end} of the data, which has {bytes}"
        ));
    }
    let entry = |info: TensorInfo| Entry {
        from: begin + info.data_offsets.0 as u64,
        bytes: (info.data_offsets.1 - info.data_offsets.0) as u64,
        dtype: info.dtype,
        shape: info.shape,
    };
    Ok(infos
        .into_iter()
        .map(|(name, info)| (name, entry(info)))
        .collect())
}

/// What the header says, each name once.
struct Infos(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Infos {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Names).map(Infos)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = BTreeMap<String, TensorInfo>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut infos = BTreeMap::new();
        while let Some(name) = from.next_key::<String>()? {
            if name == "__metadata__" {
                from.next_value::<IgnoredAny>()?;
                continue;
            }
            let info: Value = from.next_value()?;
            let info = TensorInfo::deserialize(&info).map_err(|error| {
                A::Error::custom(format!("{}: {}", shorten(&name), shorten(&error.to_string())))
            })?;
            if infos.insert(name.clone(), info).is_some() {
                return Err(A::Error::custom(format!("{} stands there twice", shorten(&name))));
            }
        }
        Ok(infos)
    }
}
