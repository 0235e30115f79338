//! Checkpoints that are wrong in every way that came to mind: each ends with one message that names the file, without a
//! panic, without a hang, and without memory that its files do not justify.
#![cfg(unix)]

mod program;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use gcpo_model::checkpoint;
use gcpo_model::dtype::Dtype;
use gcpo_model::generation::GenerationConfig;
use program::spoil::{GENERATE, Ground, INDEX, INSPECT, SCORE, WEIGHTS};
use serde_json::{Value, json};

const NORM: &str = "model.norm.weight";

/// A weights file as JSON and the bytes behind it.
fn parts(file: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (
        serde_json::from_slice(&file[8..8 + length]).unwrap(),
        &file[8 + length..],
    )
}

fn joined(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

#[test]
fn the_good_ones_are_good() {
    let ground = Ground::new();
    for good in ["good", "shards"] {
        ground.copy(good);
        for command in [INSPECT, SCORE] {
            let (code, text) = ground.run(good, command);
            assert_eq!((code, text.as_str()), (0, ""), "{good}");
        }
    }
    fs::copy(
        ground.path("good").join(WEIGHTS),
        ground.path("bad").join(WEIGHTS),
    )
    .unwrap();
    for command in [INSPECT, SCORE] {
        let (code, text) = ground.run("both", command);
        assert!(
            code == 0 && text.starts_with("warning: bad/model.safetensors.index.json is not read"),
            "{text}"
        );
    }
}

#[test]
fn weights_that_are_cut_or_that_lie_about_their_header() {
    let ground = Ground::new();
    let bad = ground.copy("good").join(WEIGHTS);
    let good = fs::read(&bad).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let check = |what: &str, bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        ground.fails(what, &["bad/model.safetensors is not a whole safetensors file"]);
    };
    let whole = good.len();
    for end in [
        0,
        1,
        7,
        8,
        9,
        8 + header / 2,
        8 + header - 1,
        8 + header,
        9 + header,
        whole / 2,
        whole - 1,
    ] {
        check(&format!("cut at {end}"), &good[..end]);
    }
    check("a byte too many", &[&good[..], &[0]].concat());
    for length in [
        0,
        1,
        header as u64 - 1,
        header as u64 + 1,
        100_000_001,
        1 << 40,
        1 << 63,
        u64::MAX,
    ] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        check(&format!("a header of {length} bytes"), &bytes);
    }
    let deep = format!("{{\"a\": {}", "[".repeat(1 << 16));
    let texts: [&[u8]; 12] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\"x\"",
        b"{}",
        b"{\"\xff\": 1}",
        b"{\"a\": 1}",
        b"{\"a\": {}}",
        b"{,}",
        b"\0\0\0\0",
        deep.as_bytes(),
    ];
    for text in texts {
        check(
            &String::from_utf8_lossy(&text[..text.len().min(20)]),
            &joined(text, &good[8 + header..]),
        );
    }
}

#[test]
fn tensors_that_cannot_be_where_or_what_the_header_says() {
    let ground = Ground::new();
    let bad = ground.copy("good").join(WEIGHTS);
    let good = fs::read(&bad).unwrap();
    let (header, data) = parts(&good);
    let offsets = |name: &str| header[name]["data_offsets"][0].as_u64().unwrap();
    let (from, most) = (offsets(NORM), u64::MAX);
    let big = 1u64 << 32;
    let infos = [
        ("dtype", json!("F99")),
        ("dtype", json!("f32")),
        ("dtype", json!(3)),
        ("dtype", Value::Null),
        ("dtype", json!("F64")),
        ("dtype", json!("F4")),
        ("shape", json!([])),
        ("shape", json!([0])),
        ("shape", json!([15])),
        ("shape", json!([-16])),
        ("shape", json!([16.0])),
        ("shape", json!("16")),
        ("shape", json!([big, big])),
        ("shape", json!([big, big, big, big])),
        ("shape", json!([most, 2])),
        ("shape", json!(vec![1; 100_000])),
        ("data_offsets", json!([from + 64, from])),
        ("data_offsets", json!([0, 64])),
        ("data_offsets", json!([from, from + 60])),
        ("data_offsets", json!([from - 4, from + 60])),
        ("data_offsets", json!([most - 64, most])),
        ("data_offsets", json!([from, most])),
        ("data_offsets", json!([-64, 0])),
        ("data_offsets", json!([from])),
        ("data_offsets", json!([from, from + 64, 0])),
        ("data_offsets", json!("0")),
    ];
    for (field, value) in infos {
        let mut header = header.clone();
        header[NORM][field] = value.clone();
        fs::write(&bad, joined(header.to_string().as_bytes(), data)).unwrap();
        let what = format!(
            "{field} {}",
            value.to_string().chars().take(50).collect::<String>()
        );
        let is_elsewhere = field == "data_offsets";
        ground.fails(&what, &[WEIGHTS, if is_elsewhere { ".weight" } else { NORM }]);
    }
    for field in ["dtype", "shape", "data_offsets"] {
        let mut header = header.clone();
        header[NORM].as_object_mut().unwrap().remove(field);
        fs::write(&bad, joined(header.to_string().as_bytes(), data)).unwrap();
        ground.fails(&format!("no {field}"), &[WEIGHTS, NORM, field]);
    }
    let twice = header.to_string();
    let twice = format!("{{\"{NORM}\":{},{}", header[NORM], &twice[1..]);
    fs::write(&bad, joined(twice.as_bytes(), data)).unwrap();
    ground.fails("a name twice", &[WEIGHTS, NORM, "twice"]);
}

