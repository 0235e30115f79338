//! Reads TensorBoard's event files, apart from what writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A step and its numbers by tag.
pub type Step = (u64, BTreeMap<String, f32>);

/// The steps of the one event file in a directory, in their order. Every record must be whole.
#[track_caller]
pub fn read(dir: &Path) -> Vec<Step> {
    let files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = fs::read(&files[0]).unwrap();
    let (mut rest, mut steps) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(sum(&rest[..8]), number(&rest[8..]));
        let message = &rest[12..12 + length];
        assert_eq!(sum(message), number(&rest[12 + length..]));
        rest = &rest[16 + length..];
        let (mut step, mut summary) = (0, None);
        for (field, value) in fields(message) {
            match (field, value) {
                (2, Value::Number(of)) => step = of,
                (5, Value::Bytes(of)) => summary = Some(of),
                _ => {}
            }
        }
        steps.extend(summary.map(|summary| (step, fields(summary).into_iter().map(scalar).collect())));
    }
    steps
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn scalar((_, value): (u64, Value)) -> (String, f32) {
    let Value::Bytes(message) = value else {
        panic!("a value is a message")
    };
    let (mut tag, mut found) = (None, None);
    for (field, value) in fields(message) {
        match (field, value) {
            (1, Value::Bytes(text)) => tag = Some(String::from_utf8(text.to_vec()).unwrap()),
            (2, Value::Number(bits)) => found = Some(f32::from_bits(bits as u32)),
            _ => panic!("field {field}"),
        }
    }
    (tag.unwrap(), found.unwrap())
}

/// The fields of a protobuf message.
fn fields(mut message: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let take = |message: &mut &[u8], count: usize| {
            let mut bytes = [0; 8];
            bytes[..count].copy_from_slice(&message[..count]);
            *message = &message[count..];
            Value::Number(u64::from_le_bytes(bytes))
        };
        let value = match key & 7 {
            0 => Value::Number(varint(&mut message)),
            1 => take(&mut message, 8),
            5 => take(&mut message, 4),
            2 => {
                let length = varint(&mut message) as usize;
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Value::Bytes(bytes)
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = message[0];
        *message = &message[1..];
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

/// CRC-32C, masked.
fn sum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
