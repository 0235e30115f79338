//! Divisors, factors and factorials.

use super::node::Rat;
use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// The largest factorial, and upper number of a binomial coefficient, that is worked out.
const MAX_FACTORIAL: i64 = 2_000;
/// Numbers under a root are taken apart by primes up to this.
const MAX_PRIME: u32 = 2_000;

/// Greatest common divisor.
pub fn common_divisor(a: &BigInt, b: &BigInt) -> BigInt {
    let (mut a, mut b) = (a.abs(), b.abs());
    while !b.is_zero() {
        let rest = &a % &b;
        a = std::mem::replace(&mut b, rest);
    }
    a
}

/// The greatest common divisor of rationals: the largest that divides both to whole numbers.
pub fn gcd(a: &Rat, b: &Rat) -> Rat {
    let numer = common_divisor(&(a.numer() * b.denom()), &(b.numer() * a.denom()));
    Rat::new(numer, a.denom() * b.denom())
}

/// The least common multiple, never negative.
pub fn lcm(a: &Rat, b: &Rat) -> Rat {
    let common = gcd(a, b);
    if common.is_zero() {
        common
    } else {
        (a * b / common).abs()
    }
}

/// `n!`, where it is small enough to work out.
pub fn factorial(n: &Rat) -> Option<BigInt> {
    let n = n.is_integer().then(|| n.numer().to_i64()).flatten()?;
    (0..=MAX_FACTORIAL)
        .contains(&n)
        .then(|| (1..=n).fold(BigInt::one(), |product, k| product * k))
}

/// `n` over `k`, where it is small enough to work out.
pub fn binomial(n: &Rat, k: &Rat) -> Option<BigInt> {
    let n = n.is_integer().then(|| n.numer().to_i64()).flatten()?;
    let k = k.is_integer().then(|| k.numer().to_i64()).flatten()?;
    if !(0..=MAX_FACTORIAL).contains(&n) || k < 0 {
        return None;
    }
    if k > n {
        return Some(BigInt::zero());
    }
    let k = k.min(n - k);
    Some((0..k).fold(BigInt::one(), |product, j| product * (n - j) / (j + 1)))
}

/// The prime factors of a positive number up to [`MAX_PRIME`], and what is left of it as one.
pub fn primes(number: &BigInt) -> Vec<(BigInt, i64)> {
    let mut found = Vec::new();
    if number.bits() <= 63 {
        let mut left = number.to_u64().unwrap_or(1);
        let mut p = 2u64;
        while p <= u64::from(MAX_PRIME) && p * p <= left {
            let mut times = 0;
            while left.is_multiple_of(p) {
                left /= p;
                times += 1;
            }
            if times > 0 {
                found.push((BigInt::from(p), times));
            }
            p += if p == 2 { 1 } else { 2 };
        }
        if left > 1 {
            // What is left may be a square of a larger prime.
            let root = (left as f64).sqrt() as u64;
            match (root.saturating_sub(1)..=root + 1).find(|r| r.checked_mul(*r) == Some(left)) {
                Some(root) => found.push((root.into(), 2)),
                None => found.push((left.into(), 1)),
            }
        }
        return found;
    }
    let mut left = number.clone();
    // A large number only by its smallest primes: each division is long.
    for p in [2u32, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37] {
        let p = BigInt::from(p);
        let mut times = 0;
        while (&left % &p).is_zero() {
            left /= &p;
            times += 1;
        }
        if times > 0 {
            found.push((p, times));
        }
    }
    if left > BigInt::one() {
        let root = left.sqrt();
        if &root * &root == left {
            found.push((root, 2));
        } else {
            found.push((left, 1));
        }
    }
    found
}
