//! Any chat template ends, soon, without a panic, in a text of bounded length.
//!
//! Templates are made from a seed, so a failure repeats. `GCPO_FUZZ_INPUTS` sets how many, `GCPO_FUZZ_SEED` where to begin.

use gcpo_data::{ChatOptions, ChatTemplate, Message};
use std::time::{Duration, Instant};

/// Pieces of templates: what real ones hold, and what breaks engines.
const PIECES: [&str; 72] = [
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{# ",
    " #}",
    "{%- ",
    " -%}",
    "messages",
    "m.content",
    "m['role']",
    "loop.index",
    "ns.x",
    "ns.y",
    "{% for m in messages %}",
    "{% endfor %}",
    "{% for i in range(100000) %}",
    "{% for i in ns.x %}",
    "{% if m.content %}",
    "{% endif %}",
    "{% else %}",
    "{% set ns = namespace(x=[1], y='a') %}",
    "{% set ns.x = [ns.x, ns.x] %}",
    "{% set ns.y = ns.y ~ ns.y %}",
    "{% set ns.x = ns.x + ns.x %}",
    "{% set ns.x = ns.x[::-1] %}",
    "{% macro f(a) %}",
    "{% endmacro %}",
    "{{ f(f) }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{% raw %}",
    "{% endraw %}",
    "{% break %}",
    "{% continue %}",
    "'a'",
    "\"é\"",
    "'%s'",
    "'%1000000000s'",
    " % ",
    " * 10**9",
    " * 99",
    " ** 99",
    " // 0",
    " + ",
    " ~ ",
    " == ",
    " in ",
    " is defined ",
    " is iterable ",
    " not ",
    " | tojson(indent=9999999)",
    " | tojson",
    " | string",
    " | length",
    " | join('xxxxxxxx')",
    " | replace('a', 'aaaaaaaaaaaaaaaa')",
    ".center(99999999)",
    ".split()",
    ".replace('', 'aaaaaaaaaaaaaaaa')",
    ".rsplit('a', 1)",
    ".partition('a')[2]",
    "[0]",
    "[::-1]",
    "[-1:99999]",
    "(",
    ")",
    "(1, 'a')",
    "{'k': none}",
    "strftime_now('%j %Q')",
    "raise_exception('no')",
    "\u{1b}\u{f8ff}\r\n",
];

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn any_template_ends() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let (inputs, seed) = (number("GCPO_FUZZ_INPUTS", 3_000), number("GCPO_FUZZ_SEED", 1));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let messages = [
        Message::new("system", "a b"),
        Message::new("user", "What is 3+4?"),
    ];
    let (mut rendered, mut slowest) = (0, Duration::ZERO);
    for _ in 0..inputs {
        let mut source = String::new();
        for _ in 0..1 + random.below(16) {
            // Half of the pieces in places where they may mean something.
            let piece = PIECES[random.below(PIECES.len())];
            match random.below(2) == 0 && !piece.contains(['{', '}']) {
                true => source.push_str(&format!("{{{{ messages{piece} }}}}")),
                false => source.push_str(piece),
            }
        }
        let start = Instant::now();
        let template = ChatTemplate::new(&source, "fuzz", [("bos_token", "<s>")], &ChatOptions::default());
        if let Ok(text) = template.and_then(|template| template.render(&messages, true)) {
            rendered += 1;
            assert!(text.len() < 128 << 20, "{source}");
        }
        if start.elapsed() > slowest {
            slowest = start.elapsed();
            eprintln!("{slowest:?}: {source:?}");
        }
    }
    eprintln!("{inputs} templates, {rendered} of them rendered; the slowest took {slowest:?}");
    assert!(rendered > inputs / 50, "only {rendered} rendered");
    // Given up after twenty seconds, and said so.
    assert!(slowest < Duration::from_secs(25), "{slowest:?}");
}
