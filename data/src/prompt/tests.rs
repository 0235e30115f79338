use super::Piece::{Candidate, Integration};
use super::*;
use crate::chat::ChatOptions;
use crate::testing::{sentence_piece, shared};

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn answer(prompts: &Prompts, question: &str) -> Vec<Piece> {
    prompts.render("answer", Some(question), None, false).unwrap()
}

fn integrate(prompts: &Prompts, question: &str, candidates: usize) -> Vec<Piece> {
    prompts
        .render("integrate", Some(question), Some(candidates), false)
        .unwrap()
}

#[test]
fn marks_are_cut_into_pieces() {
    let prompts = Prompts::new(&Templates::marks(), None, None).unwrap();
    assert_eq!(answer(&prompts, "1+1"), [text("<q>1+1<a>")]);
    assert_eq!(
        integrate(&prompts, "1+1", 2),
        [
            text("<q>1+1<a>"),
            Candidate(0),
            text("<a>"),
            Candidate(1),
            text("<final>")
        ]
    );
    assert_eq!(
        prompts.render("project", Some("1+1"), Some(1), true).unwrap(),
        [
            text("<q>1+1<a>"),
            Candidate(0),
            text("<final>"),
            Integration,
            text("<a>")
        ]
    );
    // A question is text, whatever it holds.
    assert_eq!(
        answer(&prompts, "{{ x }}\u{f8ff}"),
        [text("<q>{{ x }}\u{f8ff}<a>")]
    );
}

const TURNS: &str = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}\n<|end|>\n{% endfor %}\
                     {% if add_generation_prompt %}<s>A:{% endif %}";

fn chat(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, "a.jinja", [("bos_token", "<s>")], &ChatOptions::default()).unwrap()
}

#[test]
fn the_template_sees_the_question() {
    let source = "{% for m in messages %}{% if '3' in m.content %}[three]{% endif %}{{ m.content.split('=')[0] }}{% endfor %}";
    let prompts = Prompts::new(&Templates::marks(), Some(chat(source)), None).unwrap();
    assert_eq!(answer(&prompts, "3+1"), [text("[three]<q>3+1<a>")]);
    assert_eq!(answer(&prompts, "2+1=3"), [text("[three]<q>2+1")]);
    let mut templates = Templates::marks();
    templates.answer = "{% if '3' in question %}three{% endif %}{{ question }}".into();
    let prompts = Prompts::new(&templates, None, None).unwrap();
    assert_eq!(answer(&prompts, "3+1"), [text("three3+1")]);
    // A text may hold what stands around the markers.
    assert_eq!(
        integrate(&prompts, "\u{f8ff}0\u{f8ff}", 1),
        [text("<q>\u{f8ff}0\u{f8ff}<a>"), Candidate(0), text("<final>")]
    );
}

#[test]
fn a_target_is_what_the_model_would_write_and_ends_its_turn() {
    let tokenizer = sentence_piece();
    let spell = |ids: Vec<u32>| {
        ids.iter()
            .map(|&id| tokenizer.token(id).unwrap())
            .collect::<Vec<_>>()
    };
    let target = |prompts: &Prompts, eos: &[u32]| {
        let context = prompts.answer("7", &tokenizer).unwrap();
        spell(prompts.target(&context, "7", &tokenizer, eos).unwrap())
    };
    let turns = Prompts::new(&Templates::plain(), Some(chat(TURNS)), None).unwrap();
    // No ▁ in front, and the turn's own end, which a completion may not end with.
    assert_eq!(target(&turns, &[3, 2]), ["7", "<0x0A>", "<|end|>"]);
    assert_eq!(target(&turns, &[2]), ["7", "<0x0A>", "<|end|>", "</s>"]);
    let plain = Prompts::new(&Templates::plain(), None, None).unwrap();
    assert_eq!(target(&plain, &[2]), ["7", "</s>"]);
    let deaf = chat("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}");
    let deaf = Prompts::new(&Templates::plain(), Some(deaf), None).unwrap();
    assert_eq!(target(&deaf, &[2]), ["7", "</s>"]);
    // Texts behind a candidate have no ▁ in front either.
    let context = plain.integrate("7", 1, &tokenizer).unwrap();
    let tail = spell(context.tail().to_vec());
    assert_eq!(tail[0], "<0x0A>", "{tail:?}");
    let strict = chat(
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}\
                       {{ m.content }}{% endfor %}",
    );
    let strict = Prompts::new(&Templates::plain(), Some(strict), None).unwrap();
    let context = strict.answer("7", &tokenizer).unwrap();
    let error = strict
        .target(&context, "7", &tokenizer, &[2])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("a.jinja: the chat template does not take"),
        "{error}"
    );
}

#[test]
fn contexts_hold_the_candidates_as_sampled() {
    let prompts = Prompts::new(&Templates::marks(), None, None).unwrap();
    let tokenizer = Tokenizer::char_level("12+", &["<q>", "<a>", "<final>"]).unwrap();
    let context = prompts.project("1+2", 2, &tokenizer).unwrap();
    assert_eq!(
        context.fill(&[&[40, 41], &[42]], Some(&[43])),
        [0, 4, 6, 5, 1, 40, 41, 1, 42, 2, 43, 1]
    );
}

