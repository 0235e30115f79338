use super::*;
use crate::testing::{sentence_piece, shared};
use serde_json::json;

const MARKS: [&str; 5] = ["<pad>", "<eos>", "<q>", "<a>", "<final>"];

#[test]
fn characters_round_trip_with_spaces_and_marks() {
    let tokenizer = Tokenizer::char_level("0123456789 +=", &MARKS).unwrap();
    assert_eq!(tokenizer.vocab_size(), 5 + 1 + 13);
    for text in ["12 + 3", "  1  2 ", "<q>1+2<a>3 <final><eos>", "", "<q><q>"] {
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    assert_eq!(tokenizer.encode("<q>1<eos>", false).unwrap(), [2, 7, 1]);
    assert_eq!(tokenizer.decode(&[2, 7, 1], true).unwrap(), "1");
    assert_eq!(tokenizer.encode("1é2", false).unwrap(), [7, 5, 8]);
    assert_eq!((tokenizer.pad_id(), tokenizer.eos_id()), (Some(0), Some(1)));
    // An id without a token is no text, and takes nothing else with it.
    assert_eq!(tokenizer.decode(&[7, 19, 8], true).unwrap(), "12");
    assert!(Tokenizer::char_level("aa", &[]).is_err());
}

#[test]
fn saving_and_loading_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::char_level("ab ", &MARKS).unwrap();
    tokenizer.save(dir.path()).unwrap();
    for path in [dir.path().to_owned(), dir.path().join(TOKENIZER)] {
        let loaded = Tokenizer::load(&path).unwrap();
        assert_eq!(
            loaded.encode("<q>a b", false).unwrap(),
            tokenizer.encode("<q>a b", false).unwrap()
        );
        assert_eq!(loaded.eos_id(), Some(1));
        assert_eq!(loaded.config, tokenizer.config);
    }
    let error = Tokenizer::load(&dir.path().join("none.json"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("none.json"), "{error}");
}

#[test]
fn trained_bpe_round_trips_any_text_and_keeps_digits_single() {
    let texts: Vec<String> = (0..200)
        .map(|i| format!("There are {i} apples in the basket. <eos>"))
        .collect();
    let train = || Tokenizer::train_bpe(&texts, 280, &MARKS).unwrap();
    let tokenizer = train();
    assert_eq!(tokenizer.vocab_size(), 280);
    for text in [
        "There are 1234 apples",
        "naïve 🦙\n\n  x\t",
        "<q>12<a>",
        "I've  two  spaces ",
    ] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    let digits = tokenizer.encode("1234", false).unwrap();
    assert_eq!(digits.len(), 4);
    assert_eq!(tokenizer.encode("<pad><final>", false).unwrap(), [0, 4]);
    assert!(
        tokenizer.encode(" apples", false).unwrap().len() < 4,
        "merges were learned"
    );
    assert_eq!(
        train().inner.to_string(false).unwrap(),
        tokenizer.inner.to_string(false).unwrap()
    );
    assert!(Tokenizer::train_bpe(&texts, 200, &MARKS).is_err());
}

#[test]
fn a_text_behind_another_has_no_space_in_front() {
    let tokenizer = sentence_piece();
    let id = |token: &str| tokenizer.token_id(token).unwrap();
    assert_eq!(tokenizer.encode("7", false).unwrap(), [id("▁7")]);
    assert_eq!(tokenizer.encode_inside("7").unwrap(), [id("7")]);
    assert_eq!(tokenizer.encode_behind("Ans:", "7").unwrap(), [id("7")]);
    assert_eq!(tokenizer.encode_behind("Ans:", " 7").unwrap(), [id("▁7")]);
    // As one text these would be ▁7 alone: the tokens in front stay as they are.
    assert_eq!(tokenizer.encode_behind("A ", "7").unwrap(), [id("7")]);
    assert_eq!(
        tokenizer.encode_inside("\n7</s>").unwrap(),
        [id("<0x0A>"), id("7"), id("</s>")]
    );
    assert_eq!(
        tokenizer.first_special("\n<|end|></s>", &[]),
        Some((8, id("<|end|>")))
    );
    assert_eq!(tokenizer.first_special("A7:", &[id("7")]), Some((2, id("7"))));
    assert_eq!(tokenizer.first_special("A7:", &[]), None);
    // A byte-level or character tokenizer puts nothing in front.
    let plain = Tokenizer::char_level("ab", &MARKS).unwrap();
    assert_eq!(
        plain.encode_inside("ab").unwrap(),
        plain.encode("ab", false).unwrap()
    );
}

#[test]
fn a_token_without_a_row_is_refused_where_a_text_holds_it() {
    let tokenizer = Tokenizer::char_level("ab", &["<eos>", "<unk>"])
        .unwrap()
        .with_rows(3);
    assert_eq!(tokenizer.encode("a", false).unwrap(), [2]);
    let error = tokenizer.encode("ab", false).unwrap_err().to_string();
    assert!(
        error.contains("the text holds b, whose id 3 has no row"),
        "{error}"
    );
}

#[test]
fn a_missing_file_and_rules_that_blow_texts_up_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.model"), "x").unwrap();
    let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("no tokenizer.json in it (tokenizer.model is there")
            && error.contains("save_pretrained"),
        "{error}"
    );
    let plain = Tokenizer::char_level("ab", &MARKS).unwrap();
    let with = |normalizer: Value, decoder: Value| {
        let mut file: Value = serde_json::from_str(&plain.inner.to_string(false).unwrap()).unwrap();
        file["normalizer"] = normalizer;
        file["decoder"] = decoder;
        Tokenizer::from_bytes(file.to_string().as_bytes())
    };
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let doubles = |count: usize| vec![double.clone(); count];
    for (normalizer, decoder) in [
        (
            json!({"type": "Sequence", "normalizers": doubles(40)}),
            Value::Null,
        ),
        (Value::Null, json!({"type": "Sequence", "decoders": doubles(40)})),
    ] {
        let error = with(normalizer, decoder).unwrap_err().to_string();
        assert!(error.contains("times as long"), "{error}");
    }
    let tokenizer = with(
        json!({"type": "Sequence", "normalizers": doubles(10)}),
        Value::Null,
    )
    .unwrap();
    assert_eq!(tokenizer.encode("a", false).unwrap().len(), 1024);
    let error = tokenizer
        .encode(&"a".repeat(1 << 20), false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("shorten it"), "{error}");
    // A pattern that tries every way to fail gives up.
    let slow = json!({"type": "Replace", "pattern": {"Regex": "(a|a)+(?!a)(?=c)b"}, "content": ""});
    let started = std::time::Instant::now();
    let _ = with(slow, Value::Null).and_then(|tokenizer| tokenizer.encode(&"a".repeat(99), false));
    assert!(started.elapsed().as_secs() < 10);
}

