//! Units: what they are called, and when two differ.

/// Units by their symbol, with the words and other symbols for them in lower case, plurals without their s.
const UNITS: [(&str, &[&str]); 83] = [
    ("m", &["meter", "metre"]),
    ("cm", &["centimeter", "centimetre"]),
    ("mm", &["millimeter", "millimetre"]),
    ("km", &["kilometer", "kilometre", "kms"]),
    ("dm", &["decimeter", "decimetre"]),
    ("nm", &["nanometer", "nanometre"]),
    ("μm", &["micrometer", "micron"]),
    ("Å", &["angstrom"]),
    ("ft", &["foot", "feet"]),
    ("in", &["inch", "inche"]),
    ("yd", &["yard"]),
    ("mi", &["mile"]),
    ("ly", &["light-year"]),
    ("AU", &[]),
    ("pc", &["parsec"]),
    ("g", &["gram", "gm"]),
    ("kg", &["kilogram", "kilo"]),
    ("mg", &["milligram"]),
    ("μg", &["microgram"]),
    ("lb", &["pound", "lbs"]),
    ("oz", &["ounce"]),
    ("t", &["ton", "tonne"]),
    ("s", &["second", "sec"]),
    ("ms", &["millisecond"]),
    ("μs", &["microsecond"]),
    ("ns", &["nanosecond"]),
    ("min", &["minute"]),
    ("h", &["hour", "hr"]),
    ("day", &[]),
    ("week", &[]),
    ("month", &[]),
    ("year", &["yr"]),
    ("J", &["joule"]),
    ("kJ", &["kilojoule"]),
    ("MJ", &[]),
    ("eV", &[]),
    ("keV", &[]),
    ("MeV", &[]),
    ("GeV", &[]),
    ("cal", &["calorie"]),
    ("kcal", &[]),
    ("erg", &["ergs"]),
    ("W", &["watt"]),
    ("kW", &["kilowatt"]),
    ("MW", &[]),
    ("mW", &["milliwatt"]),
    ("N", &["newton"]),
    ("kN", &[]),
    ("dyn", &["dyne"]),
    ("V", &["volt"]),
    ("kV", &[]),
    ("mV", &[]),
    ("A", &["ampere", "amp"]),
    ("mA", &[]),
    ("Ω", &["ohm"]),
    ("kΩ", &[]),
    ("F", &["farad"]),
    ("μF", &[]),
    ("C", &["coulomb", "celsiu"]),
    ("T", &["tesla"]),
    ("K", &["kelvin"]),
    ("H", &["henry"]),
    ("Wb", &["weber"]),
    ("Pa", &["pascal"]),
    ("kPa", &[]),
    ("atm", &["atmosphere"]),
    ("mol", &["mole"]),
    ("M", &["molar"]),
    ("L", &["liter", "litre", "l"]),
    ("mL", &["milliliter", "millilitre", "ml"]),
    ("cL", &["cl"]),
    ("Hz", &["hertz"]),
    ("kHz", &[]),
    ("MHz", &[]),
    ("GHz", &[]),
    ("rad", &["radian"]),
    ("sr", &["steradian"]),
    ("degree", &["deg"]),
    ("USD", &["dollar", "buck"]),
    ("cent", &["¢"]),
    ("EUR", &["euro"]),
    ("am", &["a.m", "a.m."]),
    ("pm", &["p.m", "p.m."]),
];

/// Short symbols that may follow a number and are no known quantity.
const OTHERS: [&str; 17] = [
    "cc", "sq", "Rs", "cu", "pH", "px", "dB", "st", "kt", "bp", "Gy", "Bq", "Sv", "Da", "lm", "lx", "cd",
];

/// The symbol of a unit that a word names.
fn known(word: &str) -> Option<&'static str> {
    if let Some((symbol, _)) = UNITS.iter().find(|(symbol, _)| *symbol == word) {
        return Some(symbol);
    }
    let lower = word.to_lowercase();
    let single = lower.strip_suffix('s').unwrap_or(&lower);
    UNITS
        .iter()
        .find(|(symbol, names)| {
            *symbol == single && single.len() >= 2
                || names.iter().any(|name| *name == lower || *name == single)
        })
        .map(|(symbol, _)| *symbol)
}

pub(super) fn is_symbol(word: &str) -> bool {
    let named = |names: &[&str]| word.len() >= 2 && names.contains(&word);
    UNITS
        .iter()
        .any(|(symbol, names)| *symbol == word || named(names))
        || OTHERS.contains(&word)
}

/// A product of units with their powers, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    pub(super) factors: Vec<(&'static str, i32)>,
    /// Words among them that no table has.
    pub(super) unknown: bool,
}

impl Units {
    pub(super) fn push(&mut self, word: &str, power: i32) {
        match known(word) {
            Some(symbol) => self.factors.push((symbol, power)),
            None => self.unknown = true,
        }
    }

    /// The words of a `\text{…}`: `square feet`, `km/h`, `meters per second`.
    pub(super) fn words(&mut self, text: &str, sign: i32) {
        let (mut sign, mut power) = (sign, 1);
        for part in text.split_inclusive(['/', ' ', '\u{b7}']) {
            let word = part.trim_matches(|c: char| c.is_whitespace() || "/,;:()\u{b7}".contains(c));
            match word {
                "" => {}
                "per" => sign = -1,
                "square" | "sq" | "sq." => power = 2,
                "cubic" | "cu" | "cu." => power = 3,
                "and" | "of" | "the" => self.unknown = true,
                word => {
                    self.push(
                        if known(word).is_some() {
                            word
                        } else {
                            word.trim_end_matches('.')
                        },
                        sign * power,
                    );
                    power = 1;
                }
            }
            if part.ends_with('/') {
                sign = -1;
            }
        }
    }

    /// The sign of a currency in an answer's text.
    pub(super) fn of_currency(text: &str) -> Option<Self> {
        let sign = [("\\$", "USD"), ("€", "EUR")]
            .into_iter()
            .find(|(sign, _)| text.contains(sign))?;
        Some(Self {
            factors: vec![(sign.1, 1)],
            unknown: false,
        })
    }

    pub(super) fn sorted(mut self) -> Self {
        self.factors.sort_unstable();
        self
    }
}

/// Whether two answers stand in units that are both known and not the same: 12 cm is not 12 m.
pub(crate) fn differ(a: &[Units], b: &[Units]) -> bool {
    match (a, b) {
        ([a], [b]) => !a.unknown && !b.unknown && !a.factors.is_empty() && !b.factors.is_empty() && a != b,
        _ => false,
    }
}
