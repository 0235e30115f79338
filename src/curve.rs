//! Pictures of curves, as SVG: one or more panels beside each other, in each the same lines, every line with a band around it. A picture
//! stands alone as a file ([`svg`]), or is a panel of an HTML page, which may give it colours of its own ([`figure`]).
//!
//! A few shapes and texts are all that is drawn, so that no crate for plots is needed.

use std::fmt::Write as _;

/// A point of a line: where, and the lower end, the middle and the upper end of what is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The step.
    pub x: f64,
    /// The line.
    pub y: f64,
    /// The band, from below to above.
    pub band: [f64; 2],
}

/// A line of a panel. Lines of the same name have the same colour in all panels.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is, for the legend.
    pub name: String,
    /// Its points, by x; none leaves it out.
    pub points: Vec<Point>,
}

/// Axes with lines in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What is seen, above it.
    pub title: String,
    /// What goes to the right.
    pub x: String,
    /// What goes up, with its unit; empty where the title says it.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Colours that can be told apart, also by those who see fewer of them (Okabe and Ito). After them lines are dashed.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31",
];
const DASHES: [&str; 3] = ["", "6 3", "2 2"];

const PANEL: [f64; 2] = [380.0, 260.0];
/// Around the axes: to the left, above, to the right, below.
const MARGINS: [f64; 4] = [70.0, 30.0, 14.0, 42.0];
const LEGEND_LINE: f64 = 18.0;
/// Lines of fewer points have a dot at each.
const DOTTED: usize = 30;

/// The picture, a whole SVG file. Numbers that are not finite are left out.
pub fn svg(panels: &[Panel]) -> String {
    let names = names(panels);
    let width = PANEL[0] * panels.len().max(1) as f64;
    let height = PANEL[1] + LEGEND_LINE * names.len() as f64 + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut text, panel, PANEL[0] * at as f64, &names);
    }
    legend(&mut text, &names);
    text + "</svg>\n"
}

/// One panel for an HTML page: as wide as its place, named for those who do not see it, with the colours' classes `k0`, `k1`… (strokes), `f0`…
/// (fills) and `grid` for the page to change. Its title is left to the page. `names` are all lines' that the page has, so that one has the same colour in
/// every figure; `with_legend` draws those of this one below it.
pub fn figure(panel: &Panel, names: &[&str], with_legend: bool) -> String {
    let lines = if with_legend { panel.lines.len() } else { 0 };
    let [width, height] = [PANEL[0], PANEL[1] + LEGEND_LINE * lines as f64];
    let title = escaped(&panel.title);
    // The title is the page's own to set: it may take more than a line.
    let above = MARGINS[1] - 10.0;
    let mut text = format!(
        "<svg viewBox=\"0 {above} {width} {}\" role=\"img\" aria-label=\"{title}\" font-family=\"sans-serif\" font-size=\"12\">\
         <desc>{}</desc>\n",
        height - above,
        escaped(&described(panel))
    );
    let untitled = Panel {
        title: String::new(),
        ..panel.clone()
    };
    draw(&mut text, &untitled, 0.0, names);
    if with_legend {
        legend(&mut text, names);
    }
    text + "</svg>\n"
}

/// A line's mark in a legend of HTML.
pub fn swatch(at: usize) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 26 10\" aria-hidden=\"true\"><line x1=\"0\" y1=\"5\" x2=\"26\" y2=\"5\" {}/></svg>",
        style(at)
    )
}

/// A panel in words: where each line begins and ends.
fn described(panel: &Panel) -> String {
    let ends = |line: &Line| {
        let points: Vec<Point> = finite(line.points.iter()).collect();
        let (first, last) = (points.first()?, points.last()?);
        Some(format!(
            "{}: {} at {} {}, {} at {}",
            line.name,
            number(first.y),
            panel.x,
            number(first.x),
            number(last.y),
            number(last.x)
        ))
    };
    let mut all: Vec<String> = panel.lines.iter().filter_map(ends).collect();
    all.dedup();
    all.join("; ")
}

