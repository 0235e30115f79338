//! Any input ends, soon, without a panic; and whatever can be read equals itself.
//!
//! Inputs are made from a seed, so a failure repeats. `GCPO_FUZZ_INPUTS` sets how many, `GCPO_FUZZ_SEED` where to
//! begin. `GCPO_FUZZ_TEXTS` names a file of cases (`{"gold", "pred", …}` a line) whose texts are mutated too. `fuzz/` holds
//! the same check for cargo-fuzz.

use gcpo_data::{Gold, Grader};
use std::time::{Duration, Instant};

/// Pieces that answers are made of, and that break readers.
const PIECES: [&str; 187] = [
    "\\frac",
    "\\frac{",
    "\\dfrac12",
    "\\sqrt",
    "\\sqrt[3]{",
    "\\boxed{",
    "\\fbox{",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "\\left(",
    "\\right)",
    "\\left.",
    "|",
    "||",
    "^",
    "_",
    "^{",
    "_{",
    "**",
    "!",
    "!!",
    "%",
    "\\%",
    "°",
    "^\\circ",
    "+",
    "-",
    "*",
    "/",
    "±",
    "\\pm",
    "\\cdot ",
    "\\times ",
    "=",
    "<",
    ">",
    "\\le ",
    "\\ne ",
    "!=",
    "\\approx ",
    "\\in ",
    "\\cup ",
    "\\cap ",
    "\\setminus ",
    ",",
    ";",
    ":",
    " and ",
    " or ",
    ".",
    "$",
    "$$",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "&",
    "\\\\",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\text{ cm}",
    "\\text{",
    "\\mathrm{e}",
    "0",
    "1",
    "2",
    "7",
    "9",
    "10",
    "12,345",
    "0.5",
    "1e9",
    "1e9999",
    "99999999999999999999",
    "x",
    "y",
    "n",
    "i",
    "e",
    "E",
    "I",
    "\\pi",
    "π",
    "\\infty",
    "oo",
    "\\sin",
    "\\log_",
    "ln",
    "\\max(",
    "gcd(",
    "\\lfloor ",
    "\\rfloor ",
    "\\sum_{k=1}^{",
    "\\int_0^",
    "dx",
    "\\lim_{x\\to ",
    "Matrix([[",
    "Integral(",
    "Interval(",
    "Union(",
    "Mod(",
    "f(",
    "factorial(",
    "binomial(",
    "\\binom",
    "\\mathbb{R}",
    "the answer is ",
    "#### ",
    "</think>",
    "é",
    "½",
    "²",
    "⁻",
    "₁",
    "１",
    "（",
    "𝑥",
    "\u{200b}",
    "\u{2126}",
    "İ",
    "ß",
    "\\color{",
    "\\color",
    "\\kern 2pt ",
    "\\kern",
    "\\hspace{",
    "\\tag{",
    "\\overset{",
    "\\therefore ",
    "\\implies ",
    "\\begin{aligned}",
    "\\end{aligned}",
    "\\begin{cases}",
    "\\end{cases}",
    "\\left\\{",
    "\\right.",
    "\\;",
    "\\ ",
    "~",
    "_345",
    "'",
    "\\text{-}",
    "\\mathrm{m/s^2}",
    "\\mathrm{",
    "\\mu ",
    "\\Omega",
    "M_\\odot",
    " km/h",
    " thousand",
    "^{\\text{th}}",
    "\\text{ or }",
    "\\land ",
    "x<1",
    "]1,2[",
    "\\mid ",
    "\\notin ",
    "The answer is ",
    "Final answer: ",
    " is the answer",
    " is wrong",
    "not ",
    "isn't ",
    "No, wait, ",
    "actually ",
    "or maybe ",
    " (in cm)",
    ", since ",
    "**",
    "`",
    "<b>",
    "Answer: ",
    "B",
    "A and ",
    "(C) ",
    "\\boxed{\\text{(D)}}",
    "forty-two",
    "minus ",
    "one hundred ",
    "no solution",
    "! ",
    "<answer>",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

/// The texts of the file that `GCPO_FUZZ_TEXTS` names; none without it.
fn texts() -> Vec<String> {
    let Some(path) = std::env::var_os("GCPO_FUZZ_TEXTS") else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(path).unwrap();
    let cases = gcpo_data::grade::cases::read(&text).unwrap();
    cases
        .into_iter()
        .flat_map(|(_, case)| [case.gold, case.pred])
        .collect()
}

/// A place between two characters.
fn place(random: &mut Random, text: &str) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One of the texts, with some of it cut out, doubled, replaced by pieces, by any character or by part of another.
fn mutated(random: &mut Random, texts: &[String]) -> String {
    let mut text = texts[random.below(texts.len())].clone();
    for _ in 0..1 + random.below(6) {
        let (a, b) = (place(random, &text), place(random, &text));
        let (from, to) = (a.min(b), a.max(b));
        let near = to.min(from + 12);
        let near = (from..=near)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(from);
        match random.below(6) {
            0 => text.replace_range(from..near, ""),
            1 => text.insert_str(from, PIECES[random.below(PIECES.len())]),
            2 => text.replace_range(from..near, PIECES[random.below(PIECES.len())]),
            3 => {
                let any = char::from_u32(random.below(0x30000) as u32).unwrap_or('\0');
                text.insert(from, any);
            }
            4 => {
                let part = text[from..to].repeat(1 + random.below(3));
                text.insert_str(to, &part);
            }
            _ => {
                let other = &texts[random.below(texts.len())];
                let (c, d) = (place(random, other), place(random, other));
                text.replace_range(from..near, &other[c.min(d)..c.max(d)]);
            }
        }
    }
    text
}

/// Real answers, cut and joined, or pieces in any order.
fn input(random: &mut Random, texts: &[String]) -> String {
    if !texts.is_empty() && random.below(4) > 0 {
        return mutated(random, texts);
    }
    const ANSWERS: [&str; 12] = [
        "\\left( 3, \\frac{\\pi}{2} \\right)",
        "x^5 - x^4 + x^3 - x^2 + x - 1",
        "\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}",
        "(0,9) \\cup (9,36)",
        "\\frac{2 \\pi c^{2} R^{2}}{\\lambda^{5}\\left[e^{h c /(\\lambda k T)}-1\\right] d^{2}}",
        "\\{1\\pm\\sqrt{5},-2\\}",
        "1,234,567.89",
        "2^{1009} \\cdot 9^{9^{9}}",
        "x = 5 \\text{ or } x \\approx 7",
        "Union(Interval.open(0, 1), {2, 3})",
        "\\sin^2(x) + \\log_{2} \\sqrt{x+1} - |y|!",
        "$1 \\le |z| < \\frac32$, where $z$ is real",
    ];
    let mut text = String::new();
    if random.below(3) == 0 {
        text.push_str(ANSWERS[random.below(ANSWERS.len())]);
        for _ in 0..random.below(4) {
            let places: Vec<usize> = text
                .char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .collect();
            let at = places[random.below(places.len())];
            match random.below(3) {
                0 => text.insert_str(at, PIECES[random.below(PIECES.len())]),
                1 => text.truncate(at),
                _ => {
                    let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
                    text.replace_range(at..end, "");
                }
            }
        }
        return text;
    }
    let repeats = if random.below(50) == 0 {
        1 + random.below(300)
    } else {
        1
    };
    for _ in 0..1 + random.below(14) {
        text.push_str(PIECES[random.below(PIECES.len())]);
    }
    text.repeat(repeats)
}

#[test]
fn any_input_ends_and_what_is_read_equals_itself() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let (inputs, seed) = (number("GCPO_FUZZ_INPUTS", 5_000), number("GCPO_FUZZ_SEED", 1));
    let grader = Grader::math();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut slowest, mut read) = (Duration::ZERO, 0);
    let mut before = "1".to_owned();
    let texts = texts();
    for _ in 0..inputs {
        let text = input(&mut random, &texts);
        let start = Instant::now();
        let _ = grader.grade(&text, "42");
        let _ = Grader::new().grade(&text, "42");
        if let Ok(gold) = Gold::read(&text) {
            read += 1;
            let _ = grader.check(&text, &gold);
            let _ = grader.check(&before, &gold);
        }
        let took = start.elapsed();
        if took > slowest {
            slowest = took;
            if took > Duration::from_millis(500) {
                let head = |text: &str| text.chars().take(80).collect::<String>();
                eprintln!("{took:?}: {:?} against {:?}", head(&text), head(&before));
            }
        }
        before = text;
    }
    eprintln!("{inputs} inputs, {read} of them answers; the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    if let Some(peak) = peak_memory_mib() {
        eprintln!("{peak} MiB at most");
        assert!(peak < 512, "{peak} MiB");
    }
    assert!(read > inputs / 50, "only {read} were answers");
}

