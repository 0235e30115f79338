//! The same problem with other numbers: more to train on, where the data give the equation behind a problem.

use crate::grade::equation::{Worked, work};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};
use rand::{Rng, RngExt};

/// How often numbers are drawn until they fit. A division that comes out whole is the rare case: it needs about as
/// many draws as its divisor is large.
const TRIES: usize = 300;

/// Numbers for `equation` in place of `numbers`: each of about the same size and with as many decimals, and such that
/// every result is whole where it was, positive where it was, zero or negative where it was. With them the equation,
/// worked. `None` if none are found.
pub fn numbers(
    equation: &str,
    numbers: &[BigRational],
    rng: &mut impl Rng,
) -> Option<(Vec<BigRational>, Worked)> {
    let original = work(equation, numbers).ok()?;
    let kind = |worked: &Worked| -> Vec<(bool, bool, bool)> {
        let results = worked.results();
        results
            .iter()
            .map(|r| (r.is_integer(), r.is_positive(), r.is_negative()))
            .collect()
    };
    let kinds = kind(&original);
    (0..TRIES).find_map(|_| {
        let drawn: Vec<BigRational> = numbers.iter().map(|number| like(number, rng)).collect();
        let worked = work(equation, &drawn).ok()?;
        (drawn != numbers && kind(&worked) == kinds).then_some((drawn, worked))
    })
}

/// A number from a third to three times of this one, at least up to 9 units of its last place. What is no short
/// decimal, zero or negative stays as it is.
fn like(number: &BigRational, rng: &mut impl Rng) -> BigRational {
    let unit = [1, 10, 100]
        .into_iter()
        .map(BigInt::from)
        .find(|unit| (number * unit).is_integer());
    let units = unit
        .as_ref()
        .and_then(|unit| (number * unit).to_integer().to_u64());
    let (Some(unit), Some(units @ 1..=1_000_000_000)) = (unit, units) else {
        return number.clone();
    };
    // Even on a logarithmic scale, so that small numbers stay as frequent as they are.
    let (low, high) = ((units as f64 / 3.0).max(1.0), (units as f64 * 3.0).max(9.0));
    let drawn = low * (high / low).powf(rng.random::<f64>());
    BigRational::new((drawn.round() as u64).into(), unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grade::equation::plain;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::HashSet;

    #[test]
    fn drawn_numbers_keep_the_kind_of_every_result() {
        for (equation, given) in [
            ("/ - number0 number1 number2", "20 5 3"),
            ("- number0 * number1 number2", "25000 1500 8"),
            ("- number1 number0", "3.5 12.75"),
            ("/ number0 number1", "432 16"),
        ] {
            let given: Vec<_> = given.split(' ').map(|n| plain(n).unwrap()).collect();
            let original = work(equation, &given).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mut seen = HashSet::new();
            for _ in 0..50 {
                let (drawn, worked) = numbers(equation, &given, &mut rng).unwrap();
                assert_eq!(worked, work(equation, &drawn).unwrap());
                for (a, b) in original.results().iter().zip(worked.results()) {
                    assert_eq!(
                        (a.is_integer(), a.is_positive()),
                        (b.is_integer(), b.is_positive())
                    );
                }
                for (a, b) in given.iter().zip(&drawn) {
                    let ratio = (b / a).to_f64().unwrap();
                    assert!(
                        (0.3..=3.4).contains(&ratio) || *b <= plain("9").unwrap(),
                        "{a} {b}"
                    );
                    assert!((b * BigRational::from_integer(100.into())).is_integer());
                }
                seen.insert(drawn);
            }
            assert!(seen.len() > 30, "{equation}: {}", seen.len());
        }
    }

    #[test]
    fn where_nothing_fits_there_is_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let prime = [plain("1000003").unwrap(), plain("1000003").unwrap()];
        assert!(numbers("/ number0 number1", &prime, &mut rng).is_none());
        assert!(numbers("7", &[], &mut rng).is_none());
        assert!(numbers("nonsense", &[], &mut rng).is_none());
    }
}
