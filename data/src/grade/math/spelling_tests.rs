use super::tests::{different, same};

#[test]
fn layout_says_nothing() {
    for dressed in [
        r"\color{blue} 17",
        r"\textcolor{blue}{17}",
        r"\fcolorbox{red}{white}{17}",
        r"\huge 17",
        r"\hspace*{2em}17\vphantom{1}",
        r"\kern-3pt 17",
        r"17\tag*{(3)}",
        r"\therefore 17",
        r"\Longrightarrow n = 17",
        r"17 \qquad \blacksquare",
        r"\underline{\mathbf{17}}",
        r"\ensuremath{17}\qed",
        r"\begin{split} n &= 17 \end{split}",
        r"\begin{array}{c} 17 \end{array}",
        r"17^{\text{th}}",
        r"{\bf 17}\\",
    ] {
        same(&[("17", dressed)]);
    }
    different(&[
        ("17", r"\color{blue} 18"),
        ("17", r"\text{not }17"),
        ("17", r"\text{less than }17"),
        ("17", r"17 \implies 18"),
    ]);
}

#[test]
fn thousands_are_parted_by_small_spaces() {
    for number in [
        r"98\;765",
        r"98\ 765",
        "98~765",
        r"98\thinspace 765",
        r"98\kern 2pt 765",
        "98_765",
        r"98\hspace{1pt}765",
        "98{\\,}765",
        r"98\text{,}765",
        "98'765",
    ] {
        same(&[("98765", number)]);
    }
    different(&[
        ("98765", r"98\quad 765"),
        ("98765", r"98\cdot 765"),
        ("98765", "98.765"),
    ]);
}

#[test]
fn units_are_products() {
    for with in [
        r"6.5\ \mathrm{m/s^2}",
        r"6.5\,\text{kg}\,\text{m}\,\text{s}^{-2}",
        r"6.5 \text{ N}",
        r"6.5\,\mathrm{J/(kg\cdot K)}",
        r"6.5\,\frac{\text{km}}{\text{h}}",
        r"6.5\,\mathrm{\mu m}",
        r"6.5\,\mathrm{k\Omega}",
        r"6.5\,M_\odot",
        r"6.5^\circ\text{C}",
        r"6.5 \text{ meters per second}",
        r"6.5\,{\rm m\,s^{-1}}",
        r"6.5 \operatorname{cm}",
        r"6.5\,\mathrm{^\circ C}",
        r"6.5\textdegree",
        r"\text{\$}6.5",
        "USD 6.5",
        "6.5 min",
        "6.5 hr",
    ] {
        same(&[("6.5", with)]);
    }
    same(&[(r"7\text{ thousand dollars}", "7000"), ("0.2 million", "200000")]);
    different(&[
        ("6.5", "6.5x"),
        ("6.5", "6.5m"),
        ("6.5", r"6.5\mathrm{e}"),
        ("7", r"7\text{ thousand}"),
        ("2\\pi", r"360^\circ"),
        (r"90^{\circ}", r"\frac{\pi}{2}"),
    ]);
}

#[test]
fn definite_integrals_have_values() {
    same(&[
        (r"\int_0^4 1\,dx", "4"),
        (r"\int_0^{\pi} \sin t\,dt", "2"),
        (r"\int_1^e \frac{1}{x} dx", "1"),
        (r"\int_0^1 \sqrt{1-x^2}\,dx", r"\frac{\pi}{4}"),
    ]);
    different(&[(r"\int_0^4 1\,dx", "5"), (r"\int_{-1}^1 \frac1x dx", "0")]);
}
