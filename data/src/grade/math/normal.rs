//! A tree into its normal form.

use super::integers::{binomial, factorial, gcd, lcm, primes};
use super::limits::MAX_BITS;
use super::node::{Const, Func, Node, Rat};
use super::poly::{Atom, Atoms, Beyond, Done, Exp, Form, Mono, Poly, powered};
use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

impl Atoms {
    /// The normal form of a scalar.
    ///
    /// # Errors
    /// [`Beyond`]: too much work, a division by zero, or no scalar.
    pub fn form(&mut self, node: &Node) -> Done<Form> {
        Ok(match node {
            Node::Int(value) => Form::number(Rat::from_integer(value.clone())),
            Node::Decimal(value, _) => Form::number(value.clone()),
            Node::Based(value, ..) => Form::number(Rat::from_integer(value.clone())),
            Node::Symbol(name) => self.atom(Atom::Symbol(name.clone()))?,
            Node::Const(constant) => self.atom(Atom::Constant(*constant))?,
            Node::Add(parts) => {
                let mut sum = Form::number(Rat::zero());
                for part in parts {
                    let part = self.form(part)?;
                    sum = self.add(&sum, &part)?;
                }
                sum
            }
            Node::Mul(parts) => {
                let mut product = Form::number(Rat::one());
                for part in parts {
                    let part = self.form(part)?;
                    product = self.mul(&product, &part)?;
                }
                product
            }
            Node::Div(a, b) => {
                let (a, b) = (self.form(a)?, self.form(b)?);
                self.divide(&a, &b)?
            }
            Node::Neg(a) => self.form(a)?.negated(),
            Node::Pow(base, exponent) => {
                let exponent = self.form(exponent)?;
                self.power(base, &exponent)?
            }
            Node::Root(a, n) => {
                let inside = self.form(a)?;
                self.rational_power(&inside, Exp::new(1, i64::from(*n)), true)?
            }
            Node::Percent(a) => {
                let inside = self.form(a)?;
                self.divide(&inside, &Form::number(Rat::from_integer(100.into())))?
            }
            Node::Degrees(a) => self.form(a)?,
            Node::Call(name, args) => self.call(name, args)?,
            Node::Set(items) | Node::List(items) | Node::Tuple(items) if items.len() == 1 => {
                self.form(&items[0])?
            }
            Node::Ratio(parts) if parts.len() == 2 => {
                let (a, b) = (self.form(&parts[0])?, self.form(&parts[1])?);
                self.divide(&a, &b)?
            }
            _ => return Err(Beyond),
        })
    }

    fn power(&mut self, base: &Node, exponent: &Form) -> Done<Form> {
        let base = self.form(base)?;
        if let Some(value) = exponent.value() {
            let small = (value.numer().to_i64(), value.denom().to_i64());
            if let (Some(numer), Some(denom)) = small {
                return self.rational_power(&base, Exp::new(numer, denom), false);
            }
        }
        if base.value().is_some_and(|b| b.is_one()) {
            return Ok(base);
        }
        // b^(2x+3) = (b^x)^2 b^3
        if !exponent.is_whole() {
            return self.symbolic_power(&base, exponent.clone());
        }
        let mut product = Form::number(Rat::one());
        for (mono, c) in exponent.num.0.clone() {
            let (Some(numer), Some(denom)) = (c.numer().to_i64(), c.denom().to_i64()) else {
                return self.symbolic_power(&base, exponent.clone());
            };
            let exp = Exp::new(numer, denom);
            let factor = if mono.0.is_empty() {
                self.rational_power(&base, exp, false)?
            } else {
                let part = Form::whole(Poly::term(Rat::one(), mono));
                let power = self.symbolic_power(&base, part)?;
                self.rational_power(&power, exp, false)?
            };
            product = self.mul(&product, &factor)?;
        }
        Ok(product)
    }

    /// base^exponent with an exponent that is not a number: an atom for each factor of the base.
    fn symbolic_power(&mut self, base: &Form, exponent: Form) -> Done<Form> {
        let mut product = Form::number(Rat::one());
        for (part, exp) in self.factors(base)? {
            let atom = self.atom(Atom::Power(part, exponent.clone()))?;
            let factor = self.rational_power(&atom, exp, false)?;
            product = self.mul(&product, &factor)?;
        }
        Ok(product)
    }

