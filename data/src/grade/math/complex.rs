//! Complex numbers over [`Wide`], principal branches.

use super::wide::{PI, Wide};

/// `re + i·im`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Complex {
    pub re: Wide,
    pub im: Wide,
}

impl Complex {
    pub const ZERO: Self = Self::real(Wide::ZERO);
    pub const ONE: Self = Self::real(Wide::ONE);
    pub const I: Self = Self {
        re: Wide::ZERO,
        im: Wide::ONE,
    };

    pub const fn real(re: Wide) -> Self {
        Self { re, im: Wide::ZERO }
    }

    pub fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite()
    }

    pub fn is_zero(self) -> bool {
        self.re.hi == 0.0 && self.im.hi == 0.0
    }

    pub fn is_real(self) -> bool {
        self.im.hi == 0.0
    }

    pub fn neg(self) -> Self {
        Self {
            re: -self.re,
            im: -self.im,
        }
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }

    pub fn minus(self, other: Self) -> Self {
        self.plus(other.neg())
    }

    pub fn times(self, other: Self) -> Self {
        if self.is_real() && other.is_real() {
            return Self::real(self.re * other.re);
        }
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }

    pub fn over(self, other: Self) -> Self {
        if self.is_real() && other.is_real() {
            return Self::real(self.re / other.re);
        }
        let size = other.re * other.re + other.im * other.im;
        let top = self.times(Self {
            re: other.re,
            im: -other.im,
        });
        Self {
            re: top.re / size,
            im: top.im / size,
        }
    }

    pub fn size(self) -> Wide {
        if self.is_real() {
            return self.re.abs();
        }
        let (a, b) = (self.re.abs(), self.im.abs());
        let (large, small) = if a.hi > b.hi { (a, b) } else { (b, a) };
        let ratio = small / large;
        large * (Wide::ONE + ratio * ratio).sqrt()
    }

    pub fn exp(self) -> Self {
        let size = self.re.exp();
        if self.is_real() {
            return Self::real(size);
        }
        let (sin, cos) = self.im.sin_cos();
        Self {
            re: size * cos,
            im: size * sin,
        }
    }

    pub fn ln(self) -> Self {
        if self.is_real() && self.re.hi > 0.0 {
            return Self::real(self.re.ln());
        }
        Self {
            re: self.size().ln(),
            im: self.angle(),
        }
    }

    /// In (-π, π].
    pub fn angle(self) -> Wide {
        if self.is_real() {
            return if self.re.hi < 0.0 { PI } else { Wide::ZERO };
        }
        Wide::atan2(self.im, self.re)
    }

    pub fn sqrt(self) -> Self {
        if self.is_real() {
            return if self.re.hi >= 0.0 {
                Self::real(self.re.sqrt())
            } else {
                Self {
                    re: Wide::ZERO,
                    im: (-self.re).sqrt(),
                }
            };
        }
        let half = Wide::new(0.5);
        let re = ((self.size() + self.re.abs()) * half).sqrt();
        let im = self.im / (re * Wide::new(2.0));
        if self.re.hi >= 0.0 {
            Self { re, im }
        } else {
            let sign = if self.im.hi < 0.0 { -Wide::ONE } else { Wide::ONE };
            Self {
                re: im.abs(),
                im: re * sign,
            }
        }
    }

    /// A whole power.
    pub fn powi(self, power: u64) -> Self {
        let (mut result, mut square, mut left) = (Self::ONE, self, power);
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(square);
            }
            left >>= 1;
            if left > 0 {
                square = square.times(square);
            }
        }
        result
    }

    pub fn pow(self, exponent: Self) -> Self {
        let whole = exponent.re.hi;
        let is_whole = exponent.is_real() && exponent.re == Wide::new(whole.round()) && whole.abs() < 1e6;
        if is_whole {
            let power = self.powi(whole.abs() as u64);
            return if whole < 0.0 { Self::ONE.over(power) } else { power };
        }
        if exponent.is_real() && exponent.re == Wide::new(0.5) {
            return self.sqrt();
        }
        if self.is_zero() {
            let value = if exponent.re.hi > 0.0 { 0.0 } else { f64::NAN };
            return Self::real(Wide::new(value));
        }
        exponent.times(self.ln()).exp()
    }

    /// Sine and cosine.
    pub fn sin_cos(self) -> (Self, Self) {
        if self.is_real() {
            let (sin, cos) = self.re.sin_cos();
            return (Self::real(sin), Self::real(cos));
        }
        // From e^{iz}, e^{-iz}.
        let turned = Self {
            re: -self.im,
            im: self.re,
        };
        let (up, down) = (turned.exp(), turned.neg().exp());
        let half = Self::real(Wide::new(0.5));
        let sin = up.minus(down).times(half);
        (
            Self {
                re: sin.im,
                im: -sin.re,
            },
            up.plus(down).times(half),
        )
    }

    /// Arc sine: -i ln(iz + √(1-z²)).
    pub fn asin(self) -> Self {
        if self.is_real() && self.re.abs().hi <= 1.0 {
            let cos = (Wide::ONE - self.re * self.re).sqrt();
            let cos = if cos.is_finite() { cos } else { Wide::ZERO };
            return Self::real(Wide::atan2(self.re, cos));
        }
        let root = Self::ONE.minus(self.times(self)).sqrt();
        let ln = Self::I.times(self).plus(root).ln();
        Self {
            re: ln.im,
            im: -ln.re,
        }
    }

    /// Arc tangent: (i/2) (ln(1-iz) - ln(1+iz)).
    pub fn atan(self) -> Self {
        if self.is_real() {
            return Self::real(Wide::atan2(self.re, Wide::ONE));
        }
        let iz = Self::I.times(self);
        let difference = Self::ONE.minus(iz).ln().minus(Self::ONE.plus(iz).ln());
        let half = Wide::new(0.5);
        Self {
            re: -(difference.im * half),
            im: difference.re * half,
        }
    }
}
