//! Drawings of a run, as SVG: rate against latency, and where the processor time of a call goes.
//!
//! They are plain lines, rectangles and texts, so that every viewer shows them alike.

use std::fmt::Write as _;

use crate::cases::CURVE;
use crate::measurement::{Measurement, Process};

/// Measurements by their cases.
pub(crate) type Measured = [(&'static str, Vec<Measurement>)];

const WIDTH: f64 = 960.0;

/// Around the drawing itself.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 40.0;

/// Colours that can be told apart also by those who do not see all of them.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
const INK: &str = "#1f2933";
const FAINT: &str = "#52606d";
const GRID: &str = "#e4e7eb";

/// A drawing that grows.
struct Svg {
    body: String,
    height: f64,
}

/// Where a text stands beside its point.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    fn new(height: f64, title: &str, below: &str) -> Self {
        let mut svg = Self {
            body: String::new(),
            height,
        };
        svg.sized(LEFT, 34.0, title, INK, 18, Anchor::Start);
        svg.sized(LEFT, height - 14.0, below, FAINT, 11, Anchor::Start);
        svg
    }

    fn text(&mut self, x: f64, y: f64, text: &str, anchor: Anchor) {
        self.sized(x, y, text, FAINT, 12, anchor);
    }

    fn sized(&mut self, x: f64, y: f64, text: &str, colour: &str, size: u32, anchor: Anchor) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" font-size=\"{size}\" \
             text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
             stroke=\"{colour}\" stroke-width=\"1\"/>"
        );
    }

    fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>"
        );
    }

    /// A line through points, with a dot at each; `dashes` as SVG has them.
    fn curve(&mut self, points: &[(f64, f64)], colour: &str, dashes: &str) {
        let shown: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>",
            shown.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(
                self.body,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
    }

    fn finish(self) -> String {
        let height = self.height;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH:.0} {height:.0}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
             <rect width=\"{WIDTH:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// A quantile that is drawn: its name, its value, and its dashes.
type Quantile = (&'static str, fn(&Measurement) -> f64, &'static str);

const QUANTILES: [Quantile; 3] = [
    ("p50", |it| it.p50_ms.median, "none"),
    ("p99", |it| it.p99_ms.median, "7 4"),
    ("p99.9", |it| it.p999_ms.median, "2 4"),
];

/// Latency over rate, of the open loops of the case for it; `None` if it was not measured.
pub(crate) fn rate_latency(measured: &Measured, below: &str) -> Option<String> {
    const HEIGHT: f64 = 560.0;
    const TOP: f64 = 96.0;
    const BOTTOM: f64 = HEIGHT - 84.0;
    let (_, points) = measured.iter().find(|(case, _)| *case == CURVE)?;
    let open = points
        .iter()
        .filter(|it| it.settings.begun_per_second.is_some());
    let points: Vec<&Measurement> = open.collect();
    let mut names: Vec<&str> = Vec::new();
    for it in &points {
        if !names.contains(&it.name.as_str()) {
            names.push(&it.name);
        }
    }
    let most = points.iter().map(|it| it.rate.median).reduce(f64::max)?;
    let values = points
        .iter()
        .flat_map(|it| QUANTILES.map(|(_, value, _)| value(it)));
    let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
    let low = decade_below(values.iter().copied().reduce(f64::min)?);
    let high = decade_above(values.iter().copied().reduce(f64::max)?);
    let step = step(most);
    let end = (most / step).ceil() * step;
    let x = |rate: f64| LEFT + rate / end * (WIDTH - LEFT - RIGHT);
    let y = |ms: f64| BOTTOM - (ms.max(low) / low).log10() / (high / low).log10() * (BOTTOM - TOP);

    let mut svg = Svg::new(
        HEIGHT,
        "Latency at a steady rate of calls (open loop)",
        below,
    );
    let mut ms = low;
    while ms <= high * 1.01 {
        svg.line((LEFT, y(ms)), (WIDTH - RIGHT, y(ms)), GRID);
        svg.text(LEFT - 8.0, y(ms) + 4.0, &milliseconds(ms), Anchor::End);
        ms *= 10.0;
    }
    let mut rate = 0.0;
    while rate <= end * 1.01 {
        svg.line((x(rate), TOP), (x(rate), BOTTOM), GRID);
        svg.text(x(rate), BOTTOM + 20.0, &thousands(rate), Anchor::Middle);
        rate += step;
    }
    svg.text(WIDTH / 2.0, BOTTOM + 42.0, "calls a second", Anchor::Middle);
    svg.text(LEFT - 8.0, TOP - 14.0, "latency", Anchor::End);
    for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
        for (_, value, dashes) in QUANTILES {
            let of_name = points.iter().filter(|it| it.name == *name);
            let curve = of_name.map(|it| (x(it.rate.median), y(value(it))));
            svg.curve(&curve.collect::<Vec<(f64, f64)>>(), colour, dashes);
        }
    }
    // The key: who by colour, which part of the calls by dashes.
    let who = names.iter().zip(COLOURS.iter().cycle());
    let who = who.map(|(name, colour)| (*name, *colour, "none"));
    let parts = QUANTILES.map(|(name, _, dashes)| (name, FAINT, dashes));
    let mut at = LEFT;
    for (name, colour, dashes) in who.chain(parts) {
        svg.curve(&[(at, 60.0), (at + 30.0, 60.0)], colour, dashes);
        svg.text(at + 40.0, 64.0, name, Anchor::Start);
        at += 66.0 + 6.6 * name.chars().count() as f64;
    }
    Some(svg.finish())
}

