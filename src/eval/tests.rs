//! What a report says of records made by hand, and what a file gives back.

use super::record::{Header, Log, Record, RecordKind, SuiteHeader, read};
use super::report::{Mean, NotPaired, SuiteReport, compare};
use crate::rollout::Finish;
use crate::run::digest::Digests;

/// Answers of a problem: each its text, right where it is the gold one.
fn problem(suite: &str, at: usize, gold: &str, answers: &[&str]) -> Vec<Record> {
    let record = |(sample, text): (usize, &&str)| Record {
        suite: suite.into(),
        problem: at,
        id: format!("{suite}-{at}"),
        kind: RecordKind::Answer,
        sample,
        gold: gold.into(),
        subject: (at < 2).then(|| "Algebra".to_owned()),
        level: None,
        completion: (*text).into(),
        answer: (!text.is_empty()).then(|| (*text).to_owned()),
        rule: None,
        by: None,
        right: *text == gold,
        tokens: 10 + sample,
        finish: Some(if text.is_empty() {
            Finish::Length
        } else {
            Finish::Eos
        }),
        tests: None,
        why: None,
        reward: None,
        rewards: serde_json::Map::new(),
    };
    answers.iter().enumerate().map(record).collect()
}

fn same(a: &str, b: &str) -> bool {
    a.trim_start_matches('0') == b.trim_start_matches('0')
}

#[test]
fn a_report_is_what_a_hand_counts() {
    let records = [
        // Right twice; the wrong ones disagree, so the majority is right.
        problem("s", 0, "1", &["1", "2", "1", "3"]),
        // Right once; two spellings of one wrong answer win.
        problem("s", 1, "1", &["1", "7", "07", ""]),
        // A tie: the earliest answer is right.
        problem("s", 2, "1", &["1", "2", "1", "2"]),
        // The same tie the other way round.
        problem("s", 3, "1", &["2", "1", "2", "1"]),
    ]
    .concat();
    let report = SuiteReport::of("s", &records, same);
    assert_eq!((report.problems, report.samples, report.too_long), (4, 4, 0));
    assert_eq!(report.shares, [0.5, 0.25, 0.5, 0.5]);
    assert!((report.pass_at_1.unwrap().mean - 0.4375).abs() < 1e-12);
    assert!((report.pass_at_1.unwrap().stderr - 0.0625).abs() < 1e-12);
    assert_eq!(Some(report.pass_at_k[&1]), report.pass_at_1);
    // Two of four right: 1 − C(2,2)/C(4,2) = 5/6; one of four: 1/2.
    assert!((report.pass_at_k[&2].mean - (3.0 * 5.0 / 6.0 + 0.5) / 4.0).abs() < 1e-12);
    assert_eq!(report.pass_at_k[&4].mean, 1.0);
    assert_eq!(report.majority.unwrap().mean, 0.5);
    assert_eq!(
        (report.length_mean, report.truncated_frac, report.no_answer_frac),
        (11.5, 1.0 / 16.0, 1.0 / 16.0)
    );
    assert_eq!(report.subjects.len(), 1);
    assert_eq!(
        (report.subjects[0].problems, report.subjects[0].pass_at_1.mean),
        (2, 0.375)
    );
    assert!(report.levels.is_empty() && report.integrated.is_none());
    let [low, high] = report.interval.unwrap();
    assert!(low <= 0.4375 && 0.4375 <= high);

    let other = SuiteReport::of("t", &problem("t", 0, "1", &["2"]), same);
    assert_eq!((other.majority, other.sampling_stderr), (None, None));
    assert_eq!(
        Mean::of(&[report.clone(), other]).unwrap().pass_at_1.mean,
        0.21875
    );
    assert!(Mean::of(&[report]).is_none());
}