fn legend(text: &mut String, names: &[&str]) {
    for (at, name) in names.iter().enumerate() {
        let y = PANEL[1] + LEGEND_LINE * (at as f64 + 0.5);
        let (style, left) = (style(at), MARGINS[0]);
        let _ = writeln!(
            text,
            "<line x1=\"{left}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" {style}/><text x=\"{}\" y=\"{}\">{}</text>",
            left + 26.0,
            left + 34.0,
            y + 4.0,
            escaped(name)
        );
    }
}

/// All lines' names, each once, in their order.
fn names(panels: &[Panel]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.lines) {
        if !names.contains(&line.name.as_str()) {
            names.push(&line.name);
        }
    }
    names
}

/// How the line at this place of the legend is drawn.
fn style(at: usize) -> String {
    let colour = COLOURS[at % COLOURS.len()];
    let dashes = DASHES[at / COLOURS.len() % DASHES.len()];
    let class = at % COLOURS.len();
    format!(
        "class=\"k{class}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dashes}\""
    )
}

/// From numbers to places in the picture.
struct Axes {
    x: [f64; 2],
    y: [f64; 2],
    left: f64,
}

impl Axes {
    /// Axes around everything that is finite; none if nothing is.
    fn around(panel: &Panel, left: f64) -> Option<Self> {
        let points: Vec<Point> = finite(panel.lines.iter().flat_map(|line| &line.points)).collect();
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
                [low.min(value), high.max(value)]
            })
        };
        let x = ends(&mut points.iter().map(|point| point.x));
        let y = ends(
            &mut points
                .iter()
                .flat_map(|point| [point.band[0], point.y, point.band[1]]),
        );
        // What rounding alone tells apart is level.
        let wide = |[low, high]: [f64; 2], by: f64| match (high - low, low.abs().max(high.abs())) {
            (_, 0.0) => [-0.5, 0.5],
            (length, size) if length < 1e-6 * size => [low - 0.5 * size, high + 0.5 * size],
            (length, _) => [low - by * length, high + by * length],
        };
        (!points.is_empty()).then(|| Self {
            x: wide(x, 0.0),
            y: wide(y, 0.04),
            left,
        })
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let [left, above, right, below] = MARGINS;
        let share = |value: f64, [low, high]: [f64; 2]| (value - low) / (high - low);
        [
            self.left + left + share(x, self.x) * (PANEL[0] - left - right),
            PANEL[1] - below - share(y, self.y) * (PANEL[1] - above - below),
        ]
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let places = points.map(|(x, y)| {
            let [x, y] = self.place(x, y);
            format!("{x:.1},{y:.1}")
        });
        places.collect::<Vec<_>>().join(" ")
    }
}

fn finite<'a>(points: impl Iterator<Item = &'a Point>) -> impl Iterator<Item = Point> {
    points.copied().filter(|point| {
        [point.x, point.y, point.band[0], point.band[1]]
            .into_iter()
            .all(f64::is_finite)
    })
}