#[test]
fn a_bos_is_in_the_first_tokens_unless_the_chat_template_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::char_level("12+", &["<q>", "<a>", "<final>", "<s>"])
        .unwrap()
        .save(dir.path())
        .unwrap();
    let file = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let (bos, text) = (
        serde_json::json!({"SpecialToken": {"id": "<s>", "type_id": 0}}),
        serde_json::json!({"Sequence": {"id": "A", "type_id": 0}}),
    );
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
    });
    std::fs::write(&file, json.to_string()).unwrap();
    let tokenizer = Tokenizer::load(&file).unwrap();
    let context = |chat| {
        let prompts = Prompts::new(&Templates::marks(), chat, None).unwrap();
        prompts.integrate("1+2", 1, &tokenizer).unwrap()
    };
    assert_eq!(context(None).head(), [3, 0, 5, 7, 6, 1]);
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let chat = ChatTemplate::new(source, "a.jinja", [("bos_token", "<s>")], &ChatOptions::default()).unwrap();
    assert_eq!(context(Some(chat)).head(), [0, 5, 7, 6, 1]);
}

#[test]
fn default_templates_work_with_and_without_a_chat_template() {
    let plain = Prompts::new(&Templates::default(), None, None).unwrap();
    let Piece::Text(asked) = &answer(&plain, "Why?")[0] else {
        panic!()
    };
    assert!(
        asked.starts_with("Why?\n\n") && asked.ends_with("\\boxed{}."),
        "{asked}"
    );
    let source = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}{% endfor %}<|assistant|>";
    let chat = ChatTemplate::new(
        source,
        "a.jinja",
        [("eos_token", "</s>")],
        &ChatOptions::default(),
    )
    .unwrap();
    let prompts = Prompts::new(&Templates::marks(), Some(chat), Some("Be brief.")).unwrap();
    assert_eq!(
        integrate(&prompts, "1+1", 1),
        [
            text("<|system|>Be brief.<|user|><q>1+1<a>"),
            Candidate(0),
            text("<final><|assistant|>")
        ]
    );
    assert!(matches!(
        Prompts::new(&Templates::marks(), None, Some("x")),
        Err(PromptError::SystemWithoutChat)
    ));
}

#[test]
fn parts_missing_repeated_or_out_of_order_are_errors() {
    let each = "{% for c in candidates %}{{ c }}{% endfor %}";
    for (template, source, said) in [
        ("answer", "no question".to_owned(), "the question is missing"),
        (
            "answer",
            "{{ question }}{{ question }}".to_owned(),
            "the question is repeated",
        ),
        ("answer", "{{ questoin }}".to_owned(), "undefined"),
        ("answer", "{{ question".to_owned(), "line 1"),
        ("answer", "\u{f8ff}{{ question }}".to_owned(), "U+F8FF"),
        (
            "integrate",
            "{{ question }}".to_owned(),
            "candidate 0 (counted from 0) is missing",
        ),
        (
            "integrate",
            format!("{each}{{{{ question }}}}"),
            "comes where the question is due",
        ),
        (
            "integrate",
            "{{ question }}{% for c in candidates | reverse %}{{ c }}{% endfor %}".to_owned(),
            "candidate 2 (counted from 0) comes where candidate 0",
        ),
        (
            "project",
            format!("{{{{ question }}}}{each}"),
            "the integration is missing",
        ),
        (
            "project",
            format!("{{{{ question }}}}{{{{ integration }}}}{each}"),
            "the integration comes where candidate 0",
        ),
    ] {
        let mut templates = Templates::marks();
        match template {
            "answer" => templates.answer = source.clone(),
            "integrate" => templates.integrate = source.clone(),
            _ => templates.project = source.clone(),
        }
        let error = Prompts::new(&templates, None, None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("prompt.{template}: ")), "{error}");
        assert!(error.contains(said), "{source}: {error}");
    }
}

/// What is learnt behind a prompt is what transformers' conversation, as one text, has there.
#[test]
fn a_target_is_the_conversation_of_a_real_template() {
    let Some(dir) = shared("data/tokenizers/qwen2") else {
        return;
    };
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let chat = ChatTemplate::of(&tokenizer, &ChatOptions::default())
        .unwrap()
        .unwrap();
    let prompts = Prompts::new(&Templates::default(), Some(chat.clone()), Some("Be brief.")).unwrap();
    let eos = tokenizer.token_id("<|im_end|>").unwrap();
    for (question, said) in [
        ("What is 3+4?", "It is 7, so \\boxed{7}."),
        ("1\n2", " 12"),
        ("x", "\n\ny\n"),
    ] {
        let context = prompts.answer(question, &tokenizer).unwrap();
        let target = prompts.target(&context, said, &tokenizer, &[eos]).unwrap();
        let Piece::Text(asked) = &answer(&prompts, question)[0] else {
            panic!()
        };
        let whole = tokenizer
            .encode(&format!("{asked}{said}<|im_end|>\n"), false)
            .unwrap();
        let ours = [context.fill(&[], None), target].concat();
        assert!(
            whole.starts_with(&ours) && whole.len() == ours.len() + 1,
            "{question:?}"
        );
    }
}