    /// A form as a product of atoms.
    fn factors(&mut self, form: &Form) -> Done<Vec<(u32, Exp)>> {
        if !form.is_whole() {
            let mut parts = self.factors(&Form::whole(form.num.clone()))?;
            let below = self.factors(&Form::whole(form.den.clone()))?;
            parts.extend(below.into_iter().map(|(atom, exp)| (atom, -exp)));
            return Ok(parts);
        }
        let Some((mono, c)) = form.num.single() else {
            let (content, rest) = form.num.primitive();
            if form.num.is_zero() {
                return Err(Beyond);
            }
            let mut parts = self.number_factors(&content)?;
            parts.push((self.intern(Atom::Sum(rest))?, Exp::one()));
            return Ok(parts);
        };
        let (mono, c) = (mono.clone(), c.clone());
        let mut parts = self.number_factors(&c)?;
        parts.extend(mono.0);
        Ok(parts)
    }

    /// A rational as primes with their powers; -1 is an atom of its own.
    fn number_factors(&mut self, value: &Rat) -> Done<Vec<(u32, Exp)>> {
        let mut parts = Vec::new();
        if value.is_negative() {
            parts.push((self.intern(Atom::Number((-1).into()))?, Exp::one()));
        }
        for (number, sign) in [(value.numer(), 1), (value.denom(), -1)] {
            for (prime, times) in primes(&number.abs()) {
                parts.push((self.intern(Atom::Number(prime))?, Exp::from_integer(sign * times)));
            }
        }
        Ok(parts)
    }

    /// base^exp. Odd roots of negative numbers are real; `\sqrt{x^2}` is |x|.
    fn rational_power(&mut self, base: &Form, exp: Exp, root: bool) -> Done<Form> {
        if exp.is_integer() {
            let power = exp.to_integer();
            if base.num.is_zero() {
                return if power > 0 { Ok(base.clone()) } else { Err(Beyond) };
            }
            if let Some(value) = base.value() {
                let bits = value.numer().bits().max(value.denom().bits());
                if value.abs().is_one() {
                    return Ok(Form::number(if power % 2 == 0 { Rat::one() } else { value }));
                }
                if power.unsigned_abs().saturating_mul(bits) <= MAX_BITS {
                    return Ok(Form::number(num_traits::Pow::pow(value, power as i32)));
                }
            } else if base.is_whole()
                && let Some((mono, c)) = base.num.single()
                && c.is_one()
            {
                return self.settle(Rat::one(), powered(mono, exp)?);
            } else if power.unsigned_abs() <= 64 {
                return self.whole_power(base, power);
            }
        }
        if base.num.is_zero() {
            return if exp.is_positive() {
                Ok(base.clone())
            } else {
                Err(Beyond)
            };
        }
        let mut product = Form::number(Rat::one());
        for (atom, power) in self.factors(base)? {
            let raised = powered(&Mono(vec![(atom, power)]), exp)?;
            let negative = matches!(self.get(atom), Atom::Number(n) if n.is_negative());
            let factor = if negative {
                self.negative_power(exp, root)?
            } else if power.is_integer()
                && power.to_integer() % 2 == 0
                && !exp.is_integer()
                && raised.0[0].1.is_integer()
                && raised.0[0].1.to_integer() % 2 != 0
                && matches!(self.get(atom), Atom::Symbol(_) | Atom::Sum(_))
            {
                let inside = match self.get(atom).clone() {
                    Atom::Sum(sum) => Form::whole(sum),
                    _ => Form::whole(Poly::term(Rat::one(), Mono(vec![(atom, Exp::one())]))),
                };
                let value = self.atom(Atom::Value("Abs".into(), vec![inside]))?;
                self.whole_power(&value, raised.0[0].1.to_integer())?
            } else {
                self.settle(Rat::one(), raised)?
            };
            product = self.mul(&product, &factor)?;
        }
        Ok(product)
    }

    /// (-1)^exp.
    fn negative_power(&mut self, exp: Exp, root: bool) -> Done<Form> {
        let minus = Form::number(-Rat::one());
        if *exp.denom() % 2 == 1 && (root || *exp.denom() == 1 || *exp.denom() == 3) {
            return Ok(if exp.numer() % 2 == 0 {
                Form::number(Rat::one())
            } else {
                minus
            });
        }
        let i = self.atom(Atom::Constant(Const::I))?;
        if *exp.denom() == 2 {
            return self.whole_power(&i, exp.numer().rem_euclid(4));
        }
        let atom = self.intern(Atom::Constant(Const::I))?;
        let twice = exp * Exp::from_integer(2);
        Ok(Form::whole(Poly::term(Rat::one(), Mono(vec![(atom, twice)]))))
    }