#[test]
fn rewards_are_means_of_problems_and_stand_alone_without_gold_answers() {
    let with = |mut records: Vec<Record>, values: &[Option<f64>]| {
        for (record, value) in records.iter_mut().zip(values) {
            record.reward = *value;
            record.rewards =
                serde_json::Map::from_iter([("z".to_owned(), (*value).into()), ("a".to_owned(), 1.into())]);
        }
        records
    };
    let first = with(problem("s", 0, "1", &["1", "2"]), &[Some(1.0), None]);
    let second = with(problem("s", 1, "1", &["1", "2"]), &[Some(4.0), Some(0.0)]);
    let third = with(problem("s", 2, "1", &["1", "2"]), &[None, None]);
    let mut records = [first, second, third].concat();
    let report = SuiteReport::of("s", &records, same);
    assert_eq!(
        (report.pass_at_1.unwrap().mean, report.reward.unwrap().mean),
        (0.5, 1.5)
    );
    let means: Vec<(&str, f64)> = report
        .rewards
        .iter()
        .map(|(label, of)| (label.as_str(), of.unwrap().mean))
        .collect();
    assert_eq!(means, [("z", 1.5), ("a", 1.0)]);
    records.iter_mut().for_each(|record| record.gold.clear());
    let report = SuiteReport::of("s", &records, same);
    assert_eq!(
        (report.pass_at_1, report.interval, report.majority),
        (None, None, None)
    );
    assert!(report.pass_at_k.is_empty() && report.subjects.is_empty());
    assert_eq!(report.reward.unwrap().mean, 1.5);
    assert!(!serde_json::to_string(&report).unwrap().contains("pass@1"));
}

#[test]
fn what_did_not_fit_counts_as_wrong_in_every_number() {
    let mut none = problem("s", 0, "1", &[""]);
    none[0].kind = RecordKind::TooLong;
    let report = SuiteReport::of("s", &[none, problem("s", 1, "1", &["1", "1"])].concat(), same);
    assert_eq!((report.problems, report.samples, report.too_long), (2, 2, 1));
    assert_eq!(
        (report.pass_at_1.unwrap().mean, report.pass_at_k[&2].mean),
        (0.5, 0.5)
    );
    assert_eq!((report.majority.unwrap().mean, report.truncated_frac), (0.5, 0.0));
}

#[test]
fn two_runs_are_compared_problem_by_problem() {
    let first = [
        problem("s", 0, "1", &["1", "2"]),
        problem("s", 1, "1", &["2", "2"]),
        problem("s", 2, "1", &["1", "1"]),
    ]
    .concat();
    let second = [
        problem("s", 0, "1", &["1", "1"]),
        problem("s", 1, "1", &["2", "1"]),
        problem("s", 2, "1", &["2", "1"]),
    ]
    .concat();
    let found = compare(&first, &second).unwrap();
    assert_eq!(found.len(), 1);
    let s = &found[0];
    assert_eq!((s.first, s.second, s.better, s.worse), (0.5, 4.0 / 6.0, 2, 1));
    // Differences 1/2, 1/2, −1/2: mean 1/6, variance 1/3.
    assert!((s.difference.mean - 1.0 / 6.0).abs() < 1e-12);
    assert!((s.difference.stderr - 1.0 / 3.0).abs() < 1e-12);
    // The bootstrap's mean takes the values −1/2, −1/6, 1/6, 1/2; the outer two have chances 1/27 and 8/27.
    assert_eq!(s.interval, [-0.5, 0.5]);

    let more = [first.clone(), problem("t", 0, "1", &["1"])].concat();
    assert!(matches!(compare(&first, &more), Err(NotPaired::Suite(name)) if name == "t"));
    assert!(matches!(
        compare(&first, &second[..4]),
        Err(NotPaired::Count { second: 2, .. })
    ));
    let mut foreign = second.clone();
    foreign[2].gold = "3".into();
    assert!(matches!(
        compare(&first, &foreign),
        Err(NotPaired::Problem { number: 2, .. })
    ));
    let both = [second, problem("t", 0, "1", &["2"])].concat();
    let found = compare(&more, &both).unwrap();
    assert_eq!(found[2].suite, "mean");
    assert!((found[2].difference.mean - (1.0 / 6.0 - 1.0) / 2.0).abs() < 1e-12);
}

