use super::compare::Comparison;
use super::{Answer, Dialect, Unreadable, read};
use crate::grade::By;

fn answer(text: &str) -> Answer {
    read(text, Dialect::Common).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn by(a: &str, b: &str) -> (bool, By) {
    let outcome = Comparison::new(true).same(&answer(a), &answer(b));
    (outcome.equal, outcome.by)
}

#[track_caller]
pub(super) fn same(pairs: &[(&str, &str)]) {
    for (a, b) in pairs {
        assert!(by(a, b).0, "{a} = {b}: {} | {}", answer(a), answer(b));
        assert!(by(b, a).0, "{b} = {a}: {} | {}", answer(b), answer(a));
    }
}

#[track_caller]
pub(super) fn different(pairs: &[(&str, &str)]) {
    for (a, b) in pairs {
        assert!(!by(a, b).0, "{a} ≠ {b}: {} | {}", answer(a), answer(b));
        assert!(!by(b, a).0, "{b} ≠ {a}: {} | {}", answer(b), answer(a));
    }
}

/// One table of cases.
#[test]
fn numbers() {
    same(&[
        ("42", "+42"),
        ("0.5", r"\frac12"),
        (r"\frac{3}{4}", r"\dfrac34"),
        (r"\frac3{4}", "3/4"),
        (r"1\frac{4}{5}", "9/5"),
        ("1 1/2", "1.5"),
        (r"137 \frac{1}{2}", "275/2"),
        ("1,234,567", "1234567"),
        (r"10,\!080", "10080"),
        (r"11,\! 111,\! 100", "11111100"),
        ("14{,}916", "14916"),
        (r"\$32,348", "32348"),
        ("50%", "50"),
        (r"50\%", r"\frac12"),
        ("2.5E2", "250"),
        (r"2.5\times 10^{2}", "250"),
        ("1e-3", "0.001"),
        ("-1./3", r"-\frac{1}{3}"),
        (r"0.\overline{3}", "1/3"),
        (r"0.1\overline{6}", r"\frac16"),
        (r"5\text{ cm}^2", "5"),
        ("5 apples", "5"),
        ("5 km/h", "5"),
        (r"\frac{270}7\text{ degrees}", "270/7"),
        (r"90^\circ", "90"),
        ("-(-3)", "3"),
        ("--3", "3"),
        ("52_8", "52_{8}"),
        ("5!", "120"),
        (r"\binom{5}{2}", "10"),
        (r"{16 \choose 2}", "120"),
        (r"17 \bmod 5", "2"),
        (r"-1 \bmod 5", "4"),
        (r"\lfloor 2.5 \rfloor + \lceil 2.5 \rceil", "5"),
        (r"|3-5|", "2"),
        (r"\left| -2 \right|", "2"),
        (r"\gcd(12, 18)", "6"),
        (r"\operatorname{lcm}(4, 6)", "12"),
        (r"\max(1, 5, 3)", "5"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890.0",
        ),
    ]);
    different(&[
        ("9007199254740993", "9007199254740992"),
        ("5", "-5"),
        ("50%", "5"),
        ("52_8", "42"),
        ("52_8", "52_9"),
        ("32349", "32, 349"),
        ("5", "5.001"),
        ("1/3", "0.333"),
        ("1/3", "0.3334"),
    ]);
    assert_eq!(by("0.5", r"\frac{2}{4}"), (true, By::Exact));
    assert_eq!(by("1/3", "0.3333"), (true, By::Rounding));
    let exact = Comparison::new(false).same(&answer("1/3"), &answer("0.3333"));
    assert!(!exact.equal);
}

#[test]
fn roots_powers_and_functions() {
    same(&[
        (r"\sqrt3", r"\sqrt{3}"),
        (r"\sqrt{12}", r"2\sqrt 3"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt2}{2}"),
        (r"\frac{1}{1+\sqrt2}", r"\sqrt2-1"),
        (r"\sqrt[3]{-8}", "-2"),
        (r"5\sqrt[3]{4}", "5*4^{1/3}"),
        (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3"),
        ("2^{10}", "1024"),
        ("2^3^2", "512"),
        ("x**2", "x^2"),
        (r"2^{n+1}", r"2\cdot 2^n"),
        (r"4^n", r"2^{2n}"),
        (r"e^{a+b}", r"e^a e^b"),
        (r"\sin^2 x + \cos^2 x", "1"),
        (r"\tan^2(y)+1", r"\sec^2 y"),
        (r"2\sin b\cos a", r"2 \cos(a) \sin(b)"),
        (r"\sin^{-1} a", r"\arcsin a"),
        (r"\cos(60^\circ)", r"\frac12"),
        (r"\arccos(-1)", r"\pi"),
        (r"\log_2 8", "3"),
        (r"\log 100", "2"),
        (r"\ln(xy)", r"\ln x + \ln y"),
        (r"\frac{\log 2}{\log 3}", r"\log_3 2"),
        (r"e^{i\pi}", "-1"),
        (r"\frac{3}{4}i", r"\frac{3i}{4}"),
        (r"\frac{1}{1+i}", r"\frac{1-i}{2}"),
        ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}"),
        ("np.arcsin(10/13)", r"\arcsin\frac{10}{13}"),
        (r"\sum_{k=1}^{4} k^2", "30"),
        (r"\int_0^7 dx", r"\int_0^7 1 dx"),
        (r"\infty", "oo"),
    ]);
    different(&[
        (r"4\sqrt2", "4"),
        (r"\sqrt{x^2}", "-x"),
        ("|x|", "x"),
        (r"\lceil n/2 \rceil + 1", "2"),
        (r"\sin x", r"\cos x"),
        (r"2^{n+1}", r"2^n+1"),
        ("3 + 2i", "3 - 2i"),
        (r"\infty", r"-\infty"),
        (r"I(0)", "0"),
    ]);
    assert_eq!(by(r"\sqrt{8}", r"2\sqrt{2}"), (true, By::Symbolic));
    assert_eq!(by(r"\tan^2 y+1", r"\sec^2 y"), (true, By::Numeric));
}

#[test]
fn polynomials_and_rational_expressions() {
    same(&[
        ("(x-2)(x+2)", "x^2-4"),
        (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac{2}{7}"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\frac{1}{a}+\frac{1}{b}", r"\frac{a+b}{ab}"),
        ("x_1 + x_{2}", "x_2 + x_{1}"),
        ("x^2_i", "x_i^2"),
        (r"\frac{1}{2} xy", "0.5yx"),
        (r"\frac{\pi r}{h+r}", r"\frac{r \pi}{r+h}"),
        ("2x2y", "4xy"),
        (r"\omega_{L}^{\prime} v", r"v \omega_L'"),
        ("(1+x)^{20}", "(x+1)^{20}"),
        ("(x+y)^{300}", "(y+x)^{300}"),
        ("ab", "b*a"),
    ]);
    different(&[
        ("(a+5)(b+2)", "(+5)(b+2)"),
        ("x^3+2x+1", "x^2+2x+1"),
        ("x+1", "y+1"),
        ("x_1", "x_2"),
        ("x", "X"),
        (r"\lambda", r"\mu"),
    ]);
}

#[test]
fn several_values_tuples_and_sets() {
    same(&[
        ("1,-2", "-2,1"),
        ("1, 2 and 3", r"\{3,2,1\}"),
        (r"12\text{ and }13", "13, 12"),
        (r"21,16\text{ or }11", "11,16,21"),
        (r"1\pm\sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
        (r"\pm 2021", "-2021, 2021"),
        (r"a \pm b", r"a \mp b"),
        (r"\left(3, \frac{\pi}{2}\right)", r"(3, \pi/2)"),
        ("(x,y)=(3,2)", "(3,2)"),
        ("x = -5, p = 3", "-5, 3"),
        ("a=4,-8,-10", "-10,-8,4"),
        ("p=5,q=2;p=7,q=2", "(5,2),(7,2)"),
        ("(0;0;6),(4;-2;0)", "(4,-2,0),(0,0,6)"),
        (r"\{1\pm\sqrt5,-2\}", r"\{-2, 1-\sqrt5, 1+\sqrt5\}"),
        ("11:21", "22:42"),
        ("11:21", r"11\text{ to }21"),
        ("(4,7)", "P(4,7)"),
        ("(4,7)", r"\begin{cases} x = 4 \\ y = 7 \end{cases}"),
        ("(4,7)", "y=7, x=4"),
        (r"\emptyset", r"\text{no real solutions}"),
        (r"\emptyset", r"\{\}"),
    ]);
    different(&[
        ("(1,2)", "(2,1)"),
        (r"\sqrt{67}", r"\sqrt{67},-\sqrt{85}"),
        ("1,2", "1,2,3"),
        ("12:00", "1:00"),
        ("(7,0)", "(7,000)"),
        ("(4,7)", "x=7, y=4"),
        ("4:7", "7:4"),
        ("(1,3)", r"\{1,3\}"),
        (r"1\pm\sqrt{19}", r"1+\sqrt{19}"),
    ]);
}

#[test]
fn intervals_and_inequalities() {
    same(&[
        (r"x<-1 \text{ or } x>3", r"(-\infty,-1)\cup(3,\infty)"),
        (r"x<-1, x>3", r"]-\infty;-1[ \cup ]3;+\infty["),
        (r"(-\infty,-1),(3,\infty)", r"(-\infty,-1)\cup(3,\infty)"),
        (r"x>0 \land x \le 4", "]0, 4]"),
        ("x > 0, x < 4", "0 < t < 4"),
        (r"\{x : x<0 \text{ or } x>4\}", r"\mathbb{R} - [0, 4]"),
        (r"\{x \mid x<0\} \cup \{x \mid x>4\}", r"x \notin [0,4]"),
        (r"x \ge 2, x \in \mathbb{R}", r"[2,\infty["),
        (r"\text{all real numbers}", r"(-\infty,\infty)"),
        (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
        (r"x \in [-2,7]", "[-2,7]"),
        (r"-2 \le x \le 7", "[-2,7]"),
        (r"(-\infty, 2) \cup (3, \infty)", r"\mathbb{R} \setminus [2,3]"),
        (r"[0,1]\cup[1,2]", "[0,2]"),
        (r"\left(\frac35,\frac83\right]", "(0.6,2.6667]"),
        ("x >= 5", r"5 \leq x"),
        ("x < 1", "-x > -1"),
        ("2x > 4", r"(2,\infty)"),
        (r"1\leq|z|\leq \frac32", r"z \in [-\frac32,-1]\cup[1,\frac32]"),
        (r"|x-1|<2", "(-1,3)"),
        (r"x \neq 3", r"(-\infty,3)\cup(3,\infty)"),
        ("0<f(x)<1", "(0,1)"),
        ("k ⩾ 2", "[2, oo)"),
        (r"(-\infty, 0) \cup\{1\}", r"\{1\}\cup(-\infty,0)"),
        ("t(0,4]", r"t \in (0,4]"),
        ("[a,b)", "[a,b)"),
    ]);
    different(&[
        ("[0,1)", "(0,1)"),
        ("[0,9)", "[0,1)"),
        ("x > 5", "x >= 5"),
        ("x > 5", "y < 5"),
        ("x < 1", "x > -1"),
        (r"(0,9) \cup (9,36)", "(0,36)"),
        ("[0,1]", "0, 1"),
        (r"x<-1 \text{ and } x>3", r"(-\infty,-1)\cup(3,\infty)"),
        (r"x>0 \text{ or } x<4", "(0,4)"),
        ("]0,4[", "]0,4]"),
        (r"x \ge 2, x \in \mathbb{Z}", r"[2,\infty)"),
        (r"x>0 \text{ and } y<4", "(0,4)"),
    ]);
}

#[test]
fn equations_and_names() {
    same(&[
        ("x=5", "5"),
        ("5", "k = 5"),
        ("f(x)=2x+3", "y = 3 + 2x"),
        ("A:B=1", "1"),
        (r"\frac{NO}{BO}=\frac{1}{\sqrt6}", r"\frac{\sqrt6}{6}"),
        ("x = 5+5+1 = 11", "11"),
        ("e^{i\\pi} = -1", "-1"),
        (r"x\approx11", "11"),
        (r"\frac13\approx 0.33", "1/3"),
        ("2x+4y-3=0", r"y=-\frac12x+\frac34"),
        ("x^2+y^2=1", "x^2=1-y^2"),
        ("x^2/4 + y^2/3 = 1", "x^2/16 + y^2/12 = 1/4"),
        (r"y^{\prime}+ry=0", "y' = -ry"),
        (r"\frac{dx}{dt}=kx-a", r"\frac{dx}{dt} = -a + kx"),
        ("f(2) < f(1) < f(4)", "f(4) > f(1) > f(2)"),
        ("f(x)=ax+b, where b is an integer", "ax+b"),
        ("8", "m + n = 8"),
        ("8", "8 = ab"),
        ("8", "p + q + r = 3 + 5 = 8"),
        ("|CD| = 8", "8"),
        ("8", r"|z - w| = 8"),
        ("8", "f(1) + f(3) = 8"),
        ("8", r"\angle P + \angle Q = 8^\circ"),
        ("8", r"2x = 16 \implies x = 8"),
        ("8", r"\begin{aligned} x &= 5 + 3 \\ &= 8 \end{aligned}"),
        ("1/7", "1/7 = 0.14"),
        ("1/2", r"\frac12 \text{ or } 0.5"),
    ]);
    different(&[
        ("x=1", "x=2"),
        ("x=1", "t=1"),
        ("7 = 11a+c", "11a+c"),
        ("2x + z = 1", "1"),
        ("x^2+y^2=1", "x^2+y^2=2"),
        ("5x - 7y + 11z + 4 = 0", "x + y - z + 2 = 0"),
        ("8", "m + 8 = n"),
        ("8", "x + 1 = 8"),
        ("8", "x^2 = 8"),
        ("8", r"m + n \ne 8"),
        ("8", "m + n = 9"),
    ]);
}

#[test]
fn matrices_and_words() {
    same(&[
        (
            r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
            r"\begin{bmatrix}0.2\\-3.6\end{bmatrix}",
        ),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}+\begin{pmatrix}5&6\\7&8\end{pmatrix}",
            r"\begin{pmatrix}6&8\\10&12\end{pmatrix}",
        ),
        (
            r"2\begin{pmatrix}1&0\\0&1\end{pmatrix}\begin{pmatrix}3\\-2\end{pmatrix}",
            r"\begin{pmatrix}6\\-4\end{pmatrix}",
        ),
        (r"\begin{vmatrix} 2 & 1 \\ 1 & 2 \end{vmatrix}", "3"),
        (r"\begin{pmatrix}1\\2\\3\end{pmatrix}", "(1,2,3)"),
        (r"\text{Evelyn}", "evelyn"),
        (r"\text{no solution}", "No Solution"),
    ]);
    different(&[
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\begin{pmatrix}1&2\\4&3\end{pmatrix}",
        ),
        (
            r"\begin{pmatrix}1&2\end{pmatrix}",
            r"\begin{pmatrix}1&2&3\end{pmatrix}",
        ),
        (r"\text{odd}", r"\text{even}"),
    ]);
}

