//! Pictures of curves, as SVG: one or more panels beside each other, in each the same lines, every line with a band around it.
//!
//! A few shapes and texts are all that is drawn, so that no crate for plots is needed; what comes out stands alone as a file and inside
//! an HTML page.

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
    /// The lines.
    pub lines: Vec<Line>,
}

/// Colours that can be told apart, also by those who see fewer of them (Okabe and Ito). After them lines are dashed.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31",
];
const DASHES: [&str; 3] = ["", "6 3", "2 2"];

const PANEL: [f64; 2] = [420.0, 280.0];
/// Around the axes: to the left, above, to the right, below.
const MARGINS: [f64; 4] = [56.0, 34.0, 16.0, 42.0];
const LEGEND_LINE: f64 = 18.0;

/// The picture, a whole SVG file. Numbers that are not finite are left out.
pub fn svg(panels: &[Panel]) -> String {
    let names = names(panels);
    let width = PANEL[0] * panels.len().max(1) as f64;
    let height = PANEL[1] + LEGEND_LINE * names.len() as f64 + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut text, panel, PANEL[0] * at as f64, &names);
    }
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
    text + "</svg>\n"
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
    format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dashes}\"")
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
        let wide = |[low, high]: [f64; 2], by: f64| match high - low {
            0.0 => [low - 0.5, high + 0.5],
            length => [low - by * length, high + by * length],
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
    label(middle, 20.0, "middle", &panel.title);
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
    for &y in &rows {
        let [[x1, y1], [x2, _]] = [axes.place(axes.x[0], y), axes.place(axes.x[1], y)];
        let _ = writeln!(
            text,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y1:.1}\" stroke=\"#dddddd\"/>"
        );
    }
    for line in &panel.lines {
        let at = names.iter().position(|name| *name == line.name).unwrap_or(0);
        let points: Vec<Point> = finite(line.points.iter()).collect();
        let upper = points.iter().map(|point| (point.x, point.band[1]));
        let lower = points.iter().rev().map(|point| (point.x, point.band[0]));
        let band = axes.path(upper.chain(lower));
        let path = axes.path(points.iter().map(|point| (point.x, point.y)));
        let (colour, style) = (COLOURS[at % COLOURS.len()], style(at));
        let _ = writeln!(
            text,
            "<polygon points=\"{band}\" fill=\"{colour}\" fill-opacity=\"0.15\"/>"
        );
        let _ = writeln!(text, "<polyline points=\"{path}\" {style}/>");
    }
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
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
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
    fn nothing_measured_is_said() {
        let text = svg(&[Panel {
            title: "pass@1".into(),
            x: "step".into(),
            lines: vec![line("a", &[])],
        }]);
        assert!(text.contains("not measured") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn ticks_are_round() {
        let texts = |range| ticks(range).into_iter().map(number).collect::<Vec<_>>();
        assert_eq!(texts([0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(texts([0.0, 60.0]), ["0", "20", "40", "60"]);
        assert_eq!(texts([-0.03, 0.031]), ["-0.02", "0", "0.02"]);
        assert_eq!(texts([5.0, 5.5]), ["5", "5.1", "5.2", "5.3", "5.4", "5.5"]);
    }
}
