//! Signs beyond ASCII that are only another way to write what LaTeX or a keyboard has: `１２`, `¾`, `x²`, `−5`, `𝑥`.

use std::borrow::Cow;

/// The text with such signs in their plain spelling. Linear in the text; what is ASCII stays where it is.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut script = None;
    for c in text.chars() {
        if c.is_ascii() && script.is_none() {
            out.push(c);
            continue;
        }
        let raised = raised(c);
        if raised.map(|(mark, _)| mark) != script {
            if script.is_some() {
                out.push('}');
            }
            script = raised.map(|(mark, _)| mark);
            if let Some(mark) = script {
                out.push(mark);
                out.push('{');
            }
        }
        match (raised, fraction(c)) {
            (Some((_, plain)), _) => out.push(plain),
            (None, Some((numer, denom))) => {
                out.push_str("\\frac{");
                out.push_str(numer);
                out.push_str("}{");
                out.push_str(denom);
                out.push('}');
            }
            (None, None) => out.extend(one(c)),
        }
    }
    if script.is_some() {
        out.push('}');
    }
    Cow::Owned(out)
}

/// A raised or lowered sign: `^` or `_`, and the sign on the line.
fn raised(c: char) -> Option<(char, char)> {
    const ABOVE: &str = "⁰0¹1²2³3⁴4⁵5⁶6⁷7⁸8⁹9⁺+⁻-⁽(⁾)ⁿn";
    const BELOW: &str = "₀0₁1₂2₃3₄4₅5₆6₇7₈8₉9₊+₋-₍(₎)ₙn";
    for (mark, table) in [('^', ABOVE), ('_', BELOW)] {
        let mut signs = table.chars();
        while let (Some(sign), Some(plain)) = (signs.next(), signs.next()) {
            if sign == c {
                return Some((mark, plain));
            }
        }
    }
    None
}

fn fraction(c: char) -> Option<(&'static str, &'static str)> {
    Some(match c {
        '½' => ("1", "2"),
        '⅓' => ("1", "3"),
        '⅔' => ("2", "3"),
        '¼' => ("1", "4"),
        '¾' => ("3", "4"),
        '⅕' => ("1", "5"),
        '⅖' => ("2", "5"),
        '⅗' => ("3", "5"),
        '⅘' => ("4", "5"),
        '⅙' => ("1", "6"),
        '⅚' => ("5", "6"),
        '⅐' => ("1", "7"),
        '⅛' => ("1", "8"),
        '⅜' => ("3", "8"),
        '⅝' => ("5", "8"),
        '⅞' => ("7", "8"),
        '⅑' => ("1", "9"),
        '⅒' => ("1", "10"),
        '↉' => ("0", "3"),
        _ => return None,
    })
}

/// Any other sign; none where it is not seen.
fn one(c: char) -> Option<char> {
    let code = u32::from(c);
    let ascii = |code: u32| char::from_u32(code).filter(char::is_ascii);
    let digit = |zero: u32| ascii(u32::from('0') + (code - zero) % 10);
    Some(match code {
        // Nothing is seen: soft hyphens, joiners, marks of direction, the byte order mark, invisible operators.
        0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x2064 | 0xfe00..=0xfe0f | 0xfeff => return None,
        0xff01..=0xff5e => return ascii(code - 0xfee0),
        0x660..=0x669 => return digit(0x660),
        0x6f0..=0x6f9 => return digit(0x6f0),
        0x966..=0x96f => return digit(0x966),
        0x1d7ce..=0x1d7ff => return digit(0x1d7ce),
        // Letters of mathematics: upright, bold, italic, script, double-struck, …, 52 to each.
        0x1d400..=0x1d6a3 => {
            let at = (code - 0x1d400) % 52;
            return ascii(if at < 26 { 0x41 + at } else { 0x61 + at - 26 });
        }
        0xa0 | 0x2002..=0x200a | 0x202f | 0x205f | 0x3000 => ' ',
        0x2212 | 0x2010..=0x2013 | 0xfe63 => '-',
        _ => match c {
            '⁄' | '∕' => '/',
            '∶' => ':',
            'µ' => 'μ',
            '\u{2126}' => 'Ω',
            '\u{212b}' => 'Å',
            '‘' | '’' => '\'',
            '“' | '”' => '"',
            '≦' => '≤',
            '≧' => '≥',
            'ⅈ' | 'ⅉ' => 'i',
            'ⅇ' | 'ℯ' => 'e',
            '、' => ',',
            c => c,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn signs_get_their_plain_spelling() {
        for (text, wanted) in [
            ("x + 1", "x + 1"),
            ("−５．２％", "-5.2%"),
            ("2¾ and ⅒", "2\\frac{3}{4} and \\frac{1}{10}"),
            ("3⁄4", "3/4"),
            ("x²y⁻¹⁰ a₁₂²", "x^{2}y^{-10} a_{12}^{2}"),
            ("10⁸", "10^{8}"),
            ("𝑥＝𝟏𝟐 (٣)", "x=12 (3)"),
            ("5\u{200b}\u{a0}cm\u{feff}", "5 cm"),
            ("‘é’ 答案：π", "'é' 答案:π"),
        ] {
            assert_eq!(plain(text), wanted);
        }
    }
}
