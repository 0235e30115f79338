//! What names mean: functions, constants, letters, units.

use super::node::{Const, Relation};

/// Names of functions, as written and as SymPy calls them. Both `\sin` and `sin` are looked up here.
const FUNCTIONS: [(&str, &str); 72] = [
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("tg", "tan"),
    ("cot", "cot"),
    ("ctg", "cot"),
    ("cotg", "cot"),
    ("sec", "sec"),
    ("csc", "csc"),
    ("cosec", "csc"),
    ("arcsin", "asin"),
    ("arccos", "acos"),
    ("arctan", "atan"),
    ("arctg", "atan"),
    ("arccot", "acot"),
    ("arcsec", "asec"),
    ("arccsc", "acsc"),
    ("asin", "asin"),
    ("acos", "acos"),
    ("atan", "atan"),
    ("acot", "acot"),
    ("asec", "asec"),
    ("acsc", "acsc"),
    ("sinh", "sinh"),
    ("cosh", "cosh"),
    ("tanh", "tanh"),
    ("coth", "coth"),
    ("sech", "sech"),
    ("csch", "csch"),
    ("arcsinh", "asinh"),
    ("arccosh", "acosh"),
    ("arctanh", "atanh"),
    ("arsinh", "asinh"),
    ("arcosh", "acosh"),
    ("artanh", "atanh"),
    ("asinh", "asinh"),
    ("acosh", "acosh"),
    ("atanh", "atanh"),
    ("ln", "ln"),
    ("log", "log"),
    ("lg", "log"),
    ("exp", "exp"),
    ("max", "Max"),
    ("min", "Min"),
    ("Max", "Max"),
    ("Min", "Min"),
    ("gcd", "gcd"),
    ("lcm", "lcm"),
    ("ceil", "ceiling"),
    ("ceiling", "ceiling"),
    ("floor", "floor"),
    ("Abs", "Abs"),
    ("abs", "Abs"),
    ("sqrt", "sqrt"),
    ("cbrt", "cbrt"),
    ("factorial", "factorial"),
    ("binomial", "binomial"),
    ("Mod", "Mod"),
    ("det", "det"),
    ("sgn", "sign"),
    ("sign", "sign"),
    ("Re", "re"),
    ("Im", "im"),
    ("arg", "arg"),
    ("deg", "deg"),
    ("dim", "dim"),
    ("ker", "ker"),
    ("tr", "tr"),
    ("rank", "rank"),
    ("sup", "sup"),
    ("inf", "inf"),
    ("Pr", "Pr"),
];

/// The function of this name.
pub fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, is)| *is)
}

/// Whether the argument of a function may follow without brackets, as in `\sin x`.
pub fn takes_bare_argument(function: &str) -> bool {
    !matches!(function, "Mod" | "binomial" | "factorial" | "sqrt" | "cbrt")
}

/// The inverse that `\sin^{-1}` means.
pub fn inverse(function: &str) -> Option<&'static str> {
    Some(match function {
        "sin" => "asin",
        "cos" => "acos",
        "tan" => "atan",
        "cot" => "acot",
        "sec" => "asec",
        "csc" => "acsc",
        "sinh" => "asinh",
        "cosh" => "acosh",
        "tanh" => "atanh",
        _ => return None,
    })
}

/// Greek letters: names and signs.
const GREEK: [(&str, char); 40] = [
    ("alpha", 'α'),
    ("beta", 'β'),
    ("gamma", 'γ'),
    ("delta", 'δ'),
    ("epsilon", 'ϵ'),
    ("varepsilon", 'ε'),
    ("zeta", 'ζ'),
    ("eta", 'η'),
    ("theta", 'θ'),
    ("vartheta", 'ϑ'),
    ("iota", 'ι'),
    ("kappa", 'κ'),
    ("lambda", 'λ'),
    ("mu", 'μ'),
    ("nu", 'ν'),
    ("xi", 'ξ'),
    ("rho", 'ρ'),
    ("varrho", 'ϱ'),
    ("sigma", 'σ'),
    ("varsigma", 'ς'),
    ("tau", 'τ'),
    ("upsilon", 'υ'),
    ("phi", 'ϕ'),
    ("varphi", 'φ'),
    ("chi", 'χ'),
    ("psi", 'ψ'),
    ("omega", 'ω'),
    ("Gamma", 'Γ'),
    ("Delta", 'Δ'),
    ("Theta", 'Θ'),
    ("Lambda", 'Λ'),
    ("Xi", 'Ξ'),
    ("Pi", 'Π'),
    ("Sigma", 'Σ'),
    ("Phi", 'Φ'),
    ("Psi", 'Ψ'),
    ("Omega", 'Ω'),
    ("hbar", 'ℏ'),
    ("ell", 'ℓ'),
    ("mho", '℧'),
];

/// The name of the Greek letter (or the like) that this command or sign is.
pub fn letter(name: &str) -> Option<&'static str> {
    if let Some((name, _)) = GREEK.iter().find(|(known, _)| *known == name) {
        return Some(name);
    }
    let mut chars = name.chars();
    let (c, None) = (chars.next()?, chars.next()) else {
        return None;
    };
    GREEK.iter().find(|(_, sign)| *sign == c).map(|(name, _)| *name)
}