fn draw(text: &mut String, panel: &Panel, left: f64, names: &[&str]) {
    let [margin, _, right, _] = MARGINS;
    let middle = left + margin + (PANEL[0] - margin - right) / 2.0;
    let mut label = |x: f64, y: f64, anchor: &str, what: &str| {
        let _ = writeln!(
            text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(what)
        );
    };
    label(middle, 18.0, "middle", &panel.title);
    let Some(axes) = Axes::around(panel, left) else {
        label(middle, PANEL[1] / 2.0, "middle", "not measured");
        return;
    };
    label(middle, PANEL[1] - 8.0, "middle", &panel.x);
    for x in ticks(axes.x) {
        let [at, y] = axes.place(x, axes.y[0]);
        label(at, y + 15.0, "middle", &number(x));
    }
    let rows = ticks(axes.y);
    for &y in &rows {
        let [x, at] = axes.place(axes.x[0], y);
        label(x - 6.0, at + 4.0, "end", &number(y));
    }
    if !panel.y.is_empty() {
        let (x, y) = (
            left + 13.0,
            MARGINS[1] + (PANEL[1] - MARGINS[1] - MARGINS[3]) / 2.0,
        );
        let _ = writeln!(
            text,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(&panel.y)
        );
    }
    for &y in &rows {
        let [[x1, y1], [x2, _]] = [axes.place(axes.x[0], y), axes.place(axes.x[1], y)];
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y1:.1}\" stroke=\"#dddddd\"/>"
        );
    }
    for line in &panel.lines {
        let at = names.iter().position(|name| *name == line.name).unwrap_or(0);
        draw_line(text, &axes, line, at);
    }
}

/// A line with its band, in the colour of its place in the legend.
fn draw_line(text: &mut String, axes: &Axes, line: &Line, at: usize) {
    let points: Vec<Point> = finite(line.points.iter()).collect();
    let upper = points.iter().map(|point| (point.x, point.band[1]));
    let lower = points.iter().rev().map(|point| (point.x, point.band[0]));
    let band = axes.path(upper.chain(lower));
    let path = axes.path(points.iter().map(|point| (point.x, point.y)));
    let (class, style) = (at % COLOURS.len(), style(at));
    let colour = COLOURS[class];
    if points.iter().any(|point| point.band[0] < point.band[1]) {
        let _ = writeln!(
            text,
            "<polygon class=\"f{class}\" points=\"{band}\" fill=\"{colour}\" fill-opacity=\"0.15\"/>"
        );
    }
    let _ = writeln!(text, "<polyline points=\"{path}\" {style}/>");
    // One value alone would not be seen.
    for point in points.iter().filter(|_| points.len() < DOTTED) {
        let [x, y] = axes.place(point.x, point.y);
        let _ = write!(
            text,
            "<circle class=\"f{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\"/>"
        );
    }
}

/// Each value as the mean of the last `window` up to it.
pub fn smooth(series: &[(usize, f64)], window: usize) -> Vec<(usize, f64)> {
    let mean = |at: usize| {
        let of = &series[(at + 1).saturating_sub(window)..=at];
        of.iter().map(|(_, value)| value).sum::<f64>() / of.len() as f64
    };
    (0..series.len()).map(|at| (series[at].0, mean(at))).collect()
}

/// The line of a series: the means of the last `window` values, in a band from the least to the greatest of them. Where there would be
/// more than `most` points, only every so many are left, and the last.
pub fn windowed(series: &[(usize, f64)], window: usize, most: usize) -> Vec<Point> {
    let every = series.len().div_ceil(most.max(1)).max(1);
    let window = window.max(every);
    let point = |(at, (step, mean)): (usize, (usize, f64))| {
        let of = series[(at + 1).saturating_sub(window)..=at]
            .iter()
            .map(|(_, value)| *value);
        Point {
            x: step as f64,
            y: mean,
            band: [
                of.clone().fold(f64::INFINITY, f64::min),
                of.fold(f64::NEG_INFINITY, f64::max),
            ],
        }
    };
    let last = series.len().saturating_sub(1);
    let points = smooth(series, window).into_iter().enumerate();
    points
        .filter(|(at, _)| at % every == 0 || *at == last)
        .map(point)
        .collect()
}

/// About five round numbers in a range.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let step = power
        * factors
            .into_iter()
            .find(|factor| power * factor >= rough)
            .unwrap_or(10.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|at| at as f64 * step).collect()
}

