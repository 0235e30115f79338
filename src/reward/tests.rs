//! Rewards together: sums, gates, and what cannot be graded.

use super::*;
use crate::config::Config;
use crate::rollout::{Contexts, Finish};

fn config(text: &str) -> Config {
    Config::from_str(text, "test.toml", &[]).unwrap()
}

fn start(text: &str) -> Result<Reward, RewardError> {
    let config = config(text);
    Reward::start(&config.grader, &config.code, &config.reward, |_| {
        unreachable!("no model")
    })
}

fn problem(id: &str, answer: &str) -> Problem {
    Problem {
        id: id.into(),
        question: "?".into(),
        answer: Some(answer.into()),
        ..Problem::default()
    }
}

/// Groups whose candidates' tokens are the letters of their texts.
fn groups(problems: &[Problem], texts: &[&[&str]]) -> Vec<Group> {
    let completion = |text: &&str| Completion {
        tokens: text.chars().map(u32::from).collect(),
        logp: Vec::new(),
        sampling_logp: Vec::new(),
        // One that ends in dots was cut.
        finish: if text.ends_with("...") {
            Finish::Length
        } else {
            Finish::Eos
        },
    };
    let groups = problems.iter().zip(texts).enumerate();
    groups
        .map(|(number, (problem, texts))| {
            let contexts = Contexts::answer_only(vec![1]).unwrap();
            let mut group = Group::new(problem.clone(), number, "q".into(), contexts);
            group.candidates = texts.iter().map(completion).map(Candidate::new).collect();
            group
        })
        .collect()
}

fn text(completion: &Completion) -> String {
    let letters = completion
        .tokens
        .iter()
        .filter_map(|&token| char::from_u32(token));
    letters.collect()
}

fn grade(rewards: &str, problems: &[Problem], texts: &[&[&str]]) -> Result<Vec<Group>, RewardError> {
    let mut groups = groups(problems, texts);
    start(rewards)?.grade(&mut groups, 1, text)?;
    Ok(groups)
}

/// What the candidates of the first group earn.
fn rewards(groups: &[Group]) -> Vec<f64> {
    groups[0].rewards().flatten().collect()
}

/// The values of a reward for the candidates of the first group.
fn values(groups: &[Group], reward: usize) -> Vec<Option<f64>> {
    let candidates = groups[0].candidates.iter();
    candidates
        .map(|candidate| candidate.scores[reward].value)
        .collect()
}

#[test]
fn without_any_it_is_accuracy() {
    let problems = [problem("a", "4"), problem("b", "\\frac{1}{2}")];
    let texts: [&[&str]; 2] = [&["it is 4", "it is 5"], &["\\boxed{0.5}", ""]];
    let graded = grade("", &problems, &texts).unwrap();
    for group in &graded {
        assert_eq!(group.rewards().collect::<Vec<_>>(), [Some(1.0), Some(0.0)]);
        assert_eq!(group.candidates[0].scores.len(), 1);
    }
    assert_eq!(graded[1].candidates[0].text, texts[1][0]);
    assert_eq!(values(&graded, 0), [Some(1.0), Some(0.0)]);
    let mut alone = groups(&problems, &texts);
    let mut reward = Reward::accuracy(&config("").grader);
    reward.grade(&mut alone, 1, text).unwrap();
    assert_eq!(reward.labels(), ["accuracy"]);
    assert_eq!(rewards(&alone), rewards(&graded));
}

#[test]
fn a_format_gates_accuracy_and_the_cosine_and_adds_nothing() {
    let rewards_text = "[[reward]]\nname = \"accuracy\"\ncorrect = 2\nwrong = -1\n[[reward]]\nname = \"format\"\n\
        [[reward]]\nname = \"length\"\nstyle = \"cosine\"\nmax_length = 100\nweight = 10";
    let texts: [&[&str]; 1] = [&["\\boxed{4}", "4", "\\boxed{5}", "5"]];
    let graded = grade(rewards_text, &[problem("a", "4")], &texts).unwrap();
    let [accuracy, format, length] = [0, 1, 2].map(|reward| values(&graded, reward));
    assert_eq!(accuracy, [Some(2.0), Some(-1.0), Some(-1.0), Some(-1.0)]);
    assert_eq!(format, [Some(1.0), Some(0.0), Some(1.0), Some(0.0)]);
    for (at, sign) in [1.0, -1.0, -1.0, -1.0].into_iter().enumerate() {
        let value = length[at].unwrap();
        assert!(value * sign > 0.0, "{at}: {value}");
        let sum = accuracy[at].unwrap() + 10.0 * value;
        assert_eq!(rewards(&graded)[at], sum);
    }
}

