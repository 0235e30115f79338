//! The value of a tree at a point: every variable gets a number that depends on its name.

use super::complex::Complex;
use super::node::{Const, Func, Node, Rat};
use super::wide::{E, PI, Wide};
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use std::hash::{Hash, Hasher};

/// Nodes visited by one evaluation.
const MAX_VISITS: usize = 200_000;
/// Terms of a finite sum or product that is worked out.
const MAX_SERIES: i64 = 2_000;

/// Where variables are evaluated.
#[derive(Debug, Clone)]
pub struct Point {
    /// Which of the points: the even ones give only positive values.
    pub number: u64,
    bound: Vec<(String, Complex)>,
    visits: usize,
}

impl Point {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            bound: Vec::new(),
            visits: 0,
        }
    }

    fn variable(&self, name: &str) -> Complex {
        if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
            return *value;
        }
        let share = unit(&(name, self.number));
        // From the tenth on, wider: a step function has more than one step there.
        let size = (0.37 + 1.9 * share) * if self.number >= 10 { 13.7 } else { 1.0 };
        // All negative at one, some at three, five and so on.
        let negative = self.number == 1 || self.number % 2 == 1 && unit(&(name, self.number, "sign")) < 0.5;
        Complex::real(Wide::new(if negative { -size } else { size }))
    }

    /// The value, where it is finite and the tree is a scalar made of what is known here. Long: one match, a row a
    /// kind of node.
    pub fn value(&mut self, node: &Node) -> Option<Complex> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return None;
        }
        let value = match node {
            Node::Int(value) => Complex::real(of_int(value)),
            Node::Decimal(value, _) => Complex::real(of_rat(value)),
            Node::Based(value, ..) => Complex::real(of_int(value)),
            Node::Symbol(name) => self.variable(name),
            Node::Const(Const::Pi) => Complex::real(PI),
            Node::Const(Const::E) => Complex::real(E),
            Node::Const(Const::I) => Complex::I,
            Node::Const(Const::Infinity) => return None,
            Node::Add(parts) => {
                let mut sum = Complex::ZERO;
                for part in parts {
                    sum = sum.plus(self.value(part)?);
                }
                sum
            }
            Node::Mul(parts) => {
                let mut product = Complex::ONE;
                for part in parts {
                    product = product.times(self.value(part)?);
                }
                product
            }
            Node::Div(a, b) => {
                let below = self.value(b)?;
                if below.is_zero() {
                    return None;
                }
                self.value(a)?.over(below)
            }
            Node::Neg(a) => self.value(a)?.neg(),
            Node::Pow(base, exponent) => self.power(base, exponent)?,
            Node::Root(a, 2) => self.value(a)?.sqrt(),
            Node::Root(a, n) => {
                let inside = self.value(a)?;
                let odd = n % 2 == 1 && inside.is_real() && inside.re.hi < 0.0;
                let exponent = Complex::ONE.over(Complex::real(Wide::new(f64::from(*n))));
                let root = if odd { inside.neg() } else { inside }.pow(exponent);
                if odd { root.neg() } else { root }
            }
            Node::Percent(a) => self.value(a)?.over(Complex::real(Wide::new(100.0))),
            Node::Degrees(a) => self.value(a)?,
            Node::Ratio(parts) if parts.len() == 2 => {
                let below = self.value(&parts[1])?;
                if below.is_zero() {
                    return None;
                }
                self.value(&parts[0])?.over(below)
            }
            Node::Set(items) | Node::List(items) | Node::Tuple(items) if items.len() == 1 => {
                self.value(&items[0])?
            }
            Node::Call(Func::Applied(name), args) => self.unknown(name, args)?,
            Node::Call(Func::Named(name), args) => self.named(name, args)?,
            _ => return None,
        };
        value.is_finite().then_some(value)
    }

    fn power(&mut self, base: &Node, exponent: &Node) -> Option<Complex> {
        let (base, value) = (self.value(base)?, self.value(exponent)?);
        match exponent {
            // The real cube root, as in the normal form.
            Node::Div(p, q) if base.is_real() && base.re.hi < 0.0 && **q == Node::int(3) => {
                let third = Complex::ONE.over(Complex::real(Wide::new(3.0)));
                Some(base.neg().pow(third).neg().pow(self.value(p)?))
            }
            _ => Some(base.pow(value)),
        }
    }

    /// An unknown function is some smooth function of its arguments, the same wherever it is met.
    fn unknown(&mut self, name: &str, args: &[Node]) -> Option<Complex> {
        let mut sum = Wide::new(unit(&name));
        for (place, arg) in args.iter().enumerate() {
            let arg = self.value(arg)?;
            let factor = Wide::new(1.0 + unit(&(name, place)));
            sum = sum + (arg.re + arg.im * Wide::new(0.7)) * factor;
        }
        let (sin, _) = sum.sin_cos();
        Some(Complex::real(sin + Wide::new(1.5)))
    }

    /// A known function. Long: one match, a row a function.
    fn named(&mut self, name: &str, args: &[Node]) -> Option<Complex> {
        if let ("Sum" | "Product", [body, Node::Symbol(variable), from, to]) = (name, args) {
            return self.series(name == "Sum", body, variable, from, to);
        }
        if let ("Integral", [body, Node::Symbol(variable), from, to]) = (name, args) {
            return self.integral(body, variable, from, to);
        }
        // Where the function has a value and no steps, it is continuous.
        if let ("Limit", [body, Node::Symbol(variable), to, _]) = (name, args)
            && !body.any(&|part| {
                matches!(
                    part,
                    Node::Call(Func::Named("floor" | "ceiling" | "Mod" | "sign"), _)
                )
            })
        {
            let to = self.value(to)?;
            self.bound.push((variable.to_owned(), to));
            let value = self.value(body);
            self.bound.pop();
            return value;
        }
        if name == "det" || name == "Integral" || name == "Derivative" || name == "Limit" {
            return None;
        }
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            let value = self.value(arg)?;
            values.push(match arg {
                Node::Degrees(_) => value.times(Complex::real(PI / Wide::new(180.0))),
                _ => value,
            });
        }
        let all_real = values.iter().all(|value| value.is_real());
        Some(match (name, values.as_slice()) {
            ("sin", [x]) => x.sin_cos().0,
            ("cos", [x]) => x.sin_cos().1,
            ("tan", [x]) => x.sin_cos().0.over(x.sin_cos().1),
            ("cot", [x]) => x.sin_cos().1.over(x.sin_cos().0),
            ("sec", [x]) => inverse(x.sin_cos().1)?,
            ("csc", [x]) => inverse(x.sin_cos().0)?,
            ("asin", [x]) => x.asin(),
            ("acos", [x]) => Complex::real(PI * Wide::new(0.5)).minus(x.asin()),
            ("atan", [x]) => x.atan(),
            ("acot", [x]) => inverse(*x)?.atan(),
            ("asec", [x]) => Complex::real(PI * Wide::new(0.5)).minus(inverse(*x)?.asin()),
            ("acsc", [x]) => inverse(*x)?.asin(),
            ("sinh" | "cosh" | "tanh" | "coth" | "sech" | "csch", [x]) => hyperbolic(name, *x)?,
            ("asinh", [x]) => x.plus(x.times(*x).plus(Complex::ONE).sqrt()).ln(),
            ("acosh", [x]) => {
                let root = x.plus(Complex::ONE).sqrt().times(x.minus(Complex::ONE).sqrt());
                x.plus(root).ln()
            }
            ("atanh", [x]) => {
                let half = Complex::real(Wide::new(0.5));
                Complex::ONE
                    .plus(*x)
                    .ln()
                    .minus(Complex::ONE.minus(*x).ln())
                    .times(half)
            }
            ("ln", [x]) if !x.is_zero() => x.ln(),
            ("log", [x, base]) if !x.is_zero() && !base.is_zero() => x.ln().over(base.ln()),
            ("Abs", [x]) => Complex::real(x.size()),
            ("re", [x]) => Complex::real(x.re),
            ("im", [x]) => Complex::real(x.im),
            ("arg", [x]) => Complex::real(x.angle()),
            ("sign", [x]) if x.is_real() => {
                Complex::real(Wide::new(if x.is_zero() { 0.0 } else { x.re.hi.signum() }))
            }
            ("floor", [x]) if x.is_real() => Complex::real(steady(x.re)?.floor()),
            ("ceiling", [x]) if x.is_real() => Complex::real(-(-steady(x.re)?).floor()),
            ("Max", all) if all_real => *all.iter().max_by(|a, b| a.re.hi.total_cmp(&b.re.hi))?,
            ("Min", all) if all_real => *all.iter().min_by(|a, b| a.re.hi.total_cmp(&b.re.hi))?,
            ("Mod", [a, m]) if all_real && !m.is_zero() => {
                Complex::real(a.re - m.re * steady(a.re / m.re)?.floor())
            }
            ("factorial", [n]) if all_real => Complex::real(gamma(n.re + Wide::ONE)?),
            ("binomial", [n, k]) if all_real => {
                let (n, k) = (n.re, k.re);
                let below = gamma(k + Wide::ONE)? * gamma(n - k + Wide::ONE)?;
                Complex::real(gamma(n + Wide::ONE)? / below)
            }
            _ => return None,
        })
    }

    /// A definite integral between two real bounds, by the double exponential rule (Takahasi and Mori 1974). `None` unless
    /// half as many points give the same.
    fn integral(&mut self, body: &Node, variable: &str, from: &Node, to: &Node) -> Option<Complex> {
        let (from, to) = (self.value(from)?, self.value(to)?);
        if !from.is_real() || !to.is_real() {
            return None;
        }
        let half = Wide::new(0.5);
        let (middle, radius) = ((to.re + from.re) * half, (to.re - from.re) * half);
        let (mut even, mut odd) = (Complex::ZERO, Complex::ZERO);
        for k in -STEPS * REACH + 1..STEPS * REACH {
            self.visits += STEP_VISITS;
            let t = Wide::new(f64::from(k) / f64::from(STEPS));
            let (grows, falls) = (t.exp(), (-t).exp());
            let outer = PI * half * (grows - falls) * half;
            let (up, down) = (outer.exp(), (-outer).exp());
            let cosh = (up + down) * half;
            let at = (up - down) * half / cosh;
            let weight = PI * half * (grows + falls) * half / (cosh * cosh);
            self.bound
                .push((variable.to_owned(), Complex::real(middle + radius * at)));
            let value = self.value(body);
            self.bound.pop();
            let term = value?.times(Complex::real(weight));
            if k % 2 == 0 {
                even = even.plus(term);
            } else {
                odd = odd.plus(term);
            }
        }
        let size = Complex::real(radius / Wide::new(f64::from(STEPS)));
        let (coarse, fine) = (even.plus(even).times(size), even.plus(odd).times(size));
        near(coarse, fine).then_some(fine)
    }

    fn series(&mut self, sum: bool, body: &Node, variable: &str, from: &Node, to: &Node) -> Option<Complex> {
        let whole = |value: Complex| {
            let whole = value.re.hi.round();
            (value.is_real() && value.re == Wide::new(whole) && whole.abs() < 1e9).then_some(whole as i64)
        };
        let (from, to) = (whole(self.value(from)?)?, whole(self.value(to)?)?);
        if to - from > MAX_SERIES {
            return None;
        }
        let mut total = if sum { Complex::ZERO } else { Complex::ONE };
        for k in from..=to {
            self.bound
                .push((variable.to_owned(), Complex::real(Wide::new(k as f64))));
            let term = self.value(body);
            self.bound.pop();
            total = if sum {
                total.plus(term?)
            } else {
                total.times(term?)
            };
        }
        Some(total)
    }
}