#[test]
fn qwen2_vectors() {
    let Some(dir) = shared("data/tokenizers/qwen2") else {
        return;
    };
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let texts = std::fs::read_to_string(dir.join("qwen2.inp")).unwrap();
    let expected = std::fs::read_to_string(dir.join("qwen2.out")).unwrap();
    let mut checked = 0;
    for (text, ids) in texts.split("\n__ggml_vocab_test__\n").zip(expected.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
        checked += 1;
    }
    assert!(checked > 40, "{checked}");
    assert_eq!(
        tokenizer.encode("a<|im_end|>", false).unwrap().last(),
        Some(&151_645)
    );
    assert!(tokenizer.chat_template().unwrap().0.contains("im_start"));
    assert_eq!(tokenizer.eos_id(), tokenizer.token_id("<|endoftext|>"));
    assert!(tokenizer.prefix().is_empty());
}

#[test]
fn what_the_library_panics_at_is_an_error() {
    for part in ["decoder", "normalizer", "pre_tokenizer", "post_processor"] {
        for value in [
            "5",
            "\"x\"",
            "{\"type\":\"Sequence\"}",
            "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}",
        ] {
            let json = format!(
                "{{\"version\":\"1.0\",\"model\":{{\"type\":\"BPE\",\"vocab\":{{\"a\":0}},\"merges\":[]}},\"{part}\":{value}}}"
            );
            let error = Tokenizer::from_bytes(json.as_bytes())
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("not a tokenizer.json: "),
                "{part}: {value}: {error}"
            );
        }
    }
}