/// Where the processor time of a call goes, of every closed loop; `None` if there was none.
pub(crate) fn processors(measured: &Measured, below: &str) -> Option<String> {
    const TOP: f64 = 92.0;
    const BAR: f64 = 18.0;
    const EACH: f64 = 30.0;
    const LABEL: f64 = 340.0;
    const PARTS: [(&str, &str); 4] = [
        ("server, its own code", "#0072b2"),
        ("server, kernel", "#7fb8d8"),
        ("function", "#e69f00"),
        ("load", "#c4cdd5"),
    ];
    let closed = measured.iter().flat_map(|(case, all)| {
        let closed = all.iter().filter(|it| it.settings.in_flight.is_some());
        closed.map(move |it| (*case, it))
    });
    let bars: Vec<(String, [f64; 4])> = closed
        .filter_map(|(case, it)| Some((format!("{case}: {}", it.title()), parts(it)?)))
        .collect();
    let sum = |parts: &[f64; 4]| parts.iter().sum::<f64>();
    let most = bars.iter().map(|(_, parts)| sum(parts)).reduce(f64::max)?;
    let step = step(most);
    let end = (most / step).ceil() * step;
    let bottom = TOP + EACH * bars.len() as f64;
    let x = |us: f64| LABEL + us / end * (WIDTH - LABEL - RIGHT - 50.0);
    let title = "Processor time of a call, by place";
    let mut svg = Svg::new(bottom + 84.0, title, below);
    let mut at = LEFT;
    for (name, colour) in PARTS {
        svg.rectangle((at, 52.0), (14.0, 14.0), colour);
        svg.text(at + 20.0, 64.0, name, Anchor::Start);
        at += 52.0 + 6.2 * name.chars().count() as f64;
    }
    let mut us = 0.0;
    while us <= end * 1.01 {
        svg.line((x(us), TOP - 6.0), (x(us), bottom), GRID);
        svg.text(x(us), bottom + 18.0, &format!("{us:.0}"), Anchor::Middle);
        us += step;
    }
    svg.text(
        x(end / 2.0),
        bottom + 38.0,
        "µs for each call",
        Anchor::Middle,
    );
    for (index, (label, parts)) in bars.iter().enumerate() {
        let y = TOP + EACH * index as f64;
        svg.sized(LABEL - 10.0, y + 13.0, label, INK, 12, Anchor::End);
        let mut from = 0.0;
        for (part, (_, colour)) in parts.iter().zip(PARTS) {
            svg.rectangle((x(from), y), (x(from + part) - x(from), BAR), colour);
            from += part;
        }
        svg.text(
            x(from) + 6.0,
            y + 13.0,
            &format!("{from:.1}"),
            Anchor::Start,
        );
    }
    Some(svg.finish())
}