#[test]
fn a_format_that_does_not_gate_adds_its_weight() {
    let rewards_text = "[[reward]]\nname = \"accuracy\"\n[[reward]]\nname = \"format\"\ngates = false\nweight = 0.25\n\
        [[reward]]\nname = \"repetition\"\nngram_size = 1\nweight = 0\n\
        [[reward]]\nname = \"length\"\nlabel = \"long\"\nmax_length = 10\ncache = 5\nweight = 2";
    let texts: [&[&str]; 1] = [&["\\boxed{4}", "4", "5", "\\boxed{}"]];
    let graded = grade(rewards_text, &[problem("a", "4")], &texts).unwrap();
    // 9 letters of 10 with a cache of 5: -0.8 twice; 8 letters: -0.6.
    let expected = [1.0 + 0.25 - 1.6, 1.0, 0.0, -1.2];
    for (found, expected) in rewards(&graded).into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{:?}", rewards(&graded));
    }
    let reward = start(rewards_text).unwrap();
    assert_eq!(reward.labels(), ["accuracy", "format", "repetition", "long"]);
}

/// The quickstart's own, an early box, an open thought: each is right where it is graded as it stands.
#[test]
fn what_was_cut_is_wrong_and_has_no_form() {
    let texts: [&[&str]; 1] = [&["\\boxed{4}", "\\boxed{4}...", "<think>it is 4...", "4_1_# 4..."]];
    for (format, forms) in [
        ("", None),
        (
            "[[reward]]\nname = \"format\"\ngates = false",
            Some([1.0, 0.0, 0.0, 0.0]),
        ),
    ] {
        let rewards_text = format!("[[reward]]\nname = \"accuracy\"\n{format}");
        let graded = grade(&rewards_text, &[problem("a", "4")], &texts).unwrap();
        assert_eq!(values(&graded, 0), [Some(1.0), Some(0.0), Some(0.0), Some(0.0)]);
        if let Some(forms) = forms {
            assert_eq!(values(&graded, 1), forms.map(Some));
        }
    }
    let as_it_stands =
        "[grader]\nunfinished = \"grade\"\n[[reward]]\nname = \"accuracy\"\n[[reward]]\nname = \"format\"";
    let graded = grade(as_it_stands, &[problem("a", "4")], &texts).unwrap();
    assert_eq!(values(&graded, 0), [Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
    // The same in an evaluation, which says why; a gold answer is read in any case.
    let reward = Reward::accuracy(&config("").grader);
    let verdict = reward.verdict("\\boxed{4}", Finish::Length, "a", "4").unwrap();
    assert_eq!((verdict.correct, verdict.answer), (false, None));
    assert!(
        reward
            .verdict("\\boxed{4}", Finish::Stop, "a", "4")
            .unwrap()
            .correct
    );
    assert!(reward.verdict("x", Finish::Length, "a", "").is_err());
    // A curve that asks for a right answer gets none.
    let cosine = "[[reward]]\nname = \"length\"\nstyle = \"cosine\"\nmax_length = 100";
    let graded = grade(cosine, &[problem("a", "4")], &texts).unwrap();
    assert_eq!(
        rewards(&graded)
            .iter()
            .map(|reward| *reward > 0.0)
            .collect::<Vec<_>>(),
        [true, false, false, false]
    );
}

#[test]
fn rewards_without_meaning_are_refused() {
    let refused = |text: &str| Config::from_str(text, "test.toml", &[]).unwrap_err().to_string();
    for (text, expected) in [
        (
            "name = \"accuracy\"\nwrong = 1",
            "`reward.0.correct`: right and wrong answers both earn 1",
        ),
        (
            "name = \"accuracy\"\nwrong = 1\ncorrect = 1.00000000001",
            "`reward.0.correct`: right and wrong answers both earn",
        ),
        (
            "name = \"accuracy\"\ncorrect = 1e20",
            "`reward.0.correct`: 100000000000000000000 is impossible",
        ),
        (
            "name = \"accuracy\"\nweight = 0",
            "`reward.0.weight`: every reward has a weight of 0",
        ),
        (
            "name = \"accuracy\"\nweight = -1e9",
            "`reward.0.weight`: -1000000000 is impossible",
        ),
        (
            "name = \"repetition\"\nmax_penalty = 0",
            "`reward.0.max_penalty`: a penalty of 0",
        ),
        (
            "name = \"length\"\nmax_length = 400",
            "`reward.0.max_length`: no completion is longer than 256 tokens",
        ),
        (
            "name = \"length\"\nstyle = \"cosine\"\nmin_value_wrong = 1\nmax_value_wrong = 1\nmin_value_correct = 1",
            "`reward.0.min_value_wrong`: all four values are 1",
        ),
    ] {
        let found = refused(&format!("[[reward]]\n{text}"));
        assert!(found.contains(expected), "{found}");
    }
    let measured = "[[reward]]\nname = \"accuracy\"\nweight = 0\n[[reward]]\nname = \"format\"";
    assert!(refused(measured).contains("every reward has a weight of 0"));
    // Each fits, their sum does not.
    let heavy = "[[reward]]\nname = \"accuracy\"\ncorrect = 10000\nweight = 10000";
    let error = grade(heavy, &[problem("a", "4")], &[&["5", "4"]])
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        "problem `a`, completion 2: the weighted sum of its rewards is 100000000, but advantages are computed in 32 bits and take \
         rewards up to ±16777216; scale it down"
    );
}

#[test]
fn no_secret_is_taken_as_an_argument_nor_said() {
    let refused = |command: &str, more: &str| {
        let text = format!("[[reward]]\nname = \"command\"\ncommand = {command}\n{more}");
        let in_file = Config::from_str(&text, "test.toml", &[]).unwrap_err().to_string();
        let set = format!("reward.0={{name = \"command\", command = {command}, {more}}}");
        let by_set = Config::from_str("", "test.toml", &[set]).unwrap_err().to_string();
        for text in [&in_file, &by_set] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(by_set.starts_with("--set reward.0=…: `reward.0."), "{by_set}");
        in_file
    };
    let text = refused("[\"python3\", \"r.py\", \"--api-key\", \"hunter2\"]", "");
    assert!(
        text.starts_with("test.toml:3: `reward.0.command`: argument 2 looks like a secret (by `--api-key`), and arguments are written"),
        "{text}"
    );
    assert!(text.contains("`env = [\"API_KEY\"]`"), "{text}");
    refused("[\"env\", \"A_TOKEN=hunter2\", \"r\"]", "");
    let text = Config::from_str(
        "",
        "test.toml",
        &["reward.0={name = \"command\", command = \"r hunter2\"}".to_owned()],
    );
    assert_eq!(
        text.unwrap_err().to_string(),
        "--set reward.0=…: `reward.0.command`: wrong type: one string; give a list in [ ], each a string"
    );
    let text = refused("[\"r\"]", "env = [\"A=hunter2\"]");
    assert!(
        text.starts_with("test.toml:4: `reward.0.env`: one of these is no name"),
        "{text}"
    );
    let text = Config::from_str(
        "[[reward]]\nname = \"command\"\ncommand = [\"r\", \"--key=${A_KEY}\"]",
        "test.toml",
        &[],
    );
    let text = text.unwrap_err().to_string();
    assert!(
        text.contains("in the place of `$A_KEY`") && text.contains("env = [\"A_KEY\"]"),
        "{text}"
    );
}

#[test]
fn a_gold_answer_that_cannot_be_read_is_named_before_anything_is_sampled() {
    let problems = [
        problem("good", "4"),
        problem("bad", ""),
        problem("worse", "\\frac{1}{"),
    ];
    let refused = |config: &Config, problems: &[Problem], skip| {
        let found = gradable(&config.grader, &config.reward, problems.to_vec(), skip);
        found.err().unwrap().to_string()
    };
    let text = refused(&config(""), &problems, false);
    assert!(text.starts_with("problem `bad` and 1 more of the 3: "), "{text}");
    assert!(text.contains("data.skip_unreadable=true"), "{text}");
    assert!(refused(&config(""), &problems[1..2], false).starts_with("none of the 1 problems"));
    let found = gradable(&config("").grader, &config("").reward, problems.to_vec(), true).unwrap();
    assert_eq!(found.problems, problems[..1]);
    assert!(found.left_out[1].to_string().starts_with("problem `worse`: "));
    let text = refused(&config(""), &problems[1..], true);
    assert!(text.starts_with("none of the 2 problems can be graded"), "{text}");
    // Whoever does not ask for an answer may have none.
    let other = config("[[reward]]\nname = \"repetition\"");
    assert_eq!(
        gradable(&other.grader, &other.reward, problems.to_vec(), false)
            .unwrap()
            .problems,
        problems
    );
    assert!(grade("[[reward]]\nname = \"repetition\"", &problems[1..2], &[&["x"]]).is_ok());
    // A form that is missing hides no unreadable answer.
    let gated = "[[reward]]\nname = \"accuracy\"\n[[reward]]\nname = \"format\"";
    let error = grade(gated, &problems[1..2], &[&["x"]]).err().unwrap();
    assert!(matches!(error, RewardError::Gold { id, .. } if id == "bad"));
}

#[test]
fn the_grader_is_the_configs() {
    let right = |grader: &str, text: &str, gold: &str| {
        let reward = Reward::accuracy(&config(grader).grader);
        reward.verdict(text, Finish::Eos, "a", gold).unwrap().correct
    };
    let numbers = "[grader]\nkind = \"numbers\"";
    let expressions = "[grader]\nkind = \"numbers\"\nexpressions = true";
    for (text, by_math, by_numbers, by_expressions) in [
        ("#### 14", true, true, true),
        ("#### 2 * 7", true, false, true),
        ("\\boxed{\\frac{28}{2}}", true, true, true),
        ("\\boxed{15}", false, false, false),
    ] {
        assert_eq!(right("", text, "14"), by_math, "{text}");
        assert_eq!(right(numbers, text, "14"), by_numbers, "{text}");
        assert_eq!(right(expressions, text, "14"), by_expressions, "{text}");
    }
    // What stands in the tags is the answer.
    assert!(right("", "<think>3</think><answer>\\frac{1}{2}</answer>", "1/2"));
}

#[test]
fn answers_agree_by_the_graders_equivalence_wherever_they_were_found() {
    for rules in ["", "rules = [\"boxed\"]"] {
        let text = format!("[grader]\n{rules}");
        let reward = Reward::accuracy(&Config::from_str(&text, "a.toml", &[]).unwrap().grader);
        assert!(reward.same("\\frac{1}{2}", "0.5") && reward.same("x+1", "1+x"));
        assert!(reward.same("not readable {", "not readable {"));
        assert!(!reward.same("0.5", "0.6") && !reward.same("not readable {", "0.5"));
    }
    let strict = Config::from_str("[grader]\nrules = [\"boxed\"]", "a.toml", &[]).unwrap();
    let reward = Reward::accuracy(&strict.grader);
    let right = |text| reward.verdict(text, Finish::Stop, "p", "2").unwrap().correct;
    assert!(right("\\boxed{2}") && !right("the answer is 2"));
    let none = Config::from_str("[grader]\nkind = \"numbers\"\nrules = [\"whole\"]", "a.toml", &[]);
    let error = none.unwrap_err().to_string();
    assert!(
        error.contains("a.toml:3: `grader.rules`: no answer would ever be found"),
        "{error}"
    );
}
