//! The lists of sections: `[[reward]]` and `[[eval.suite]]`.

use gcpo_data::dataset::Suite;

use super::*;
use crate::reward::RewardKind;
use crate::source::Preset;

const REWARDS: &str = r#"[[reward]]
name = "accuracy"
correct = 2

[[reward]]
name = "length"
max_length = 100
weight = 0.5
"#;

#[test]
fn rewards_are_a_list_that_is_accuracy_by_default() {
    let config = read("", &[]).unwrap();
    let [reward] = &config.reward[..] else {
        panic!("{:?}", config.reward)
    };
    let RewardKind::Accuracy(accuracy) = &reward.kind else {
        panic!("{reward:?}")
    };
    assert_eq!((reward.weight, accuracy.correct, accuracy.wrong), (1.0, 1.0, 0.0));
    assert_eq!(read("reward = []", &[]).unwrap().reward, config.reward);
    let config = read(
        REWARDS,
        &[
            "reward.1.weight=2",
            "reward.2.name=repetition",
            "reward.2.label=again",
        ],
    )
    .unwrap();
    let labels: Vec<_> = config.reward.iter().map(|reward| &reward.label).collect();
    assert_eq!(labels, ["accuracy", "length", "again"]);
    let text = config.to_toml();
    assert!(
        text.contains("style = \"soft_overlong\"\ncache = 20\nlabel = \"length\"\nweight = 2.0"),
        "{text}"
    );
    assert!(
        text.contains("ngram_size = 3\nmax_penalty = -1.0\nlabel = \"again\""),
        "{text}"
    );
    assert_eq!(read(&text, &[]).unwrap().to_toml(), text);
    // Each reward is complete with its defaults, which are those that the keys' documentation states.
    for (sets, lines) in [
        (&["reward.0.name=format"][..], "style = \"boxed\"\ngates = false"),
        (
            &["reward.0.name=length"],
            "max_length = 256\nstyle = \"soft_overlong\"\ncache = 51",
        ),
        (
            &["reward.0.name=length", "reward.0.style=cosine"],
            "max_length = 256\nstyle = \"cosine\"\nmin_value_wrong = -1.0\nmax_value_wrong = -0.5\n\
             min_value_correct = 0.5\nmax_value_correct = 1.0",
        ),
        (
            &["reward.0.name=repetition"],
            "ngram_size = 3\nmax_penalty = -1.0",
        ),
        (
            &["reward.0.name=command", "reward.0.command=[\"x\", \"-y\"]"],
            "command = [\"x\", \"-y\"]\nenv = []\ntimeout_secs = 60.0\nbatch_size = 64",
        ),
    ] {
        let gates = ["reward.0.gates=false"];
        let more = if lines.contains("gates") { &gates[..] } else { &[] };
        // The sets are checked as a whole, so the command may come after its name.
        let text = read("", &[sets, more].concat()).unwrap().to_toml();
        assert!(text.contains(lines), "{lines} is not in\n{text}");
    }
}

#[test]
fn a_wrong_reward_names_its_line() {
    let with = |more: &str| error(&format!("{REWARDS}{more}"), &[]);
    for (more, expected) in [
        (
            "[[reward]]\nname = \"acuracy\"",
            "configs/a.toml:10: `reward.2.name`: \"acuracy\" is not one of its values; did you mean \"accuracy\"? \
             It takes \"accuracy\", \"format\", \"length\", \"repetition\", \"command\", \"python\", \"code\", \"model\"",
        ),
        (
            "[[reward]]\nname = \"repetition\"\nngram_sise = 3",
            "configs/a.toml:11: `reward.2.ngram_sise`: no such key; did you mean `reward.2.ngram_size`?",
        ),
        (
            "[[reward]]\nname = \"repetition\"\ncache = 3",
            "configs/a.toml:11: `reward.2.cache`: `repetition` has no such key; it belongs to `length` of style \
             \"soft_overlong\"; remove it; `repetition` takes name, ngram_size, max_penalty, label, weight",
        ),
        (
            "style = \"cosine\"\ncache = 3",
            "configs/a.toml:10: `reward.1.cache`: `length` of style \"cosine\" has no such key; it belongs to `length` of style \
             \"soft_overlong\"; remove it; `length` of style \"cosine\" takes name, max_length, style, min_value_wrong, max_value_wrong, \
             min_value_correct, max_value_correct, label, weight",
        ),
        (
            "style = \"boxed\"",
            "configs/a.toml:9: `reward.1.style`: \"boxed\" is not one of its values; it takes \"soft_overlong\", \"cosine\"",
        ),
        (
            "[[reward]]\nname = \"length\"",
            "configs/a.toml:10: `reward.2.name`: there is another reward called \"length\"; give one of them a `label` of its \
             own, or remove it",
        ),
        (
            "[[reward]]\nweight = 2",
            "configs/a.toml:9: `reward.2.name`: it must be given; add `name = …`",
        ),
        (
            "[[reward]]\nname = \"command\"",
            "configs/a.toml:9: `reward.2.command`: it must be given; add the program and its arguments, such as `command = \
             [\"python3\", \"reward.py\"]`",
        ),
        (
            "[[reward]]\nname = \"format\"\nweight = 0.5",
            "configs/a.toml:11: `reward.2.weight`: a format that gates earns nothing that could be weighed; remove the key, or \
             set its `gates = false`",
        ),
        (
            "cache = 101",
            "configs/a.toml:9: `reward.1.cache`: 101 is more than the 100 of `max_length`; give less",
        ),
        (
            "[[reward]]\nname = \"repetition\"\nmax_penalty = 1",
            "configs/a.toml:11: `reward.2.max_penalty`: a penalty above 0 would reward repetition; give less than 0",
        ),
        (
            "label = \"a b\"",
            "configs/a.toml:9: `reward.1.label`: \"a b\" is no name for a metric; use letters, digits, _ and -",
        ),
    ] {
        assert_eq!(with(more), expected);
    }
    let text = error("[[reward]]\nname = \"format\"\n", &[]);
    assert!(
        text.contains("there is none; add a [[reward]] with name = \"accuracy\""),
        "{text}"
    );
    for (set, field) in [
        ("reward.0.correct=nan", "reward.0.correct"),
        ("reward.1.weight=inf", "reward.1.weight"),
        ("reward.1.max_length=0", "reward.1.max_length"),
        ("reward.2={name=\"command\", command=[]}", "reward.2.command"),
        ("reward.2={name=\"command\", command=[\"\"]}", "reward.2.command"),
        (
            "reward.2={name=\"command\", command=[\"x\"], timeout_secs=0}",
            "reward.2.timeout_secs",
        ),
        (
            "reward.2={name=\"command\", command=[\"x\"], batch_size=0}",
            "reward.2.batch_size",
        ),
        (
            "reward.2={name=\"repetition\", ngram_size=0}",
            "reward.2.ngram_size",
        ),
    ] {
        let text = error(REWARDS, &[set]);
        assert!(text.starts_with(&format!("--set {set}: `{field}`: ")), "{text}");
    }
}