/// Steps of the double exponential rule in a unit of its variable, and how far it goes: what lies beyond weighs less than
/// the last digit.
const STEPS: i32 = 32;
const REACH: i32 = 4;
/// Nodes that a step of it counts for: its own arithmetic is not free.
const STEP_VISITS: usize = 20;

/// A number that a step function may be applied to: not so near to a step that rounding decides.
fn steady(value: Wide) -> Option<Wide> {
    let nearest = Wide::new(value.hi.round());
    let near = (value - nearest).abs().hi;
    if near == 0.0 {
        return Some(value);
    }
    if near < 1e-20 * value.hi.abs().max(1.0) {
        return Some(nearest);
    }
    Some(value)
}

/// Γ of a positive number that is whole, else by Stirling's series after a shift.
fn gamma(x: Wide) -> Option<Wide> {
    if x.hi <= 0.0 || x.hi > 170.0 {
        return None;
    }
    let mut x = x;
    let mut below = Wide::ONE;
    while x.hi < 40.0 {
        below = below * x;
        x = x + Wide::ONE;
    }
    let inverse = Wide::ONE / x;
    let square = inverse * inverse;
    let mut power = inverse;
    let mut series = Wide::ZERO;
    // B(2k) / (2k (2k-1))
    for (numer, denom) in [
        (1.0, 12.0),
        (-1.0, 360.0),
        (1.0, 1260.0),
        (-1.0, 1680.0),
        (1.0, 1188.0),
        (-691.0, 360_360.0),
        (1.0, 156.0),
        (-3617.0, 122_400.0),
        (43867.0, 244_188.0),
        (-174_611.0, 125_400.0),
    ] {
        series = series + power * Wide::new(numer) / Wide::new(denom);
        power = power * square;
    }
    let half = Wide::new(0.5);
    let ln = (x - half) * x.ln() - x + (PI * Wide::new(2.0)).ln() * half + series;
    Some(ln.exp() / below)
}