#[test]
fn sympys_spelling() {
    let read = |text: &str| read(text, Dialect::Sympy).unwrap_or_else(|error| panic!("{text}: {error}"));
    for (sympy, latex) in [
        ("x**2/4 + sqrt(3)", r"\frac{x^2}{4}+\sqrt3"),
        ("Abs(x)", "|x|"),
        ("Rational(1, 2)", r"\frac12"),
        ("exp(2*I*pi)", "1"),
        ("log(x, 10)", r"\log_{10} x"),
        ("log(E)", "1"),
        (
            "Matrix([[1, 2], [3, 4]])",
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        ),
        (
            "Matrix([\n[1],\n[2],\n[3]])",
            r"\begin{pmatrix}1\\2\\3\end{pmatrix}",
        ),
        (
            "Union(Interval.open(0, 1), Interval(2, oo))",
            r"(0,1)\cup[2,\infty)",
        ),
        ("Eq(x, 2)", "x=2"),
        ("FiniteSet(1, 2)", r"\{2,1\}"),
        ("EmptySet", r"\emptyset"),
        ("Integral(x**2, (x, 0, 1))", r"\int_0^1 x^2 dx"),
        (
            "Sum(1/factorial(n), (n, 0, oo))",
            r"\sum_{n=0}^{\infty}\frac1{n!}",
        ),
        ("Limit(1/x, x, oo, dir='-')", r"\lim_{x\to\infty}\frac1x"),
        ("Derivative(tan(x), x)", r"\frac{d}{dx}\tan x"),
        ("Mod(a, b)", r"a \bmod b"),
    ] {
        let outcome = Comparison::new(true).same(&read(sympy), &answer(latex));
        assert!(
            outcome.equal,
            "{sympy} = {latex}: {} | {}",
            read(sympy),
            answer(latex)
        );
    }
}