    fn call(&mut self, name: &Func, args: &[Node]) -> Done<Form> {
        let label = match name {
            Func::Named("det") => return self.determinant(args),
            Func::Named(name) => *name,
            Func::Applied(name) => name.as_str(),
        };
        let mut forms = Vec::with_capacity(args.len());
        for arg in args {
            forms.push(match arg {
                Node::Text(text) => self.atom(Atom::Symbol(text.clone()))?,
                // The argument of a trigonometric function in degrees is a multiple of π.
                Node::Degrees(inside) if matches!(name, Func::Named(_)) => {
                    let turn = Node::Div(Node::Const(Const::Pi).into(), Node::int(180).into());
                    self.form(&Node::Mul(vec![(**inside).clone(), turn]))?
                }
                arg => self.form(arg)?,
            });
        }
        if let Func::Named(name) = name
            && let Some(form) = self.worked(name, &forms)?
        {
            return Ok(form);
        }
        self.atom(Atom::Value(label.to_owned(), forms))
    }

    /// The value of a function where it is simple. Long: one match, a row a function.
    fn worked(&mut self, name: &str, args: &[Form]) -> Done<Option<Form>> {
        let numbers: Option<Vec<Rat>> = args.iter().map(Form::value).collect();
        if let Some(numbers) = numbers
            && let Some(value) = of_numbers(name, &numbers)?
        {
            return Ok(Some(value));
        }
        Ok(match (name, args) {
            ("gcd" | "lcm", [first, rest @ ..]) => {
                let mut all = first.clone();
                for next in rest {
                    let common = self.common_divisor(&all, next)?;
                    let Some(common) = common else { return Ok(None) };
                    all = if name == "gcd" {
                        common
                    } else {
                        let product = self.mul(&all, next)?;
                        let quotient = self.divide(&product, &common)?;
                        positive(quotient)
                    };
                }
                Some(all)
            }
            ("Max" | "Min", args) => {
                let mut different: Vec<Form> = Vec::new();
                for arg in args {
                    if !different.contains(arg) {
                        different.push(arg.clone());
                    }
                }
                if different.len() == 1 {
                    return Ok(different.pop());
                }
                different.sort_by_key(|form| format!("{form:?}"));
                Some(self.atom(Atom::Value(name.to_owned(), different))?)
            }
            // Odd and even functions, so that sin(-x) = -sin(x).
            ("sin" | "tan" | "asin" | "atan" | "sinh" | "tanh" | "asinh" | "atanh", [x])
                if leads_negative(x) =>
            {
                let value = self.atom(Atom::Value(name.to_owned(), vec![x.negated()]))?;
                Some(value.negated())
            }
            ("cos" | "cosh" | "Abs", [x]) if leads_negative(x) => {
                Some(self.atom(Atom::Value(name.to_owned(), vec![x.negated()]))?)
            }
            ("log", [x, base]) => match base.num.single() {
                Some((mono, c)) if base.is_whole() && c.is_one() && self.is_euler(mono) => {
                    Some(self.atom(Atom::Value("ln".to_owned(), vec![x.clone()]))?)
                }
                _ => None,
            },
            ("ln", [x]) => match x.num.single() {
                Some((mono, c)) if x.is_whole() && c.is_one() && self.is_euler(mono) => {
                    Some(Form::number(Rat::one()))
                }
                _ => None,
            },
            _ => None,
        })
    }

    fn is_euler(&self, mono: &Mono) -> bool {
        matches!(mono.0.as_slice(), [(atom, exp)] if exp.is_one() && matches!(self.get(*atom), Atom::Constant(Const::E)))
    }

