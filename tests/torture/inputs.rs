//! Inputs that are spoilt at random: configs, data, checkpoints, texts. Whatever they are, the program ends, with a message or with
//! a result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::runs::{Kind, References, copy, finish, fresh, said};
use crate::{Counts, Random, Torture};

pub struct Inputs<'a> {
    root: PathBuf,
    references: &'a References,
}

impl<'a> Inputs<'a> {
    pub fn new(root: &Path, references: &'a References) -> Self {
        Self {
            root: root.to_owned(),
            references,
        }
    }
}

/// Values that programs stumble over.
const BAD: [&str; 26] = [
    "null",
    "-1",
    "0",
    "1e999",
    "-0.0",
    "NaN",
    "inf",
    "9223372036854775807",
    "18446744073709551615",
    "1000000000",
    "\"\"",
    "[]",
    "{}",
    "true",
    "\\u0000",
    "\u{0}",
    "\u{feff}",
    "\u{1b}[2J",
    "\u{202e}",
    "١٢",
    "\"",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "}}",
    "../../../x",
    "\r\n\r\n",
];

/// Bytes that were spoilt in one to four places.
pub fn spoil(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                // The value behind a colon or an equals sign.
                let starts: Vec<usize> = (0..bytes.len()).filter(|&i| b":=".contains(&bytes[i])).collect();
                if starts.is_empty() {
                    continue;
                }
                let start = *random.pick(&starts) + 1;
                let rest = &bytes[start..];
                let length = rest
                    .iter()
                    .position(|b| b",}\n".contains(b))
                    .unwrap_or(rest.len());
                bytes.splice(start..start + length, random.pick(&BAD).bytes());
            }
            5 => {
                let value = random.pick(&BAD).repeat(1 + random.below(3));
                bytes.splice(at..at, value.bytes());
            }
            _ => {
                let value = random.pick(&BAD).as_bytes().to_vec();
                bytes.splice(at..end, value);
            }
        }
    }
    bytes
}

const ROWS: &str = "{\"id\": \"a\", \"q\": \"1+2\", \"a\": 3}\n{\"id\": \"b\", \"q\": \"What is 2+2?\", \"a\": \"\\\\frac{8}{2}\"}\n";

const PAIRS: &str = "{\"kind\": \"frac\", \"gold\": \"\\\\frac{3}{8}\", \"pred\": \"so \\\\boxed{0.375}\", \"equal\": true}\n\
    {\"kind\": \"x\", \"gold\": \"x^2+1\", \"pred\": \"The answer is $1+x^{2}$.\", \"equal\": true}\n";

impl Torture for Inputs<'_> {
    fn once(&mut self, random: &mut Random, counts: &mut Counts) {
        let dir = fresh(&self.root, "input");
        let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
        let data = "--set data={path=\"rows.jsonl\",preset={question=\"q\",answer=\"a\",id=\"id\"}}";
        let short = "--set train.max_steps=1 --set eval.every=0 --device cpu --run-dir run";
        write("rows.jsonl", ROWS.as_bytes());
        let args = match random.below(7) {
            0 | 1 => {
                let text = fs::read(dir.join("run.toml")).unwrap();
                write("run.toml", &spoil(&text, random));
                format!("train run.toml {short}")
            }
            2 => {
                write("rows.jsonl", &spoil(ROWS.as_bytes(), random));
                format!("train run.toml {short} {data}")
            }
            3 => {
                write("pairs.jsonl", &spoil(PAIRS.as_bytes(), random));
                "grade --json --cases pairs.jsonl".to_owned()
            }
            4 => {
                let text = fs::read(self.references.dir(Kind::Eval)).unwrap();
                write("eval.jsonl", &spoil(&text, random));
                "eval --json --regrade eval.jsonl".to_owned()
            }
            _ => {
                let step = self.references.dir(Kind::Sft).join("checkpoints/step-8");
                copy(&step, &dir.join("model"));
                let mut files: Vec<PathBuf> = fs::read_dir(dir.join("model"))
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                files.retain(|path| path.is_file());
                files.sort();
                let path = random.pick(&files);
                let bytes = fs::read(path).unwrap();
                // The header of a file of tensors is more worth spoiling than its numbers.
                let head = match path.extension().is_some_and(|end| end == "safetensors") {
                    true => bytes.len().min(2000),
                    false => bytes.len(),
                };
                let spoilt = [&spoil(&bytes[..head], random), &bytes[head..]].concat();
                fs::write(path, spoilt).unwrap();
                match random.below(3) {
                    0 => "inspect model".to_owned(),
                    1 => "generate --model model --prompt 1+2= --set rollout.max_completion_length=4 --device cpu".to_owned(),
                    _ => format!("train run.toml --set model.path=\"model\" {short}"),
                }
            }
        };
        // More than 8 GiB of addresses is more than any of these is worth.
        let limited = Command::new("sh")
            .args([
                "-c",
                "ulimit -v 8388608; exec \"$0\" \"$@\"",
                env!("CARGO_BIN_EXE_gcpo"),
            ])
            .args(args.split(' '))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let output = finish(limited.unwrap());
        let text = said(&output);
        assert!(
            matches!(output.status.code(), Some(0..=2)) && !text.contains("panicked"),
            "gcpo {args}: {:?}: {text}",
            output.status
        );
        assert!(
            !text.contains('\u{1b}'),
            "gcpo {args} wrote to the terminal: {text:?}"
        );
        counts.add("inputs spoilt", 1);
        if !output.status.success() {
            counts.add("of these refused", 1);
        }
    }
}