/// Commands that are symbols of their own, and what they are called.
pub fn symbol_command(name: &str) -> Option<&'static str> {
    Some(match name {
        "angle" | "measuredangle" => "∠",
        "triangle" => "△",
        "partial" => "∂",
        "nabla" => "∇",
        "odot" => "⊙",
        "oplus" => "⊕",
        "prime" => "′",
        "ldots" | "cdots" | "dots" | "vdots" | "ddots" | "dotsc" | "dotsb" => "…",
        "checkmark" => "✓",
        "square" | "Box" | "blacksquare" | "qed" => "□",
        "bullet" => "•",
        "dagger" => "†",
        "aleph" => "ℵ",
        _ => return None,
    })
}

/// The constant of this command, word or sign.
pub fn constant(name: &str) -> Option<Const> {
    Some(match name {
        "pi" | "π" => Const::Pi,
        "infty" | "infinity" | "Infinity" | "oo" | "∞" => Const::Infinity,
        "exponentialE" => Const::E,
        "imaginaryI" => Const::I,
        _ => return None,
    })
}

/// The relation of this command or sign.
pub fn relation(name: &str) -> Option<Relation> {
    Some(match name {
        "=" | "equiv" | "≡" | "triangleq" => Relation::Equal,
        "approx" | "sim" | "simeq" | "cong" | "≈" | "doteq" => Relation::Approx,
        "ne" | "neq" | "≠" => Relation::NotEqual,
        "<" | "lt" => Relation::Less,
        "le" | "leq" | "leqslant" | "≤" | "⩽" | "leqq" => Relation::LessEqual,
        ">" | "gt" => Relation::Greater,
        "ge" | "geq" | "geqslant" | "≥" | "⩾" | "geqq" => Relation::GreaterEqual,
        "in" | "∈" => Relation::In,
        "subset" | "subseteq" | "⊂" | "⊆" => Relation::Subset,
        "notin" | "∉" => Relation::Other('∉'),
        "to" | "rightarrow" | "→" | "longrightarrow" | "mapsto" => Relation::Other('→'),
        "Rightarrow" | "implies" | "⇒" | "Longrightarrow" => Relation::Other('⇒'),
        "iff" | "Leftrightarrow" | "⇔" => Relation::Other('⇔'),
        "mid" => Relation::Other('∣'),
        "parallel" | "∥" => Relation::Other('∥'),
        "perp" | "⊥" => Relation::Other('⊥'),
        "propto" | "∝" => Relation::Other('∝'),
        "ll" => Relation::Other('≪'),
        "gg" => Relation::Other('≫'),
        _ => return None,
    })
}

/// Accents: they belong to the name of what they stand on.
pub fn accent(name: &str) -> Option<&'static str> {
    Some(match name {
        "overline" | "bar" => "bar",
        "hat" | "widehat" => "hat",
        "vec" | "overrightarrow" => "vec",
        "tilde" | "widetilde" => "tilde",
        "dot" => "dot",
        "ddot" => "ddot",
        _ => return None,
    })
}

/// Commands with a meaning that no other table has.
const OTHERS: [&str; 57] = [
    "land",
    "lor",
    "wedge",
    "vee",
    "frac",
    "dfrac",
    "tfrac",
    "cfrac",
    "sfrac",
    "nicefrac",
    "binom",
    "dbinom",
    "tbinom",
    "choose",
    "sqrt",
    "cdot",
    "times",
    "div",
    "ast",
    "pm",
    "mp",
    "cup",
    "cap",
    "setminus",
    "backslash",
    "emptyset",
    "varnothing",
    "mathbb",
    "R",
    "sum",
    "prod",
    "int",
    "lim",
    "bmod",
    "pmod",
    "mod",
    "circ",
    "degree",
    "textdegree",
    "lbrace",
    "rbrace",
    "lbrack",
    "rbrack",
    "lgroup",
    "rgroup",
    "vert",
    "lvert",
    "rvert",
    "Vert",
    "lVert",
    "rVert",
    "lfloor",
    "rfloor",
    "lceil",
    "rceil",
    "not",
    "over",
];
/// Corners that hold something.
const CORNERS: [&str; 6] = ["ulcorner", "urcorner", "llcorner", "lrcorner", "langle", "rangle"];

/// Whether a command has a meaning here, so that it is not taken apart.
pub fn is_command(name: &str) -> bool {
    OTHERS.contains(&name)
        || CORNERS.contains(&name)
        || function(name).is_some()
        || letter(name).is_some()
        || symbol_command(name).is_some()
        || constant(name).is_some()
        || relation(name).is_some()
        || accent(name).is_some()
}

/// Words that end a statement: what follows comments on it.
pub fn is_comment(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "where"
            | "for"
            | "with"
            | "if"
            | "when"
            | "such"
            | "because"
            | "since"
            | "provided"
            | "as"
            | "which"
            | "that"
    )
}

/// Whether a plain word has a meaning here.
pub fn is_known_word(word: &str) -> bool {
    const OTHERS: [&str; 15] = [
        "EmptySet",
        "Reals",
        "Integers",
        "Naturals",
        "Complexes",
        "True",
        "False",
        "Interval",
        "Matrix",
        "FiniteSet",
        "and",
        "or",
        "mod",
        "percent",
        "degrees",
    ];
    function(word).is_some()
        || constant(word).is_some()
        || letter(word).is_some()
        || accent(word).is_some()
        || OTHERS.contains(&word)
}