    /// The greatest common divisor where one of the two is a single term, or both are the same up to a number.
    fn common_divisor(&mut self, a: &Form, b: &Form) -> Done<Option<Form>> {
        if !a.is_whole() || !b.is_whole() {
            return Ok(None);
        }
        if a.num.is_zero() || b.num.is_zero() {
            let other = if a.num.is_zero() { b } else { a };
            return Ok(Some(positive(other.clone())));
        }
        let ((x, p), (y, q)) = (a.num.primitive(), b.num.primitive());
        let content = gcd(&x, &y);
        if p == q {
            return Ok(Some(Form::whole(p.scaled(&content))));
        }
        if p.0.len() > 1 && q.0.len() > 1 {
            return Ok(None);
        }
        // The powers that all terms share. Roots and constants count as coprime.
        let mut shared: Option<Mono> = None;
        for mono in p.0.keys().chain(q.0.keys()) {
            let symbols: Vec<(u32, Exp)> = mono
                .0
                .iter()
                .copied()
                .filter(|(atom, exp)| matches!(self.get(*atom), Atom::Symbol(_)) && exp.is_positive())
                .collect();
            shared = Some(match shared {
                None => Mono(symbols),
                Some(before) => Mono(
                    before
                        .0
                        .iter()
                        .filter_map(|(atom, exp)| {
                            let other = symbols.iter().find(|(a, _)| a == atom)?;
                            Some((*atom, (*exp).min(other.1)))
                        })
                        .collect(),
                ),
            });
        }
        let irrational = [&p, &q].iter().any(|poly| {
            poly.0.keys().any(|mono| {
                mono.0
                    .iter()
                    .any(|(atom, _)| !matches!(self.get(*atom), Atom::Symbol(_)))
            })
        });
        let content = if irrational { Rat::one() } else { content };
        Ok(Some(Form::whole(Poly::term(content, shared.unwrap_or_default()))))
    }

    /// By expansion along the first row; only small ones.
    fn determinant(&mut self, args: &[Node]) -> Done<Form> {
        let [Node::Matrix(rows)] = args else {
            return Err(Beyond);
        };
        if rows.len() != rows[0].len() || rows.len() > 5 {
            return Err(Beyond);
        }
        let mut cells = Vec::new();
        for row in rows {
            let mut line = Vec::new();
            for cell in row {
                line.push(self.form(cell)?);
            }
            cells.push(line);
        }
        self.expanded(&cells)
    }

    fn expanded(&mut self, rows: &[Vec<Form>]) -> Done<Form> {
        if rows.len() == 1 {
            return Ok(rows[0][0].clone());
        }
        let mut sum = Form::number(Rat::zero());
        for column in 0..rows.len() {
            let rest: Vec<Vec<Form>> = rows[1..]
                .iter()
                .map(|row| {
                    let mut row = row.clone();
                    row.remove(column);
                    row
                })
                .collect();
            let minor = self.expanded(&rest)?;
            let mut part = self.mul(&rows[0][column], &minor)?;
            if column % 2 == 1 {
                part = part.negated();
            }
            sum = self.add(&sum, &part)?;
        }
        Ok(sum)
    }
}

/// With its leading coefficient positive.
fn positive(form: Form) -> Form {
    if leads_negative(&form) {
        form.negated()
    } else {
        form
    }
}

fn leads_negative(form: &Form) -> bool {
    form.num.0.values().next_back().is_some_and(Signed::is_negative)
}

/// The value of a function of numbers where it is simple.
fn of_numbers(name: &str, numbers: &[Rat]) -> Done<Option<Form>> {
    let whole = |value: BigInt| Some(Form::number(Rat::from_integer(value)));
    Ok(match (name, numbers) {
        ("Abs", [x]) => Some(Form::number(x.abs())),
        ("floor", [x]) => Some(Form::number(x.floor())),
        ("ceiling", [x]) => Some(Form::number(x.ceil())),
        ("sign", [x]) => Some(Form::number(x.signum())),
        ("Max", all) => all.iter().max().cloned().map(Form::number),
        ("Min", all) => all.iter().min().cloned().map(Form::number),
        ("Mod", [_, m]) if m.is_zero() => return Err(Beyond),
        ("Mod", [a, m]) => Some(Form::number(a - m * (a / m).floor())),
        ("gcd", all) => all
            .iter()
            .map(Signed::abs)
            .reduce(|a, b| gcd(&a, &b))
            .map(Form::number),
        ("lcm", all) => all
            .iter()
            .map(Signed::abs)
            .reduce(|a, b| lcm(&a, &b))
            .map(Form::number),
        ("factorial", [n]) => factorial(n).and_then(whole),
        ("binomial", [n, k]) => binomial(n, k).and_then(whole),
        ("ln", [x]) if x.is_one() => Some(Form::number(Rat::zero())),
        ("log", [x, b]) if !b.is_one() && x.is_one() => Some(Form::number(Rat::zero())),
        ("sin" | "tan" | "sinh" | "tanh" | "asin" | "atan" | "asinh", [x]) if x.is_zero() => {
            Some(Form::number(Rat::zero()))
        }
        ("cos" | "cosh", [x]) if x.is_zero() => Some(Form::number(Rat::one())),
        _ => None,
    })
}
