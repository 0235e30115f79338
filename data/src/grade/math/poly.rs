//! Sums of terms over atoms: the symbolic normal form.
//!
//! A [`Form`] is a quotient of two sums of terms. A term is a rational coefficient times powers of atoms with
//! rational exponents. Atoms are variables, π, e, i, primes (under a root), sums (under a root or a power too high
//! to expand), powers with symbolic exponents and values of functions. `i² = -1` and `(√p)² = p` are applied wherever
//! terms meet, so two rational functions with radicals are equal if and only if their cross-product is zero.

use super::limits::MAX_BITS;
use super::node::Rat;
use super::terms::merged;
pub use super::terms::{Beyond, Done, Exp, Form, Mono, Poly, powered};
use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

/// Multiplications of two terms that one comparison may take.
const MAX_STEPS: usize = 40_000;
/// Terms of one sum.
const MAX_TERMS: usize = 3_000;
/// Atoms of one comparison.
const MAX_ATOMS: usize = 200;
/// The highest power of a sum that is expanded.
const MAX_POWER: i64 = 64;

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

    /// Long numbers cost by their square, as their arithmetic does.
    fn weigh(&mut self, value: &Rat) -> Done<()> {
        if !small(value) {
            return Err(Beyond);
        }
        let words = ((value.numer().bits() + value.denom().bits()) / 256) as usize;
        self.step(words * words)
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
        if num.0.len() > MAX_TERMS || den.0.len() > MAX_TERMS {
            return Err(Beyond);
        }
        for c in num.0.values() {
            self.weigh(c)?;
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
                self.weigh(&coefficient)?;
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
            form = self.times_power(form, sum, power)?;
        }
        Ok(form)
    }

    fn times_power(&mut self, mut form: Form, sum: Poly, power: i64) -> Done<Form> {
        let sum = Form::whole(sum);
        for _ in 0..power.abs() {
            form = if power > 0 {
                self.mul(&form, &sum)?
            } else {
                self.divide(&form, &sum)?
            };
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
