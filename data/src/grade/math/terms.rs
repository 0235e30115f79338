//! Terms, sums of terms and their quotients, as plain data.

use super::integers::common_divisor;
use super::node::Rat;
use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul, One, Signed, Zero};
use std::collections::BTreeMap;

/// An exponent.
pub type Exp = Ratio<i64>;

/// The work is beyond a limit, or it has no value (a division by zero).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond;

pub type Done<T> = Result<T, Beyond>;

/// Powers of atoms, by their number in [`Atoms`], none of them zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub Vec<(u32, Exp)>);

/// A sum of terms; no coefficient is zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Poly(pub BTreeMap<Mono, Rat>);

/// A quotient of sums. The denominator is 1 or has several terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Above the line; exponents may be negative.
    pub num: Poly,
    /// Below it.
    pub den: Poly,
}

impl Poly {
    pub fn constant(value: Rat) -> Self {
        let mut poly = Self::default();
        if !value.is_zero() {
            poly.0.insert(Mono::default(), value);
        }
        poly
    }

    pub fn term(coefficient: Rat, mono: Mono) -> Self {
        let mut poly = Self::default();
        if !coefficient.is_zero() {
            poly.0.insert(mono, coefficient);
        }
        poly
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Its value, if it is a number.
    pub fn number(&self) -> Option<Rat> {
        match self.0.len() {
            0 => Some(Rat::zero()),
            1 => self.0.get(&Mono::default()).cloned(),
            _ => None,
        }
    }

    pub fn single(&self) -> Option<(&Mono, &Rat)> {
        self.0.iter().next().filter(|_| self.0.len() == 1)
    }

    pub fn insert(&mut self, mono: Mono, coefficient: Rat) {
        use std::collections::btree_map::Entry;
        match self.0.entry(mono) {
            Entry::Vacant(place) => {
                if !coefficient.is_zero() {
                    place.insert(coefficient);
                }
            }
            Entry::Occupied(mut place) => {
                *place.get_mut() += coefficient;
                if place.get().is_zero() {
                    place.remove();
                }
            }
        }
    }

    pub fn plus(mut self, other: &Poly) -> Self {
        for (mono, coefficient) in &other.0 {
            self.insert(mono.clone(), coefficient.clone());
        }
        self
    }

    pub fn scaled(&self, by: &Rat) -> Self {
        Self(self.0.iter().map(|(mono, c)| (mono.clone(), c * by)).collect())
    }

    /// The rational that divides it to coprime whole coefficients, the first of them positive; and what is left.
    pub fn primitive(&self) -> (Rat, Poly) {
        let mut numer = BigInt::zero();
        let mut denom = BigInt::one();
        for c in self.0.values() {
            numer = common_divisor(&numer, c.numer());
            let common = common_divisor(&denom, c.denom());
            denom = &denom / common * c.denom();
        }
        let mut content = Rat::new(numer, denom);
        if self.0.values().next_back().is_some_and(Signed::is_negative) {
            content = -content;
        }
        if content.is_zero() {
            return (Rat::one(), self.clone());
        }
        let rest = self.scaled(&content.recip());
        (content, rest)
    }

    /// Whether `self = c · other` for a rational c.
    pub fn proportional(&self, other: &Poly) -> bool {
        self.0.len() == other.0.len() && self.primitive().1 == other.primitive().1
    }
}

impl Form {
    pub fn number(value: Rat) -> Self {
        Self::whole(Poly::constant(value))
    }

    pub fn whole(num: Poly) -> Self {
        Self {
            num,
            den: Poly::constant(Rat::one()),
        }
    }

    /// Its value, if it is a rational number.
    pub fn value(&self) -> Option<Rat> {
        (self.den.number()? == Rat::one())
            .then(|| self.num.number())
            .flatten()
    }

    pub fn is_whole(&self) -> bool {
        self.den.number().is_some_and(|n| n.is_one())
    }

    pub fn negated(&self) -> Self {
        Self {
            num: self.num.scaled(&-Rat::one()),
            den: self.den.clone(),
        }
    }
}

/// A product of powers.
pub fn merged(a: &Mono, b: &Mono) -> Done<Mono> {
    if a.0.is_empty() {
        return Ok(b.clone());
    }
    if b.0.is_empty() {
        return Ok(a.clone());
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(a.0.len() + b.0.len());
    while i < a.0.len() && j < b.0.len() {
        let ((x, p), (y, q)) = (a.0[i], b.0[j]);
        match x.cmp(&y) {
            std::cmp::Ordering::Less => {
                out.push((x, p));
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                out.push((y, q));
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                let exp = p.checked_add(&q).ok_or(Beyond)?;
                if !exp.is_zero() {
                    out.push((x, exp));
                }
                i += 1;
                j += 1;
            }
        }
    }
    out.extend_from_slice(&a.0[i..]);
    out.extend_from_slice(&b.0[j..]);
    Ok(Mono(out))
}

/// A term's powers, each multiplied.
pub fn powered(mono: &Mono, by: Exp) -> Done<Mono> {
    mono.0
        .iter()
        .map(|&(atom, exp)| Ok((atom, exp.checked_mul(&by).ok_or(Beyond)?)))
        .collect::<Done<Vec<_>>>()
        .map(Mono)
}
