//! Sums of terms over atoms: the symbolic normal form.
//!
//! A [`Form`] is a quotient of two sums of terms. A term is a rational coefficient times powers of atoms with
//! rational exponents. Atoms are variables, π, e, i, primes (under a root), sums (under a root or a power too high
//! to expand), powers with symbolic exponents and values of functions. `i² = -1` and `(√p)² = p` are applied wherever
//! terms meet, so two rational functions with radicals are equal if and only if their cross-product is zero.

use super::MAX_BITS;
use super::node::Rat;
use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul, One, Signed, Zero};
use std::collections::BTreeMap;

/// An exponent.
pub type Exp = Ratio<i64>;

/// Multiplications of two terms that one comparison may take.
const MAX_STEPS: usize = 40_000;
/// Terms of one sum.
const MAX_TERMS: usize = 3_000;
/// Atoms of one comparison.
const MAX_ATOMS: usize = 200;
/// The highest power of a sum that is expanded.
const MAX_POWER: i64 = 64;

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

/// What a term is made of.
#[derive(Debug, Clone)]
pub enum Atom {
    /// A variable.
    Symbol(String),
    /// π, e, i by their names.
    Constant(super::node::Const),
    /// A prime number, or a number that was too large to take apart; under a root or a high power.
    Number(BigInt),
    /// A sum of several terms, its first coefficient positive, its coefficients coprime whole numbers.
    Sum(Poly),
    /// base^exponent.
    Power(u32, Form),
    /// A function's value.
    Value(String, Vec<Form>),
}