/// The most memory that this process has held; only Linux says so.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib / 1024)
}

#[test]
fn long_and_deep_inputs_take_bounded_time() {
    let grader = Grader::math();
    let n = 100_000;
    for text in [
        "{".repeat(n),
        "\\boxed{".repeat(n),
        "\\frac{1}{".repeat(n / 9),
        "\\frac{1}{".repeat(25) + "2" + &"}".repeat(25),
        "(".repeat(30) + "x" + &")".repeat(30),
        "$".repeat(n),
        "$x$ ".repeat(n / 4),
        "\\(x\\) and ".repeat(n / 10),
        "\\text{".repeat(n / 6),
        "answer is ".repeat(n / 10),
        "9^".repeat(n / 2) + "9",
        "9^".repeat(20) + "9",
        "9!".repeat(200),
        "9".repeat(n),
        "9".repeat(9_000) + "^{9999}",
        "(x+y+z+w+1)^{64}".to_owned(),
        "(x+1)^{60}(y+1)^{60}(z+1)^{60}".to_owned(),
        "(".to_owned() + &"x+".repeat(500) + "1)^{50}",
        (0..300)
            .map(|k| format!("\\sqrt{{x_{k}+1}}+"))
            .collect::<String>()
            + "1",
        (0..400).map(|k| format!("{k},")).collect::<String>(),
        (0..400).map(|k| format!("\\sin({k}),")).collect::<String>(),
        "\\begin{pmatrix}".to_owned() + &"1&".repeat(1500) + "1\\end{pmatrix}",
        "\\sum_{k=1}^{2000}\\sum_{j=1}^{2000}\\sum_{l=1}^{2000} \\sin(k j l)".to_owned(),
        "Union(".to_owned() + &"[1,2],".repeat(300) + "[3,4])",
        "1e9999 + \\frac{1}{3^{9999}}".to_owned(),
        "\\sqrt{".repeat(25) + "1e9999" + &"}".repeat(25),
        "\\gcd(".to_owned() + &"10^{4000}+1,".repeat(100) + "7)",
        "a:b:".repeat(900) + "c",
        "\\begin{aligned}".to_owned() + &"x &= 1 \\\\ ".repeat(1_500),
        "4\\,\\mathrm{".to_owned() + &"{".repeat(n / 10),
        "4 \\mathrm{".to_owned() + &"kg\\cdot ".repeat(1_000) + "}",
        "4 \\frac{".to_owned() + &"\\frac{m}{".repeat(300),
        "x<1 \\text{ or } ".repeat(600) + "x<1",
        "x<1 \\text{ and } x>0 \\text{ or } ".repeat(300) + "x<1",
        "\\{x : ".repeat(300) + "x>1",
        "]1,2[ \\cup ".repeat(190) + "]1,2[",
        "]1,".repeat(n / 10),
        "\\int_0^1 ".repeat(30) + "1" + &" dx".repeat(30),
        "\\int_0^1 \\int_0^1 \\sin(xy) dx dy".to_owned(),
        "1 = ".repeat(1_500) + "1",
        "\\therefore ".repeat(n / 20) + "4",
        "12\\kern 2pt ".repeat(n / 20),
        "12\\,345".repeat(1_500),
        "not ".repeat(n / 4) + "42",
        "It is not 42. ".repeat(n / 20),
        "no, ".repeat(n / 4),
        "The answer is not ".repeat(n / 20) + "42",
        "The answer is 1. No wait, ".repeat(n / 30) + "42",
        "or the answer is ".repeat(n / 20) + "42",
        "42 is the answer ".repeat(n / 20),
        "42 or ".repeat(n / 6) + "42",
        "A or ".repeat(n / 5) + "B",
        "\\boxed{1} or ".repeat(n / 12),
        "\\left\\{\\begin{array}".repeat(n / 40) + "\\right.",
        "{\\rm ".repeat(n / 20),
        "4 \\mathrm{".to_owned() + &"^\\circ C".repeat(1_500) + "}",
        "1e9000000000000000000".to_owned(),
        "1e-9223372036854775807".to_owned(),
        "4 \\,\\mathrm{".to_owned() + &"{".repeat(7) + "m" + &"^{19}}".repeat(7) + "^{19}}",
        "one hundred ".repeat(n / 12),
        "(in cm) ".repeat(n / 8),
        "İ".repeat(n / 4) + "answer is 42",
        "²₁".repeat(n / 8),
    ] {
        let start = Instant::now();
        let _ = grader.grade(&text, "42");
        let _ = grader.grade("42", &text);
        let _ = grader.grade(&text, &text);
        let boxed = format!("\\boxed{{{text}}}");
        let _ = grader.grade(&boxed, "x + 1");
        let _ = grader.grade(&text, "B");
        let _ = Grader::new().grade(&text, "42");
        let took = start.elapsed();
        let head: String = text.chars().take(40).collect();
        assert!(took < Duration::from_secs(5), "{head}: {took:?}");
    }
}