#[test]
fn what_is_no_mathematics_is_said_so() {
    for text in [
        "3 +",
        "(1, 2",
        r"\frac{1}",
        "x ==",
        "2^",
        r"\sqrt",
        "|3",
        "5_x",
        r"\begin{pmatrix}1&2\\3\end{pmatrix}",
    ] {
        assert!(
            matches!(read(text, Dialect::Common), Err(Unreadable::Syntax { .. })),
            "{text}"
        );
    }
    assert_eq!(read(" $ ", Dialect::Common), Err(Unreadable::Empty));
    assert_eq!(read(&"(".repeat(5000), Dialect::Common), Err(Unreadable::TooBig));
    assert_eq!(
        read(&"1+".repeat(50_000), Dialect::Common),
        Err(Unreadable::TooBig)
    );
    assert_eq!(read(&"1/".repeat(1000), Dialect::Common), Err(Unreadable::TooBig));
}

#[test]
fn what_cannot_be_worked_out_stays_as_it_is() {
    same(&[
        ("9^{9^{9}}", "3^{2*9^9}"),
        ("9^{9^{9^{9}}}", "9^{9^{9^{9}}}"),
        ("10^{100000}", "10^{100000}"),
        ("(10^9)!", "(10^9)!"),
        (r"\frac{100!}{2^{50}}", r"100!\cdot 2^{-50}"),
    ]);
    different(&[("9^{9^{9}}", "9^{9^{8}}"), ("10^{100000}", "10^{100001}")]);
}