#[test]
fn tensors_that_are_not_those_of_the_config() {
    let ground = Ground::new();
    let bad = ground.copy("good").join(WEIGHTS);
    let good = fs::read(&bad).unwrap();
    let (header, data) = parts(&good);
    let rename = |new: &str| {
        let mut header = header.clone();
        let info = header.as_object_mut().unwrap().remove(NORM).unwrap();
        header[new] = info;
        joined(header.to_string().as_bytes(), data)
    };
    for name in [
        "model.layers.0.norm",
        "model.layers.7.input_layernorm.weight",
        "model.layers.00.mlp.up_proj.weight",
        "x\u{1b}[2J",
    ] {
        fs::write(&bad, rename(name)).unwrap();
        ground.fails(name, &[WEIGHTS, "has no place"]);
    }
    fs::write(&bad, rename(&"x".repeat(1 << 20))).unwrap();
    ground.fails("a long name", &[WEIGHTS, "has no place"]);
    fs::write(&bad, rename("layers.0.input_layernorm.weight")).unwrap();
    ground.fails(
        "a name in two spellings",
        &[WEIGHTS, "model.layers.0.input_layernorm.weight", "which one"],
    );
    // `inspect` describes what is there, and says what is not.
    fs::write(&bad, rename("rotary_emb.inv_freq")).unwrap();
    ground.fails_in(SCORE, "missing", &[WEIGHTS, NORM, "lacks"]);
    let (code, text) = ground.run("missing", INSPECT);
    assert!(
        code == 0 && text.contains(NORM) && text.contains("cannot be loaded"),
        "{text}"
    );
    let mut other = header.clone();
    other[NORM]["shape"] = json!([4, 4]);
    fs::write(&bad, joined(other.to_string().as_bytes(), data)).unwrap();
    ground.fails("another shape", &[WEIGHTS, NORM, "[4, 4]", "[16]"]);
    other[NORM] = json!({"dtype": "I32", "shape": [16], "data_offsets": header[NORM]["data_offsets"]});
    fs::write(&bad, joined(other.to_string().as_bytes(), data)).unwrap();
    ground.fails("whole numbers", &[WEIGHTS, NORM, "I32"]);
}

#[test]
fn numbers_that_are_not_finite() {
    let ground = Ground::new();
    let bad = ground.copy("good").join(WEIGHTS);
    let good = fs::read(&bad).unwrap();
    let (header, data) = parts(&good);
    let at = good.len() - data.len();
    for name in [
        NORM,
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.layers.1.mlp.down_proj.weight",
    ] {
        let from = at + header[name]["data_offsets"][0].as_u64().unwrap() as usize;
        for (value, count) in [(f32::NAN, 1), (f32::INFINITY, 2), (f32::NEG_INFINITY, 3)] {
            let mut bytes = good.clone();
            for number in 0..count {
                bytes[from + 4 * number..][..4].copy_from_slice(&value.to_le_bytes());
            }
            fs::write(&bad, bytes).unwrap();
            let said = format!("{count} of the");
            ground.fails_in(SCORE, name, &[WEIGHTS, name, &said, "NaN or infinite"]);
        }
    }
    let from = at + header[NORM]["data_offsets"][0].as_u64().unwrap() as usize;
    let mut bytes = good.clone();
    bytes[from..from + 4].copy_from_slice(&7e4f32.to_le_bytes());
    fs::write(&bad, bytes).unwrap();
    let device = gcpo_model::device::of_tests();
    let error = checkpoint::load(bad.parent().unwrap(), Dtype::F16, &device)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1 of the 16 numbers of model.norm.weight are beyond the range of float16"),
        "{error}"
    );
    let model = checkpoint::load(bad.parent().unwrap(), Dtype::F32, &device).unwrap();
    let to = ground.path("narrow");
    let error = checkpoint::save(
        &model,
        &GenerationConfig::from_config(model.config()),
        &to,
        Dtype::F16,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("beyond the range of float16")
    );
    assert!(!to.exists(), "half of a checkpoint is written");
    // A run loses nothing by it.
    let prompts = gcpo::config::Config::from_str("", "a.toml", &[])
        .unwrap()
        .prompts();
    let policy = gcpo::policy::Policy::load(bad.parent().unwrap(), &prompts, Dtype::F32, &device).unwrap();
    policy.save(&to, Dtype::F16).unwrap();
    assert!(
        fs::read_to_string(to.join("config.json"))
            .unwrap()
            .contains("\"dtype\": \"float32\"")
    );
}