/// The atoms of one comparison and its allowance of work.
#[derive(Debug, Default)]
pub struct Atoms {
    atoms: Vec<Atom>,
    steps: usize,
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
            numer = num_integer(&numer, c.numer());
            let common = num_integer(&denom, c.denom());
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

/// Greatest common divisor.
pub fn num_integer(a: &BigInt, b: &BigInt) -> BigInt {
    let (mut a, mut b) = (a.abs(), b.abs());
    while !b.is_zero() {
        let rest = &a % &b;
        a = std::mem::replace(&mut b, rest);
    }
    a
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

fn small(value: &Rat) -> bool {
    value.numer().bits() <= MAX_BITS && value.denom().bits() <= MAX_BITS
}

impl Atoms {
    pub fn get(&self, atom: u32) -> &Atom {
        &self.atoms[atom as usize]
    }

    fn step(&mut self, count: usize) -> Done<()> {
        self.steps += count;
        if self.steps > MAX_STEPS {
            Err(Beyond)
        } else {
            Ok(())
        }
    }

    /// The number of an atom, a new one if it has none equal.
    pub fn intern(&mut self, atom: Atom) -> Done<u32> {
        for at in 0..self.atoms.len() {
            if self.same_atom(at, &atom)? {
                return Ok(at as u32);
            }
        }
        if self.atoms.len() >= MAX_ATOMS {
            return Err(Beyond);
        }
        self.atoms.push(atom);
        Ok(self.atoms.len() as u32 - 1)
    }

    fn same_atom(&mut self, at: usize, other: &Atom) -> Done<bool> {
        let pairs: Vec<(Form, Form)> = match (&self.atoms[at], other) {
            (Atom::Symbol(a), Atom::Symbol(b)) => return Ok(a == b),
            (Atom::Constant(a), Atom::Constant(b)) => return Ok(a == b),
            (Atom::Number(a), Atom::Number(b)) => return Ok(a == b),
            (Atom::Sum(a), Atom::Sum(b)) => return Ok(a == b),
            (Atom::Power(a, x), Atom::Power(b, y)) if a == b => vec![(x.clone(), y.clone())],
            (Atom::Value(f, xs), Atom::Value(g, ys)) if f == g && xs.len() == ys.len() => {
                xs.iter().cloned().zip(ys.iter().cloned()).collect()
            }
            _ => return Ok(false),
        };
        for (a, b) in pairs {
            if !self.equal(&a, &b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A term of one atom.
    pub fn atom(&mut self, atom: Atom) -> Done<Form> {
        let at = self.intern(atom)?;
        Ok(Form::whole(Poly::term(Rat::one(), Mono(vec![(at, Exp::one())]))))
    }

    pub fn add(&mut self, a: &Form, b: &Form) -> Done<Form> {
        if a.den == b.den {
            let num = a.num.clone().plus(&b.num);
            return self.checked(num, a.den.clone());
        }
        let left = self.times(&a.num, &b.den)?;
        let right = self.times(&b.num, &a.den)?;
        let den = self.times(&a.den, &b.den)?;
        let top = self.add(&left, &right)?;
        self.divide(&top, &den)
    }

    pub fn mul(&mut self, a: &Form, b: &Form) -> Done<Form> {
        let num = self.times(&a.num, &b.num)?;
        if a.is_whole() && b.is_whole() {
            return Ok(num);
        }
        let den = self.times(&a.den, &b.den)?;
        self.divide(&num, &den)
    }

    pub fn divide(&mut self, a: &Form, b: &Form) -> Done<Form> {
        if b.num.is_zero() {
            return Err(Beyond);
        }
        // a.num b.den / (a.den b.num)
        let top = if b.is_whole() {
            Form::whole(a.num.clone())
        } else {
            self.times(&a.num, &b.den)?
        };
        let low = if a.is_whole() {
            Form::whole(b.num.clone())
        } else {
            self.times(&a.den, &b.num)?
        };
        // Terms that meet may bring denominators of their own (√(x+1) to a negative power).
        let (top_num, low_num) = if top.is_whole() && low.is_whole() {
            (top.num, low.num)
        } else {
            let num = self.times(&top.num, &low.den)?;
            let den = self.times(&low.num, &top.den)?;
            if !num.is_whole() || !den.is_whole() {
                return Err(Beyond);
            }
            (num.num, den.num)
        };
        self.checked(top_num, low_num)
    }

    /// A quotient in the form that [`Form`] promises.
    fn checked(&mut self, num: Poly, den: Poly) -> Done<Form> {
        if num.0.len() > MAX_TERMS || den.0.len() > MAX_TERMS || !num.0.values().all(small) {
            return Err(Beyond);
        }
        if num.is_zero() {
            return Ok(Form::number(Rat::zero()));
        }
        if let Some(value) = den.number() {
            if value.is_one() {
                return Ok(Form { num, den });
            }
            return Ok(Form::whole(num.scaled(&value.recip())));
        }
        if let Some((mono, c)) = den.single() {
            let mut inverse = Mono::default();
            for (atom, exp) in &mono.0 {
                inverse.0.push((*atom, -*exp));
            }
            return self.times(&num, &Poly::term(c.recip(), inverse));
        }
        if num.0.len() == den.0.len() {
            let ((top, a), (low, b)) = (num.primitive(), den.primitive());
            if a == b {
                return Ok(Form::number(top / low));
            }
        }
        let (content, den) = den.primitive();
        Ok(Form {
            num: num.scaled(&content.recip()),
            den,
        })
    }

    /// The product of two sums.
    pub fn times(&mut self, a: &Poly, b: &Poly) -> Done<Form> {
        self.step(a.0.len() * b.0.len())?;
        let mut out = Poly::default();
        let mut rest: Vec<Form> = Vec::new();
        for (m, c) in &a.0 {
            for (n, d) in &b.0 {
                let coefficient = c * d;
                if !small(&coefficient) {
                    return Err(Beyond);
                }
                let mono = merged(m, n)?;
                if mono.0.iter().all(|&(atom, exp)| self.settled(atom, exp)) {
                    out.insert(mono, coefficient);
                } else {
                    rest.push(self.settle(coefficient, mono)?);
                }
            }
            if out.0.len() > MAX_TERMS {
                return Err(Beyond);
            }
        }
        let mut sum = Form::whole(out);
        for form in rest {
            sum = self.add(&sum, &form)?;
        }
        Ok(sum)
    }

    /// Whether a power of this atom is in its final form.
    fn settled(&self, atom: u32, exp: Exp) -> bool {
        match self.get(atom) {
            Atom::Constant(super::node::Const::I) => exp.is_one(),
            Atom::Number(_) => {
                exp > Exp::zero() && exp < Exp::one() || exp.abs() > Exp::from_integer(MAX_BITS as i64)
            }
            Atom::Sum(_) => {
                (exp > Exp::zero() && exp < Exp::one()) || exp.abs() > Exp::from_integer(MAX_POWER)
            }
            _ => true,
        }
    }

    /// A term whose powers are not final yet.
    pub fn settle(&mut self, coefficient: Rat, mono: Mono) -> Done<Form> {
        self.step(1)?;
        let mut coefficient = coefficient;
        let mut out = Mono::default();
        let mut sums = Vec::new();
        for (atom, exp) in mono.0 {
            if self.settled(atom, exp) {
                out.0.push((atom, exp));
                continue;
            }
            let whole = exp.floor();
            match self.get(atom) {
                Atom::Constant(_) => {
                    if !exp.is_integer() {
                        out.0.push((atom, exp));
                        continue;
                    }
                    let turns = exp.to_integer().rem_euclid(4);
                    if turns >= 2 {
                        coefficient = -coefficient;
                    }
                    if turns % 2 == 1 {
                        out.0.push((atom, Exp::one()));
                    }
                }
                Atom::Number(base) => {
                    let size = whole.to_integer().unsigned_abs();
                    if size.saturating_mul(base.bits()) > MAX_BITS {
                        out.0.push((atom, exp));
                        continue;
                    }
                    let power = Rat::from_integer(base.pow(size as u32));
                    if whole.to_integer() >= 0 {
                        coefficient *= power;
                    } else {
                        coefficient /= power;
                    }
                    let rest = exp - whole;
                    if !rest.is_zero() {
                        out.0.push((atom, rest));
                    }
                }
                Atom::Sum(sum) => {
                    sums.push((sum.clone(), whole.to_integer()));
                    let rest = exp - whole;
                    if !rest.is_zero() {
                        out.0.push((atom, rest));
                    }
                }
                _ => out.0.push((atom, exp)),
            }
        }
        let mut form = Form::whole(Poly::term(coefficient, out));
        for (sum, power) in sums {
            let sum = Form::whole(sum);
            for _ in 0..power.abs() {
                form = if power > 0 {
                    self.mul(&form, &sum)?
                } else {
                    self.divide(&form, &sum)?
                };
            }
        }
        Ok(form)
    }

    /// A whole power.
    pub fn whole_power(&mut self, base: &Form, power: i64) -> Done<Form> {
        if power < 0 {
            let inverse = self.divide(&Form::number(Rat::one()), base)?;
            return self.whole_power(&inverse, power.checked_neg().ok_or(Beyond)?);
        }
        let mut result = Form::number(Rat::one());
        let mut square = base.clone();
        let mut left = power;
        while left > 0 {
            if left & 1 == 1 {
                result = self.mul(&result, &square)?;
            }
            left >>= 1;
            if left > 0 {
                square = self.mul(&square, &square)?;
            }
        }
        Ok(result)
    }

    /// The difference is zero.
    pub fn equal(&mut self, a: &Form, b: &Form) -> Done<bool> {
        if a == b {
            return Ok(true);
        }
        if a.is_whole() && b.is_whole() {
            return Ok(false);
        }
        let left = self.times(&a.num, &b.den)?;
        let right = self.times(&b.num, &a.den)?;
        if left == right {
            return Ok(true);
        }
        if left.is_whole() && right.is_whole() {
            return Ok(false);
        }
        Ok(self.add(&left, &right.negated())?.num.is_zero())
    }

    /// Whether different forms over these atoms are different values: variables, constants and roots of numbers have
    /// no relation but those that are applied; values of functions may.
    pub fn is_decisive(&self, form: &Form) -> bool {
        form.num.0.keys().chain(form.den.0.keys()).all(|mono| {
            mono.0.iter().all(|&(atom, exp)| match self.get(atom) {
                Atom::Symbol(_) => exp.is_integer(),
                Atom::Constant(_) => exp.is_integer(),
                Atom::Number(_) => exp.abs() < Exp::one(),
                _ => false,
            })
        })
    }
}

fn merged(a: &Mono, b: &Mono) -> Done<Mono> {
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