fn of_int(value: &BigInt) -> Wide {
    let hi = value.to_f64().unwrap_or(f64::INFINITY);
    if !hi.is_finite() || value.bits() <= 53 {
        return Wide::new(hi);
    }
    let shift = value.bits() - 53;
    let head: BigInt = value >> shift;
    let tail: BigInt = value - (&head << shift);
    let exact = head.to_f64().unwrap_or(0.0) * 2f64.powi(shift as i32);
    Wide::new(exact) + Wide::new(tail.to_f64().unwrap_or(0.0))
}

/// A rational, also where its parts are beyond a float.
pub fn of_rat(value: &Rat) -> Wide {
    let (numer, denom) = (value.numer(), value.denom());
    if numer.bits() < 1000 && denom.bits() < 1000 {
        return of_int(numer) / of_int(denom);
    }
    let shift = numer.bits() as i64 - denom.bits() as i64 - 120;
    let (numer, denom) = if shift > 0 {
        (numer.clone(), denom << shift)
    } else {
        (numer << -shift, denom.clone())
    };
    let quotient = of_int(&(numer / denom));
    if shift.abs() > 1000 {
        return Wide::new(if shift > 0 { f64::INFINITY } else { 0.0 } * quotient.hi.abs().signum());
    }
    quotient * Wide::new(2f64.powi(shift as i32))
}