#[test]
fn an_index_that_lies() {
    let ground = Ground::new();
    let bad = ground.copy("shards");
    let index = bad.join(INDEX);
    let good: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let first = good["weight_map"][NORM].as_str().unwrap().to_owned();
    let outside = ground.path("good").join(WEIGHTS);
    let names = [
        json!("nowhere.safetensors"),
        json!(outside),
        json!("../good/model.safetensors"),
        json!("bad/../../good/model.safetensors"),
        json!("./model.safetensors"),
        json!("."),
        json!(".."),
        json!("/"),
        json!(""),
        json!("a\0b"),
        json!(INDEX),
        json!("config.json"),
        json!("model-00001-of-00003.safetensors"),
        json!(3),
        json!(["x"]),
        Value::Null,
    ];
    for name in names {
        let mut lie = good.clone();
        lie["weight_map"][NORM] = name.clone();
        fs::write(&index, lie.to_string()).unwrap();
        ground.fails(&format!("in {name}"), &["bad/"]);
    }
    let mut lie = good.clone();
    lie["weight_map"]["model.layers.9.mlp.up_proj.weight"] = json!(first);
    fs::write(&index, lie.to_string()).unwrap();
    ground.fails(
        "a tensor too many",
        &[INDEX, "lacks model.layers.9.mlp.up_proj.weight"],
    );
    lie["weight_map"] = good["weight_map"].clone();
    lie["weight_map"].as_object_mut().unwrap().remove(NORM);
    fs::write(&index, lie.to_string()).unwrap();
    ground.fails("a tensor too few", &[INDEX, NORM, "not listed"]);
    let twice = good.to_string().replacen(
        &format!("\"{NORM}\":"),
        &format!("\"{NORM}\":\"x\",\"{NORM}\":"),
        1,
    );
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"weight_map": []}"#,
        r#"{"weight_map": null}"#,
        "\u{feff}{}",
        &twice,
    ] {
        fs::write(&index, text).unwrap();
        ground.fails(text, &[INDEX]);
    }
    fs::write(&index, r#"{"weight_map": {}}"#).unwrap();
    ground.fails_in(SCORE, "an empty map", &["bad lacks"]);
    fs::remove_file(&index).unwrap();
    ground.fails("no index", &["bad holds neither"]);
    let pickled = index.with_file_name("pytorch_model.bin");
    fs::write(&pickled, "").unwrap();
    ground.fails(
        "pickled weights",
        &["bad holds neither", "save_pretrained('bad')"],
    );
    fs::remove_file(&pickled).unwrap();
}

#[test]
fn what_is_no_file_or_an_empty_one() {
    let ground = Ground::new();
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 6] = [
        ("a pipe", |path| {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("/dev/zero", |path| symlink("/dev/zero", path).unwrap()),
        ("/dev/null", |path| symlink("/dev/null", path).unwrap()),
        ("itself", |path| symlink(path, path).unwrap()),
        ("nothing", |path| fs::write(path, "").unwrap()),
    ];
    let shard = "model-00002-of-00003.safetensors";
    for (good, file) in [
        ("good", "config.json"),
        ("good", WEIGHTS),
        ("shards", INDEX),
        ("shards", shard),
    ] {
        for (what, spoil) in spoil {
            let path = ground.copy(good).join(file);
            fs::remove_file(&path).unwrap();
            spoil(&path);
            let lost = what == "itself" && [WEIGHTS, INDEX].contains(&file);
            ground.fails(&format!("{file} is {what}"), &[if lost { "bad" } else { file }]);
        }
    }
    for (what, spoil) in spoil {
        let path = ground.copy("good").join("generation_config.json");
        fs::remove_file(&path).unwrap();
        spoil(&path);
        ground.fails_in(GENERATE, what, &["generation_config.json"]);
    }
    let sparse = fs::File::create(ground.copy("good").join("config.json")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    ground.fails("a config of a terabyte", &["config.json", "MiB"]);
}
