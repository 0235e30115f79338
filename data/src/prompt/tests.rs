use super::Piece::{Candidate, Integration};
use super::*;
use crate::chat::ChatOptions;
use crate::testing::{sentence_piece, shared};
use crate::{CodeProblem, Preset, Problem};

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn answer(prompts: &Prompts, question: &str) -> Vec<Piece> {
    prompts
        .render("answer", Some(question.into()), None, false)
        .unwrap()
}

fn integrate(prompts: &Prompts, question: &str, candidates: usize) -> Vec<Piece> {
    prompts
        .render("integrate", Some(question.into()), Some(candidates), false)
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
        prompts
            .render("project", Some("1+1".into()), Some(1), true)
            .unwrap(),
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

/// Rows of messages, and what TRL makes of them: in the repository, or in the file that GCPO_PROMPTS names.
#[test]
fn prompts_of_messages_are_those_of_transformers() {
    let document = match std::env::var_os("GCPO_PROMPTS") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => include_str!("../../tests/fixtures/chat_prompts.json").to_owned(),
    };
    let fixtures: serde_json::Value = serde_json::from_str(&document).unwrap();
    let options = ChatOptions {
        now: fixtures["now"].as_i64().unwrap(),
        ..ChatOptions::default()
    };
    let templates = Templates {
        answer: "{{ question }}".into(),
        ..Templates::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut same, mut others) = (0, Vec::new());
    for entry in fixtures["entries"].as_array().unwrap() {
        let name = entry["template"].as_str().unwrap();
        let source = fixtures["templates"][name].as_str().unwrap();
        let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let path = dir.path().join("row.jsonl");
        std::fs::write(&path, entry["row"].to_string()).unwrap();
        let problem = &crate::dataset::load_for(&path, Preset::found(), None)
            .unwrap()
            .problems[0];
        let rendered = ChatTemplate::new(source, name, tokens, &options)
            .map_err(|error| error.to_string())
            .and_then(|chat| {
                let prompts = Prompts {
                    chat: Some(chat),
                    ..Prompts::new(&templates, None, None).unwrap()
                };
                let pieces = prompts.render("answer", Some(problem.into()), None, false);
                pieces.map_err(|error| error.to_string())
            });
        let expected = entry["expected"].as_str().map(|expected| vec![text(expected)]);
        match rendered.as_ref().ok() == expected.as_ref() {
            true => same += 1,
            false => others.push(format!("{name}, {}: {rendered:?}\n  {expected:?}", entry["kind"])),
        }
    }
    eprintln!("{same} of {} prompts are the same", same + others.len());
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn the_three_prompts_stand_in_a_conversation() {
    let row = r#"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3?"}, {"role": "assistant", "content": "<think>"}]}"#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("row.jsonl");
    std::fs::write(&path, row.replace('\n', " ")).unwrap();
    let problem = &crate::dataset::load_for(&path, Preset::found(), None)
        .unwrap()
        .problems[0];
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    let prompts = Prompts::new(&Templates::marks(), Some(chat(source)), Some("Not said.")).unwrap();
    let render = |template, candidates, integration| {
        let pieces = prompts.render(template, Some(problem.into()), candidates, integration);
        pieces.unwrap()
    };
    let before = "<system>s<user>1<assistant>2<user><q>3?<a>";
    assert_eq!(
        render("answer", None, false),
        [text(&format!("{before}<assistant><think>"))]
    );
    // What the model wrote goes on with what was begun, so that is quoted with it.
    assert_eq!(
        render("integrate", Some(2), false),
        [
            text(&format!("{before}<think>")),
            Candidate(0),
            text("<a><think>"),
            Candidate(1),
            text("<final><assistant><think>")
        ]
    );
    assert_eq!(
        render("project", Some(1), true),
        [
            text(&format!("{before}<think>")),
            Candidate(0),
            text("<final><think>"),
            Integration,
            text("<a><assistant><think>")
        ]
    );
    let plain = Prompts::new(&Templates::plain(), None, None).unwrap();
    let error = plain.answer(problem, &sentence_piece()).unwrap_err().to_string();
    assert!(
        error.starts_with("its prompt is a list of messages, and only `prompt.style = \"chat\"` writes that"),
        "{error}"
    );
}

#[test]
fn an_instruction_is_said_behind_questions_and_not_behind_messages() {
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let of = |templates: &Templates, problem: &Problem| {
        let prompts = Prompts::new(templates, Some(chat(source)), None).unwrap();
        let pieces = prompts
            .render("answer", Some(problem.into()), None, false)
            .unwrap();
        format!("{pieces:?}")
    };
    let mut templates = Templates::default();
    let mut problem = Problem {
        question: "1+1?".into(),
        ..Problem::default()
    };
    assert!(of(&templates, &problem).contains("1+1?\\n\\nReason step by step"));
    problem.turns.are_given = true;
    assert_eq!(of(&templates, &problem), "[Text(\"1+1?\")]");
    templates.instructs_messages = true;
    assert!(of(&templates, &problem).contains("1+1?\\n\\nReason step by step"));
    templates.instruction.clear();
    assert_eq!(of(&templates, &problem), "[Text(\"1+1?\")]");
}

#[test]
fn arguments_of_a_row_must_be_read_by_the_template() {
    let source = "{{ enable_thinking | default('-') }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let prompts = Prompts::new(&Templates::marks(), Some(chat(source)), None).unwrap();
    let mut problem = Problem {
        question: "q".into(),
        ..Problem::default()
    };
    let render = |problem: &Problem| prompts.render("answer", Some(problem.into()), None, false);
    assert_eq!(render(&problem).unwrap(), [text("-<q>q<a>")]);
    problem
        .turns
        .chat_template_kwargs
        .insert("enable_thinking".into(), false.into());
    assert_eq!(render(&problem).unwrap(), [text("False<q>q<a>")]);
    problem
        .turns
        .chat_template_kwargs
        .insert("enable_thoughts".into(), false.into());
    let error = render(&problem).unwrap_err().to_string();
    assert!(
        error.contains("chat_template_kwargs: the chat template never reads `enable_thoughts`; it reads `enable_thinking`"),
        "{error}"
    );
}

#[test]
fn programs_are_asked_for_in_words_or_gone_on_with() {
    let row = |name: &str| {
        let row = serde_json::json!({"task_id": name, "prompt": format!("def {name}(x):\n"), "entry_point": name, "canonical_solution": "    return x\n",
            "test": "def check(c): pass"});
        CodeProblem::of_row(row.as_object().unwrap(), None).unwrap()
    };
    let code = CodeProblem {
        shots: vec![row("shown")],
        ..row("asked")
    };
    let problem = Problem {
        question: code.question(),
        code: Some(Box::new(code)),
        ..Problem::default()
    };
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    let prompts = Prompts::new(&Templates::default(), Some(chat(source)), None).unwrap();
    assert!(!prompts.continues_programs());
    let pieces = prompts
        .render("answer", Some((&problem).into()), None, false)
        .unwrap();
    let Piece::Text(said) = &pieces[0] else {
        panic!("{pieces:?}")
    };
    let shown =
        "<assistant>```python\ndef shown(x):\n    return x\n```<user>Complete the following Python function.";
    assert!(said.contains(shown), "{said}");
    assert!(
        !said.contains("step by step") && said.ends_with("def asked(x):\n```"),
        "{said}"
    );

    let prompts = Prompts::new(&Templates::plain(), None, None).unwrap();
    assert!(prompts.continues_programs());
    let pieces = prompts
        .render("answer", Some((&problem).into()), None, false)
        .unwrap();
    assert_eq!(pieces, [text("def shown(x):\n    return x\n\n\ndef asked(x):\n")]);
    assert_eq!(
        prompts.asked(&problem).unwrap(),
        Asked::Text("def shown(x):\n    return x\n\n\ndef asked(x):\n".into())
    );

    let own = Templates {
        answer: "Q: {{ question }}".into(),
        ..Templates::plain()
    };
    let prompts = Prompts::new(&own, None, None).unwrap();
    assert!(!prompts.continues_programs());
    let pieces = prompts
        .render("answer", Some((&problem).into()), None, false)
        .unwrap();
    assert!(matches!(&pieces[0], Piece::Text(said) if said.starts_with("Q: Complete the following")));
}