#[test]
fn a_stopped_file_goes_on_behind_its_last_whole_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/eval.jsonl");
    let config = "seed = 0\n".to_owned();
    let same_keys = |_: &str| Ok(Vec::new());
    let suite = |fingerprint: &str| SuiteHeader {
        name: "s".into(),
        data: "f".into(),
        problems: 2,
        samples: 2,
        fingerprint: fingerprint.into(),
    };
    let files = |digest: &str| Digests::from([("model.safetensors".to_owned(), digest.to_owned())]);
    let header = Header::new("m", files("f"), config.clone(), vec![suite("a")]);
    let (zero, one) = (
        problem("s", 0, "1", &["1", "2"]),
        problem("s", 1, "1", &["1", "2"]),
    );
    let mut log = Log::create(&path, &header).unwrap();
    log.write(&zero).unwrap();
    let whole_zero = std::fs::read(&path).unwrap();
    log.write(&one).unwrap();
    drop(log);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(read(&path).unwrap().1, [zero.clone(), one.clone()].concat());
    assert!(
        Log::create(&path, &header)
            .unwrap_err()
            .to_string()
            .contains("--resume")
    );

    // Cut in the middle of the second problem's second line.
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let (mut log, kept) = Log::resume(&path, &header, same_keys).unwrap();
    assert_eq!(kept, zero);
    assert_eq!(std::fs::read(&path).unwrap(), whole_zero);
    log.write(&one).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);

    let refused = |header: &Header| {
        let refused = Log::resume(&path, header, same_keys);
        refused.unwrap_err().to_string()
    };
    let other = |digest: &str, set: &str| Header::new("n", files(digest), config.clone(), vec![suite(set)]);
    let error = refused(&other("g", "a"));
    assert!(
        error.contains("another model (m, of which model.safetensors is other)"),
        "{error}"
    );
    assert!(refused(&other("f", "b")).contains("set of problems"));
    let hotter = |saved: &str| {
        assert_eq!(saved, config);
        Ok(vec!["eval.temperature".into()])
    };
    let error = Log::resume(&path, &header, hotter).unwrap_err().to_string();
    assert!(error.contains("another `eval.temperature`"), "{error}");

    // Killed while the header was written: nothing is lost, and it begins. Another's file without a line's end is left alone.
    drop(log);
    let line = whole.iter().position(|&byte| byte == b'\n').unwrap();
    for cut in [0, 7, line] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (mut log, kept) = Log::resume(&path, &header, same_keys).unwrap();
        assert_eq!(kept, []);
        log.write(&zero).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole_zero, "{cut}");
    }
    std::fs::write(&path, "words").unwrap();
    assert!(refused(&header).contains("the first line is not its header"));
    assert_eq!(std::fs::read(&path).unwrap(), b"words");

    // Lines that are gone from its midst, whole problems or not.
    let text = String::from_utf8(whole).unwrap();
    for gone in [1..3, 1..2, 2..3] {
        let lines = text.split_inclusive('\n').enumerate();
        let left: String = lines
            .filter(|(number, _)| !gone.contains(number))
            .map(|(_, line)| line)
            .collect();
        std::fs::write(&path, left).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("are missing"), "{gone:?}: {error}");
    }

    std::fs::write(&path, "{\"step\": 1}\n").unwrap();
    assert!(
        read(&path)
            .unwrap_err()
            .to_string()
            .contains("eval.jsonl:1: no evaluation")
    );
    let text = format!("{}\n{{}}\n", serde_json::to_string(&header).unwrap());
    std::fs::write(&path, text).unwrap();
    assert!(
        read(&path)
            .unwrap_err()
            .to_string()
            .contains("eval.jsonl:2: no completion")
    );
}
