//! Charts as plain SVG: bars in groups, and points; small enough to read in a diff.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 54.0;
/// Told apart by whoever sees no colors too: their lightness differs.
const COLORS: [&str; 5] = ["#1b4f72", "#e08e0b", "#7fb3d5", "#a93226", "#9aa5ab"];

/// Bars in groups on an axis from zero, or by powers of ten.
pub struct Bars<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    pub groups: &'a [String],
    pub series: &'a [(String, Vec<f64>)],
    pub is_log: bool,
}

impl Bars<'_> {
    pub fn svg(&self) -> String {
        let values = || self.series.iter().flat_map(|(_, values)| values).copied();
        let axis = Axis::new(values(), self.is_log);
        let mut svg = begin(self.title, self.unit);
        grid(&mut svg, &axis);
        let group_width = (WIDTH - LEFT - RIGHT) / self.groups.len() as f64;
        let bar_width = group_width * 0.8 / self.series.len() as f64;
        for (at, group) in self.groups.iter().enumerate() {
            let left = LEFT + group_width * (at as f64 + 0.1);
            for (number, (_, values)) in self.series.iter().enumerate() {
                let value = values[at];
                let (x, y) = (left + bar_width * number as f64, axis.y(value));
                let (width, height) = (bar_width * 0.92, (HEIGHT - BOTTOM - y).max(0.0));
                let color = COLORS[number % COLORS.len()];
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
                );
                text(&mut svg, x + width / 2.0, y - 4.0, "middle", 10, &short(value));
            }
            text(&mut svg, left + group_width * 0.4, HEIGHT - BOTTOM + 18.0, "middle", 12, group);
        }
        let mut x = LEFT;
        for (number, (name, _)) in self.series.iter().enumerate() {
            let color = COLORS[number % COLORS.len()];
            let _ =
                writeln!(svg, "<rect x=\"{x:.1}\" y=\"40\" width=\"11\" height=\"11\" fill=\"{color}\"/>");
            text(&mut svg, x + 16.0, 50.0, "start", 12, name);
            x += 34.0 + 6.6 * name.len() as f64;
        }
        svg + "</svg>\n"
    }
}

/// Points with names.
pub struct Points<'a> {
    pub title: &'a str,
    pub x_unit: &'a str,
    pub y_unit: &'a str,
    pub points: &'a [(String, f64, f64)],
}

impl Points<'_> {
    pub fn svg(&self) -> String {
        let axis = Axis::new(self.points.iter().map(|(_, _, y)| *y), false);
        let most = Axis::new(self.points.iter().map(|(_, x, _)| *x), false).most;
        let mut svg = begin(self.title, self.y_unit);
        grid(&mut svg, &axis);
        let place = |x: f64| LEFT + (WIDTH - LEFT - RIGHT) * x / most;
        for tick in 0..=4 {
            let value = most * f64::from(tick) / 4.0;
            text(&mut svg, place(value), HEIGHT - BOTTOM + 18.0, "middle", 12, &short(value));
        }
        text(&mut svg, (LEFT + WIDTH) / 2.0, HEIGHT - 14.0, "middle", 12, self.x_unit);
        for (name, x, y) in self.points {
            let (x, y) = (place(*x), axis.y(*y));
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{}\"/>", COLORS[0]);
            let (at, anchor) = if x > WIDTH * 0.75 { (x - 8.0, "end") } else { (x + 8.0, "start") };
            text(&mut svg, at, y + 4.0, anchor, 10, name);
        }
        svg + "</svg>\n"
    }
}

struct Axis {
    least: f64,
    most: f64,
    is_log: bool,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, is_log: bool) -> Self {
        let most = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        if is_log {
            let least = values.filter(|value| *value > 0.0).fold(most, f64::min);
            return Self {
                least: 10_f64.powf(least.log10().floor()),
                most: 10_f64.powf(most.log10().ceil()),
                is_log,
            };
        }
        let step = 10_f64.powf(most.log10().floor());
        let steps = [1.0, 2.0, 4.0, 8.0, 10.0].into_iter().find(|steps| step * steps >= most);
        Self { least: 0.0, most: step * steps.unwrap_or(10.0), is_log }
    }

    fn y(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value.max(self.least) / self.least).log10() / (self.most / self.least).log10().max(1.0)
        } else {
            value / self.most
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.is_log {
            return (0..=4).map(|tick| self.most * f64::from(tick) / 4.0).collect();
        }
        let mut ticks = vec![self.least];
        while ticks[ticks.len() - 1] < self.most * 0.99 {
            ticks.push(ticks[ticks.len() - 1] * 10.0);
        }
        ticks
    }
}

fn begin(title: &str, unit: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" role=\"img\">\n<title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         fill=\"#fff\"/>\n"
    );
    text(&mut svg, LEFT, 22.0, "start", 15, title);
    let _ = writeln!(
        svg,
        "<text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\" font-size=\"12\" fill=\"#333\">{unit}</text>",
        (HEIGHT + TOP - BOTTOM) / 2.0
    );
    svg
}

fn grid(svg: &mut String, axis: &Axis) {
    for tick in axis.ticks() {
        let y = axis.y(tick);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/>", WIDTH - RIGHT);
        text(svg, LEFT - 6.0, y + 4.0, "end", 12, &short(tick));
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, size: u8, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"#333\">{text}</text>"
    );
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value {
        _ if value == 0.0 => "0".into(),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}").trim_end_matches(".0").into(),
        _ if value >= 1.0 => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').into(),
        _ => format!("{value:.3}").trim_end_matches('0').into(),
    }
}
