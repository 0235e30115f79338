//! Double-double arithmetic: a number as the sum of two `f64`, about 31 digits.
//!
//! The error-free sum and product are Dekker's and Knuth's; the elementary functions are Taylor series after a range
//! reduction, or Newton's method on them. Accuracy in the tests: better than 1e-28, relative.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// `hi + lo`, with `|lo| ≤ ulp(hi) / 2`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Wide {
    pub hi: f64,
    lo: f64,
}

pub const PI: Wide = Wide {
    hi: std::f64::consts::PI,
    lo: 1.224_646_799_147_353_2e-16,
};
pub const E: Wide = Wide {
    hi: std::f64::consts::E,
    lo: 1.445_646_891_729_250_2e-16,
};
const LN_2: Wide = Wide {
    hi: std::f64::consts::LN_2,
    lo: 2.319_046_813_846_299_6e-17,
};

fn two_sum(a: f64, b: f64) -> Wide {
    let hi = a + b;
    let part = hi - a;
    Wide {
        hi,
        lo: (a - (hi - part)) + (b - part),
    }
}

fn quick_sum(a: f64, b: f64) -> Wide {
    let hi = a + b;
    Wide { hi, lo: b - (hi - a) }
}

impl Wide {
    pub const ZERO: Self = Self { hi: 0.0, lo: 0.0 };
    pub const ONE: Self = Self { hi: 1.0, lo: 0.0 };

    pub fn new(value: f64) -> Self {
        Self { hi: value, lo: 0.0 }
    }

    pub fn is_finite(self) -> bool {
        self.hi.is_finite() && self.lo.is_finite()
    }

    pub fn abs(self) -> Self {
        if self.hi < 0.0 { -self } else { self }
    }

    fn scaled(self, by: f64) -> Self {
        Self {
            hi: self.hi * by,
            lo: self.lo * by,
        }
    }

    pub fn sqrt(self) -> Self {
        if self.hi <= 0.0 {
            return Self::new(if self.hi == 0.0 { 0.0 } else { f64::NAN });
        }
        let first = Self::new(self.hi.sqrt());
        // One step of Newton's method doubles the digits; the second corrects its rounding.
        let second = (first + self / first).scaled(0.5);
        (second + self / second).scaled(0.5)
    }

    pub fn floor(self) -> Self {
        let hi = self.hi.floor();
        if hi == self.hi {
            quick_sum(hi, self.lo.floor())
        } else {
            Self::new(hi)
        }
    }

    pub fn exp(self) -> Self {
        if self.hi > 700.0 {
            return Self::new(f64::INFINITY);
        }
        if self.hi < -700.0 {
            return Self::ZERO;
        }
        let turns = (self.hi / LN_2.hi).round();
        // e^r with r small, then squared nine times.
        let r = (self - LN_2 * Self::new(turns)).scaled(1.0 / 512.0);
        let mut term = r;
        let mut sum = r;
        for k in 2..12 {
            term = term * r / Self::new(f64::from(k));
            sum = sum + term;
        }
        // On e^r - 1, so that nothing is lost: (1+s)² - 1 = 2s + s².
        for _ in 0..9 {
            sum = sum.scaled(2.0) + sum * sum;
        }
        (sum + Self::ONE).scaled(2f64.powi(turns as i32))
    }

    pub fn ln(self) -> Self {
        if self.hi <= 0.0 {
            return Self::new(f64::NAN);
        }
        let mut y = Self::new(self.hi.ln());
        for _ in 0..2 {
            y = y + self * (-y).exp() - Self::ONE;
        }
        y
    }

    /// Sine and cosine. Arguments beyond a million have lost too many digits: not a number.
    pub fn sin_cos(self) -> (Self, Self) {
        if self.hi.abs() > 1e6 {
            return (Self::new(f64::NAN), Self::new(f64::NAN));
        }
        let half = PI.scaled(0.5);
        let turns = (self.hi / half.hi).round();
        let r = self - half * Self::new(turns);
        let square = r * r;
        let (mut sin, mut cos) = (r, Self::ONE);
        let (mut odd, mut even) = (r, Self::ONE);
        for k in 1..16 {
            let k = f64::from(k);
            odd = -(odd * square) / Self::new((2.0 * k) * (2.0 * k + 1.0));
            even = -(even * square) / Self::new((2.0 * k - 1.0) * (2.0 * k));
            sin = sin + odd;
            cos = cos + even;
        }
        match (turns as i64).rem_euclid(4) {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        }
    }

    /// The angle of the point (x, y), in (-π, π].
    pub fn atan2(y: Self, x: Self) -> Self {
        if x.hi == 0.0 && y.hi == 0.0 {
            return Self::ZERO;
        }
        let scale = x.abs().hi.max(y.abs().hi);
        let (x, y) = (x / Self::new(scale), y / Self::new(scale));
        let radius = (x * x + y * y).sqrt();
        let (x, y) = (x / radius, y / radius);
        let mut angle = Self::new(y.hi.atan2(x.hi));
        for _ in 0..2 {
            let (sin, cos) = angle.sin_cos();
            // sin(true - angle)
            angle = angle + (y * cos - x * sin);
        }
        angle
    }
}

impl Neg for Wide {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }
}

impl Add for Wide {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let high = two_sum(self.hi, other.hi);
        let low = two_sum(self.lo, other.lo);
        let first = quick_sum(high.hi, high.lo + low.hi);
        quick_sum(first.hi, first.lo + low.lo)
    }
}

impl Sub for Wide {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Wide {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let hi = self.hi * other.hi;
        let error = self.hi.mul_add(other.hi, -hi);
        quick_sum(hi, error + (self.hi * other.lo + self.lo * other.hi))
    }
}

impl Div for Wide {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let first = self.hi / other.hi;
        let rest = self - other * Self::new(first);
        let second = rest.hi / other.hi;
        let rest = rest - other * Self::new(second);
        quick_sum(first, second) + Self::new(rest.hi / other.hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative error, in double-double.
    fn error(found: Wide, right: Wide) -> f64 {
        ((found - right) / right).hi.abs()
    }

    #[test]
    fn constants_and_functions_have_thirty_digits() {
        // e^1, ln 2, √2·√2, sin π/6 and cos π/3, atan 1.
        assert!(error(Wide::ONE.exp(), E) < 1e-28);
        assert!(error(Wide::new(2.0).ln(), LN_2) < 1e-28);
        let root = Wide::new(2.0).sqrt();
        assert!(error(root * root, Wide::new(2.0)) < 1e-28);
        let half = Wide::new(0.5);
        assert!(error((PI / Wide::new(6.0)).sin_cos().0, half) < 1e-28);
        assert!(error((PI / Wide::new(3.0)).sin_cos().1, half) < 1e-28);
        assert!(error(Wide::atan2(Wide::ONE, Wide::ONE), PI * Wide::new(0.25)) < 1e-28);
    }

    #[test]
    fn functions_undo_each_other() {
        for k in 1..60 {
            let x = Wide::new(0.37 * f64::from(k)) / Wide::new(3.0);
            assert!(error(x.exp().ln(), x) < 1e-28, "{x:?}");
            assert!(error(x.ln().exp(), x) < 1e-28, "{x:?}");
            let (sin, cos) = x.sin_cos();
            assert!(error(sin * sin + cos * cos, Wide::ONE) < 1e-28, "{x:?}");
            assert!(error(x / Wide::new(7.0) * Wide::new(7.0), x) < 1e-28, "{x:?}");
        }
    }
}