/// The server's own code and kernel, other processes, and the load; `None` if nobody was looked at.
fn parts(measurement: &Measurement) -> Option<[f64; 4]> {
    let [server, others @ .., load] = &measurement.processes[..] else {
        return None;
    };
    let both = |it: &Process| it.user_us.median + it.system_us.median;
    Some([
        server.user_us.median,
        server.system_us.median,
        others.iter().map(both).sum(),
        both(load),
    ])
}

fn decade_below(value: f64) -> f64 {
    10f64.powf(value.log10().floor())
}

/// At least one decade above that of the least value is drawn, so that there is something between.
fn decade_above(value: f64) -> f64 {
    10f64.powf((value * 1.0001).log10().ceil())
}

/// The distance of lines of a grid: 1, 2 or 5 of a power of ten, about six up to this.
fn step(most: f64) -> f64 {
    let rough = (most / 6.0).max(f64::MIN_POSITIVE);
    let power = decade_below(rough);
    let digits = [1.0, 2.0, 5.0, 10.0].into_iter();
    let digit = digits.into_iter().find(|digit| digit * power >= rough);
    digit.unwrap_or(10.0) * power
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 0.99 => format!("{:.0} µs", ms * 1e3),
        ms if ms < 999.0 => format!("{ms:.0} ms"),
        ms => format!("{:.0} s", ms / 1e3),
    }
}

fn thousands(number: f64) -> String {
    match number.round() as u64 {
        number if number >= 1000 => format!("{},{:03}", number / 1000, number % 1000),
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use firn_load::Load;

    use super::*;
    use crate::measurement::tests::round;

    fn measured(name: &str, load: Load, rate: f64) -> Measurement {
        Measurement::of(name, &[&round(load, rate)])
    }

    #[test]
    fn steps_are_round_numbers() {
        for (most, expected) in [(113_000.0, 20_000.0), (90.0, 20.0), (6.0, 1.0), (0.7, 0.2)] {
            let found = step(most);
            assert!((found / expected - 1.0).abs() < 1e-9, "{most}: {found}");
        }
    }

    #[test]
    fn every_series_is_drawn() {
        let second = Duration::from_secs(1);
        let points = [("echo", 1000.0), ("a < b", 2000.0)];
        let points = points.map(|(name, rate)| {
            let load = Load::open(rate, second, second);
            measured(name, load, rate)
        });
        let drawn = rate_latency(&[(CURVE, points.to_vec())], "below").unwrap();
        for expected in ["echo", "a &lt; b", "p99.9", "2,000", "below"] {
            assert!(drawn.contains(expected), "{expected}: {drawn}");
        }
        let lines = 2 * QUANTILES.len();
        let keys = 2 + QUANTILES.len();
        assert_eq!(drawn.matches("<polyline").count(), lines + keys);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(rate_latency(&[], ""), None);
        assert_eq!(processors(&[], ""), None);
    }

    #[test]
    fn every_place_has_its_part_of_a_bar() {
        let second = Duration::from_secs(1);
        let it = measured("events", Load::closed(64, second, second), 1e5);
        assert_eq!(parts(&it), Some([10.0, 5.0, 15.0, 15.0]));
        let drawn = processors(&[("own", vec![it])], "").unwrap();
        assert!(drawn.contains("own: events, 64 in flight"), "{drawn}");
        assert!(drawn.contains(">45.0<"), "{drawn}");
    }
}
