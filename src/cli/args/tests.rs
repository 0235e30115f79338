//! What a command line parses to, and what it refuses.

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::read::When;
use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split_whitespace().map(Into::into))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn nothing_is_the_quickstart_with_a_runs_options() {
    let cli = parse("gcpo --set train.max_steps=2 --set seed=1 --run-dir r --device cpu").unwrap();
    assert!(cli.command.is_none());
    assert_eq!(cli.quickstart.sets, ["train.max_steps=2", "seed=1"]);
    assert_eq!(cli.quickstart.run_dir, Some("r".into()));
    assert_eq!(parse("gcpo").unwrap().quickstart.device.device, DeviceSpec::Auto);
    let error = parse("gcpo --set seed=1 train a.toml").unwrap_err().to_string();
    assert!(error.contains("--set stands before `train`"), "{error}");
}

#[test]
fn training_takes_a_config_and_a_runs_options() {
    for name in ["train", "sft"] {
        let cli = parse(&format!("gcpo {name} a.toml --set a=1 --resume --device wgpu:1")).unwrap();
        let Some(Command::Train(args) | Command::Sft(args)) = cli.command else {
            panic!("{name}")
        };
        assert_eq!(args.config, PathBuf::from("a.toml"));
        assert_eq!(args.run.resume, Some(None));
        assert_eq!(args.run.device.device.to_string(), "wgpu:1");
    }
    let Some(Command::Train(args)) = parse("gcpo train a.toml --resume runs/x").unwrap().command else {
        panic!()
    };
    assert_eq!(args.run.resume, Some(Some("runs/x".into())));
}

#[test]
fn every_line_of_the_contract_parses() {
    for line in [
        "gcpo sweep a.toml b.toml --grid objective.alpha=1,2 --grid seed=1 --seeds 3 --out o --json",
        "gcpo sweep a.toml --baseline a,alpha=1 --dry-run --set train.max_steps=2 --device cpu",
        "gcpo report runs/a runs/b --out r.html --open --step 3 --step 5",
        "gcpo compare runs/a runs/b --json",
        "gcpo eval --model m --data f.jsonl --preset gsm8k --samples 4 --json",
        "gcpo eval --model m a.toml",
        "gcpo eval --model m a.toml --suite minerva=f.jsonl --out e.jsonl --resume",
        "gcpo eval --model m --suite aime24=f.jsonl --suite amc23=g.jsonl --samples 4",
        "gcpo eval --regrade e.jsonl --set grader.kind=numbers --out f.jsonl",
        "gcpo eval --compare a.jsonl b.jsonl --json",
        "gcpo generate --model m --prompt hi -n 3 --json",
        "gcpo generate --model m --input f.jsonl",
        "gcpo score --model m --input f.jsonl --json",
        "gcpo score --model m --adapter a --input f.jsonl",
        "gcpo eval --model m --adapter a a.toml",
        "gcpo generate --model m --adapter a --prompt hi",
        "gcpo merge --model m --adapter a --out o",
        "gcpo grade --gold -1 --pred -1.0",
        "gcpo grade --gold 1 --pred 1 --rule boxed --rule hashes",
        "gcpo grade --cases f.jsonl --json",
        "gcpo inspect m --batch 8 --length 512",
        "gcpo plan a.toml --set seed=1 --completion-length 9 --calibrate --json --device cpu",
        "gcpo devices --json",
        "gcpo plan a.toml --ranks 4",
        "gcpo check --device wgpu --dtype float16 --json",
        "gcpo generate --model m --prompt hi --dtype bfloat16 --device cuda",
        "gcpo bench --shape tiny --work decode",
        "gcpo bench --shape small --work step --objective grpo --group 4 --repeats 2 --json",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn what_is_missing_extra_or_wrong_is_refused() {
    for (line, kind) in [
        ("gcpo train", ErrorKind::MissingRequiredArgument),
        ("gcpo train a.toml b.toml", ErrorKind::UnknownArgument),
        ("gcpo train a.toml --device gpu", ErrorKind::ValueValidation),
        ("gcpo sweep --seeds 2", ErrorKind::MissingRequiredArgument),
        ("gcpo sweep a.toml --seeds 0", ErrorKind::ValueValidation),
        ("gcpo sweep a.toml --grid alpha", ErrorKind::ValueValidation),
        ("gcpo report runs/a", ErrorKind::MissingRequiredArgument),
        ("gcpo report --out r.html", ErrorKind::MissingRequiredArgument),
        ("gcpo compare runs/a", ErrorKind::MissingRequiredArgument),
        ("gcpo compare runs/a runs/b runs/c", ErrorKind::UnknownArgument),
        ("gcpo eval --model m", ErrorKind::MissingRequiredArgument),
        (
            "gcpo eval --model m --data f --suite s",
            ErrorKind::ArgumentConflict,
        ),
        ("gcpo eval a.toml", ErrorKind::MissingRequiredArgument),
        ("gcpo eval --compare a b --model m", ErrorKind::ArgumentConflict),
        (
            "gcpo eval --model m a.toml --resume",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "gcpo eval --model m a.toml --data f --preset gsm8k",
            ErrorKind::ArgumentConflict,
        ),
        ("gcpo generate --model m", ErrorKind::MissingRequiredArgument),
        (
            "gcpo generate --model m --prompt a --input b",
            ErrorKind::ArgumentConflict,
        ),
        (
            "gcpo generate --model m --prompt a -n 0",
            ErrorKind::ValueValidation,
        ),
        ("gcpo grade", ErrorKind::MissingRequiredArgument),
        ("gcpo grade --gold 1", ErrorKind::MissingRequiredArgument),
        (
            "gcpo grade --gold 1 --pred 1 --cases f",
            ErrorKind::ArgumentConflict,
        ),
        ("gcpo bench --shape huge --work step", ErrorKind::InvalidValue),
        (
            "gcpo bench --shape tiny --work step --objective grp",
            ErrorKind::ValueValidation,
        ),
        (
            "gcpo bench --shape tiny --work step --dtype int8",
            ErrorKind::ValueValidation,
        ),
        ("gcpo fly", ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
    }
}

#[test]
fn what_is_said_is_an_option_of_every_command() {
    for line in [
        "gcpo -q --color never devices",
        "gcpo devices --color=never --quiet",
    ] {
        let talk = parse(line).unwrap().talk;
        assert!(talk.quiet && !talk.verbose && talk.color == When::Never, "{line}");
    }
    assert!(parse("gcpo -v").unwrap().talk.verbose);
    assert!(parse("gcpo -q -v").is_err() && parse("gcpo --color sometimes").is_err());
    let of = |line: &str| {
        let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
        When::of_arguments(words.iter())
    };
    assert_eq!(of("train --color always --nonsense"), When::Always);
    assert_eq!(of("--color=never"), When::Never);
    assert_eq!(
        (of("--color"), of("--color x"), of("-- --color never")),
        (When::Auto, When::Auto, When::Auto)
    );
}