/// A number without the digits that rounding left.
pub fn number(value: f64) -> String {
    let size = value.abs();
    // Beside a round number, rounding left this.
    let rounding = size < 1e-12;
    let text = match size {
        _ if rounding => "0".to_owned(),
        _ if !(1e-4..1e6).contains(&size) => {
            let text = format!("{value:.3e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
        }
        _ => format!("{value:.6}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A text in HTML, XML or an attribute of theirs. Control characters but line ends and tabs are left out.
pub fn escaped(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, values: &[f64]) -> Line {
        let point = |(x, &y): (usize, &f64)| Point {
            x: x as f64,
            y,
            band: [y - 0.1, y + 0.1],
        };
        Line {
            name: name.into(),
            points: values.iter().enumerate().map(point).collect(),
        }
    }

    #[test]
    fn every_line_is_drawn_and_named_once() {
        let panel = |title: &str| Panel {
            title: title.into(),
            x: "step".into(),
            y: String::new(),
            lines: vec![line("a<b", &[0.0, 0.5, f64::NAN, 1.0]), line("c", &[0.2, 0.2])],
        };
        let text = svg(&[panel("reward"), panel("pass@1")]);
        assert_eq!(text.matches("<polyline").count(), 4);
        assert_eq!(text.matches("a&lt;b").count(), 1);
        assert_eq!(text.matches(">reward<").count(), 1);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        // All but the value that is none.
        let path = text.split("<polyline points=\"").nth(1).unwrap();
        assert_eq!(path.split('"').next().unwrap().split(' ').count(), 3);
        assert_eq!(svg(&[panel("reward"), panel("pass@1")]), text);
    }

    #[test]
    fn a_figure_is_named_and_described() {
        let panel = Panel {
            title: "a \"b\"".into(),
            x: "step".into(),
            y: "share".into(),
            lines: vec![line("c", &[0.25, 0.5])],
        };
        let text = figure(&panel, &["d", "c"], false);
        assert!(text.contains("aria-label=\"a &quot;b&quot;\""), "{text}");
        assert!(
            text.contains("<desc>c: 0.25 at step 0, 0.5 at 1</desc>"),
            "{text}"
        );
        assert!(
            text.contains(">share<") && text.contains("class=\"k1\""),
            "{text}"
        );
        // What differs by rounding only is level, and has an axis.
        let level = Panel {
            lines: vec![Line {
                name: "c".into(),
                points: windowed(&[(0, 2e-4), (1, 2.000_000_000_1e-4)], 1, 9),
            }],
            ..panel
        };
        let text = figure(&level, &["c"], true);
        assert!(text.contains(">0.0002<") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn long_series_are_thinned_to_means_of_what_is_left_out() {
        let series: Vec<(usize, f64)> = (0..1000).map(|step| (step, (step % 2) as f64)).collect();
        let points = windowed(&series, 1, 100);
        assert!(points.len() <= 101);
        let last = points.last().unwrap();
        assert_eq!((last.x, last.y, last.band), (999.0, 0.5, [0.0, 1.0]));
        assert_eq!(windowed(&series[..3], 1, 100).len(), 3);
        assert_eq!(windowed(&[], 1, 100), []);
    }

    #[test]
    fn nothing_measured_is_said() {
        let text = svg(&[Panel {
            title: "pass@1".into(),
            x: "step".into(),
            y: String::new(),
            lines: vec![line("a", &[])],
        }]);
        assert!(text.contains("not measured") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn ticks_are_round() {
        let texts = |range| ticks(range).into_iter().map(number).collect::<Vec<_>>();
        assert_eq!(texts([0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(texts([0.0, 60.0]), ["0", "20", "40", "60"]);
        assert_eq!(texts([0.0, 3e-6]), ["0", "1e-6", "2e-6", "3e-6"]);
        assert_eq!(texts([0.0, 2e7]), ["0", "5e6", "1e7", "1.5e7", "2e7"]);
        assert_eq!(texts([-0.03, 0.031]), ["-0.02", "0", "0.02"]);
        assert_eq!(texts([5.0, 5.5]), ["5", "5.1", "5.2", "5.3", "5.4", "5.5"]);
    }
}