/// What transformers' AutoTokenizer makes of small tokenizers (scripts/make_tokenizer_fixtures.py).
#[test]
fn what_stands_beside_a_tokenizer_counts_as_in_transformers() {
    let fixtures: Value = serde_json::from_str(include_str!("../../tests/fixtures/tokenizers.json")).unwrap();
    let (mut failed, mut noted) = (Vec::new(), 0);
    let cases = fixtures["cases"].as_array().unwrap();
    for case in cases {
        let name = case[0].as_str().unwrap();
        let mut file = fixtures["tokenizers"][name].clone();
        file["post_processor"] = fixtures["post_processors"][case[1].as_str().unwrap()].clone();
        let mut config = fixtures["config"].as_object().unwrap().clone();
        config.extend(case[3].as_object().unwrap().clone());
        let made = Tokenizer::read(file.to_string().as_bytes(), config, case[2].as_str());
        let tokenizer = made.unwrap();
        let texts = fixtures["texts"][name.split('_').next().unwrap()]
            .as_array()
            .unwrap();
        let of = |special: bool| -> Vec<Vec<u32>> {
            let encode = |text: &Value| tokenizer.encode(text.as_str().unwrap(), special).unwrap();
            texts.iter().map(encode).collect()
        };
        let decode = |ids: &Vec<u32>| tokenizer.decode(ids, false).unwrap();
        let decoded: Vec<String> = of(false).iter().map(decode).collect();
        let found = json!({"ids": of(true), "bare": of(false), "decoded": decoded});
        let wanted = &fixtures["outcomes"][case[4].as_u64().unwrap() as usize];
        if found != *wanted {
            failed.push(format!("{case}:\n  {found}\n  not {wanted}"));
        }
        noted += usize::from(!tokenizer.notes().is_empty());
    }
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
    assert!(noted > 50, "{noted}");
}

/// What is said of a byte-level tokenizer of a class, which cuts texts by a pattern.
fn notes_of_bytes(class: &str, pattern: &str) -> String {
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split =
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let file = json!({"version": "1.0", "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}});
    let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
    let config = json!({"tokenizer_class": class}).to_string();
    tokenizer.with_config(&config).unwrap().notes().join("; ")
}

#[test]
fn a_directory_is_read_whole_and_its_tokenizer_is_written_as_it_was() {
    let [dir, again] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    // Padding is switched off here, and stays in the file; so do its spaces.
    let file = r#"{ "version":"1.0", "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "a"}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": false, "use_regex": false}, "model": {"type": "BPE", "vocab": {"a": 0, "Ġ": 1}, "merges": []} }"#;
    write(TOKENIZER, file);
    write(CONFIG, r#"{"add_prefix_space": true}"#);
    let ids = |model_type: &str| {
        write("config.json", &json!({"model_type": model_type}).to_string());
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        tokenizer.encode("a", false).unwrap()
    };
    assert_eq!((ids("llama"), ids("qwen2")), (vec![0], vec![1, 0]));
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    tokenizer.save(again.path()).unwrap();
    let saved = std::fs::read_to_string(again.path().join(TOKENIZER)).unwrap();
    assert_eq!(saved, file);
}

#[test]
fn what_is_not_followed_is_said() {
    let piece = |post: Value, config: Value| {
        let plain = Tokenizer::char_level("ab", &["<eos>", "<bos>"]).unwrap();
        let mut file: Value = serde_json::from_str(&plain.inner.to_string(false).unwrap()).unwrap();
        file["post_processor"] = post;
        let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
        tokenizer
            .with_config(&config.to_string())
            .unwrap()
            .notes()
            .join("; ")
    };
    let bos = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]}}});
    assert_eq!(
        piece(
            bos.clone(),
            json!({"add_bos_token": true, "add_eos_token": false})
        ),
        ""
    );
    assert_eq!(piece(Value::Null, json!({"add_bos_token": false})), "");
    let said = piece(Value::Null, json!({"add_bos_token": true}));
    assert!(
        said.contains("add_bos_token = true") && said.contains("puts none in front of"),
        "{said}"
    );
    let said = notes_of_bytes("GPT2TokenizerFast", r"\d");
    assert!(said.contains("cut texts by patterns of their own"), "{said}");
    assert!(notes_of_bytes("Qwen2Tokenizer", r"\d").contains("patterns of their own"));
    assert_eq!(notes_of_bytes("Qwen2Tokenizer", make::PATTERN), "");
    assert_eq!(notes_of_bytes("PreTrainedTokenizerFast", r"\d"), "");
    let said = piece(bos, json!({"add_bos_token": false, "add_eos_token": true}));
    assert!(
        said.contains("puts one in front of") && said.contains("puts none behind"),
        "{said}"
    );
}