#[test]
fn a_reward_as_a_section_is_told_apart() {
    let expected = "`reward`: this is a list of sections; write its header in double brackets, `[[ ]]`, once for each \
                    entry, and the entry's keys below";
    assert_eq!(
        error("[reward]\nexpressions = true\n", &[]),
        format!("configs/a.toml:1: {expected}")
    );
    assert_eq!(
        error("", &["reward.correct=2"]),
        format!("--set reward.correct=2: {expected}")
    );
    assert_eq!(
        error(REWARDS, &["reward.correct=2"]),
        "--set reward.correct=2: `reward.correct`: `reward` is a list, whose entries have numbers; name one of `reward.0` to \
         `reward.2`, the last of which is new"
    );
    assert_eq!(
        error("", &["reward.1.name=accuracy"]),
        "--set reward.1.name=accuracy: `reward.1.name`: `reward` is a list, whose entries have numbers; begin with `reward.0`"
    );
    assert_eq!(
        error("", &["reward.0.weight=2"]),
        "--set reward.0.weight=2: `reward.0.name`: it must be given; add `name = …`"
    );
    // Entries of other lists have numbers as well.
    let config = read(
        "rollout.stop = [\"a\", \"b\"]",
        &["rollout.stop.1=c", "rollout.stop.2=d"],
    )
    .unwrap();
    assert_eq!(config.rollout.stop, ["a", "c", "d"]);
}

fn suites(text: &str) -> Result<Config, String> {
    Config::from_str(text, "a.toml", &[]).map_err(|error| error.to_string())
}

#[test]
fn a_suite_knows_its_samples_its_rows_and_where_it_is_from() {
    let text = "[eval]\nsamples = 8\n[[eval.suite]]\nname = \"aime24\"\n[[eval.suite]]\nname = \"math500\"\npath = \"m.jsonl\"\n\
                [[eval.suite]]\nname = \"mine\"\npath = \"x.csv\"\npreset = {question = \"q\", answer = \"a\"}\nsamples = 2\n";
    let config = suites(text).unwrap();
    let samples: Vec<_> = config.eval.suite.iter().map(|suite| suite.samples).collect();
    assert_eq!(samples, [16, 8, 2]);
    // An address on the hub is none of this machine's paths.
    let hub = config.eval.suite[0].path.as_ref().unwrap();
    assert_eq!(Suite::named("aime24").unwrap().hub, hub.to_str());
    assert!(config.eval.suite[1].path.as_ref().unwrap().is_absolute());
    assert_eq!(config.eval.suite[1].preset, Some(Preset::Named("math".into())));
    // Written and read again it is the same run.
    assert_eq!(suites(&config.to_toml()).unwrap().eval, config.eval);
}

#[test]
fn a_suite_that_cannot_be_is_blamed_on_its_line() {
    for (text, message) in [
        (
            "[[eval.suite]]\nname = \"amc24\"",
            "a.toml:2: `eval.suite.0.name`: no suite is called \"amc24\"; did you mean \"amc23\"?",
        ),
        (
            "[[eval.suite]]\nname = \"minerva\"",
            "a.toml:2: `eval.suite.0.name`: no file of \"minerva\" is given",
        ),
        (
            "[eval]\nnum_fewshot = 5\n[[eval.suite]]\nname = \"humaneval\"\npath = \"h\"",
            "a.toml:2: `eval.num_fewshot`: nobody says which examples are shown",
        ),
        (
            "[[eval.suite]]\nname = \"aime24\"\n[[eval.suite]]\nname = \"aime24\"",
            "a.toml:4: `eval.suite.1.name`: two suites",
        ),
        (
            "[[eval.suite]]\nname = \"x\"\npreset = \"y\"",
            "a.toml:3: `eval.suite.0.preset`: no preset is called",
        ),
        (
            "[[eval.suite]]\nname = \"aime24\"\nsamples = 0",
            "a.toml:3: `eval.suite.0.samples`: 0 is too small",
        ),
        (
            "[[eval.suite]]\nname = \"aime24\"\n[eval]\nevery = 2",
            "`eval.every`: suites are for `gcpo eval`",
        ),
    ] {
        let error = suites(text).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}