/// A number in [0, 1) that depends on nothing but the key.
fn unit(key: &impl Hash) -> f64 {
    // FNV-1a: the same on every machine and in every version.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    key.hash(&mut hasher);
    let mut mixed = hasher.finish();
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// Whether two values are the same but for rounding.
pub fn near(a: Complex, b: Complex) -> bool {
    let difference = a.minus(b).size().hi;
    let scale = a.size().hi.max(b.size().hi);
    difference <= 1e-20 * scale || difference <= 1e-26
}

/// A sign that is certain: of a number that is not zero for rounding alone.
pub fn sign(value: Complex) -> Option<i32> {
    let real = value.im.abs().hi <= 1e-24 * value.re.abs().hi.max(1.0);
    real.then(|| {
        let zero = value.re.abs().hi <= 1e-24;
        if zero { 0 } else { value.re.hi.signum() as i32 }
    })
}

fn inverse(x: Complex) -> Option<Complex> {
    (!x.is_zero()).then(|| Complex::ONE.over(x))
}

fn hyperbolic(name: &str, x: Complex) -> Option<Complex> {
    let (up, down) = (x.exp(), x.neg().exp());
    let half = Complex::real(Wide::new(0.5));
    let (sinh, cosh) = (up.minus(down).times(half), up.plus(down).times(half));
    Some(match name {
        "sinh" => sinh,
        "cosh" => cosh,
        "tanh" => sinh.over(cosh),
        "coth" => cosh.over(sinh),
        "sech" => inverse(cosh)?,
        _ => inverse(sinh)?,
    })
}
