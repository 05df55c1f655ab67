//! Drawings of a run, as SVG: rate against latency, and where the processor time of a call goes.
//!
//! They are plain lines, rectangles and texts, so that every viewer shows them alike.

use std::fmt::Write as _;

use crate::budget::Budget;
use crate::cases::CURVE;
use crate::measurement::Measurement;
use crate::peers;
use crate::report::Report;

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
pub(crate) fn rate_latency(report: &Report, below: &str) -> Option<String> {
    const HEIGHT: f64 = 560.0;
    const TOP: f64 = 96.0;
    const BOTTOM: f64 = HEIGHT - 84.0;
    let of_curve = report.measurements.iter().filter(|it| it.case == CURVE);
    let open = of_curve
        .map(|it| &it.it)
        .filter(|it| it.settings.begun_per_second.is_some());
    let mut points: Vec<&Measurement> = open.collect();
    let begun = |it: &Measurement| it.settings.begun_per_second.unwrap_or_default();
    points.sort_by(|one, other| begun(one).total_cmp(&begun(other)));
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
    let mut decade = low;
    while decade <= high * 1.01 {
        for digit in [1.0, 2.0, 5.0] {
            let ms = decade * digit;
            if ms <= high * 1.01 {
                svg.line((LEFT, y(ms)), (WIDTH - RIGHT, y(ms)), GRID);
                svg.text(LEFT - 8.0, y(ms) + 4.0, &milliseconds(ms), Anchor::End);
            }
        }
        decade *= 10.0;
    }
    let mut rate = 0.0;
    while rate <= end * 1.01 {
        svg.line((x(rate), TOP), (x(rate), BOTTOM), GRID);
        svg.text(x(rate), BOTTOM + 20.0, &thousands(rate), Anchor::Middle);
        rate += step;
    }
    svg.text(
        WIDTH / 2.0,
        BOTTOM + 42.0,
        "calls answered in a second",
        Anchor::Middle,
    );
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

/// Colours of a process: for its own code, and for the kernel's work on its behalf.
type Shades = (&'static str, &'static str);

/// Those of what is loaded, of other processes, and of the load.
const SERVER: Shades = ("#0072b2", "#7fb8d8");
const OTHERS: Shades = ("#d07a00", "#f3c98b");
const LOAD: Shades = ("#7b8794", "#cbd2d9");

/// A bar: its label, and its parts with their colours.
struct Bar {
    label: String,
    parts: Vec<(f64, &'static str)>,
}

impl Bar {
    /// Of a load, if anybody was looked at.
    fn of(case: &str, it: &Measurement) -> Option<Self> {
        let [_, .., _] = &it.processes[..] else {
            return None;
        };
        let last = it.processes.len() - 1;
        let shades = |index: usize| match index {
            0 => SERVER,
            index if index == last => LOAD,
            _ => OTHERS,
        };
        let parts = it.processes.iter().enumerate().flat_map(|(index, it)| {
            let (own, kernel) = shades(index);
            [(it.user_us.median, own), (it.system_us.median, kernel)]
        });
        Some(Self {
            label: format!("{case}: {}", it.title()),
            parts: parts.collect(),
        })
    }

    /// Of each stage of a budget of processor time: its whole, own code, and the kernel.
    fn of_stages(budget: &Budget) -> Vec<Self> {
        let parts = budget.parts.iter().filter_map(|part| {
            let [_, own, kernel] = part.values[..] else {
                return None;
            };
            Some(Self {
                label: part.name.clone(),
                parts: vec![(own, SERVER.0), (kernel, SERVER.1)],
            })
        });
        parts.collect()
    }

    fn sum(&self) -> f64 {
        self.parts.iter().map(|(part, _)| part).sum()
    }
}

/// Where the processor time of a call goes, of every closed loop, and in Firn by stages if that was
/// measured; `None` if there was nothing.
///
/// A call that is alone takes many times that of one among many, and Restate's of Firn's, so they have
/// scales of their own.
pub(crate) fn processors(report: &Report, below: &str) -> Option<String> {
    const TOP: f64 = 88.0;
    let of = |is_restate: bool, is_alone: bool| -> Vec<Bar> {
        let closed = report.measurements.iter().filter(|it| {
            let in_flight = it.it.settings.in_flight;
            (it.case == peers::RESTATE) == is_restate
                && in_flight.is_some_and(|in_flight| (in_flight == 1) == is_alone)
        });
        closed.filter_map(|it| Bar::of(&it.case, &it.it)).collect()
    };
    let mut panels = vec![
        ("many in flight", of(false, false)),
        ("one in flight", of(false, true)),
        ("beside Restate, many in flight", of(true, false)),
        ("beside Restate, one in flight", of(true, true)),
    ];
    for budget in &report.budgets {
        panels.push((&budget.it.title, Bar::of_stages(&budget.it)));
    }
    let bars = || panels.iter().flat_map(|(_, bars)| bars);
    let longest = bars().map(|bar| bar.label.chars().count()).max()?;
    let label = 20.0 + 6.5 * longest as f64;
    let filled = panels.iter().filter(|(_, bars)| !bars.is_empty());
    let heights = filled.clone().map(|(_, bars)| panel_height(bars.len()));
    let mut svg = Svg::new(
        TOP + heights.sum::<f64>() + 30.0,
        "Processor time of a call, by place",
        below,
    );
    let mut at = LEFT;
    for (name, (own, kernel)) in [
        ("server (Firn, or what it is held against)", SERVER),
        ("function and others", OTHERS),
        ("load", LOAD),
    ] {
        svg.rectangle((at, 52.0), (14.0, 14.0), own);
        svg.rectangle((at + 14.0, 52.0), (14.0, 14.0), kernel);
        svg.text(at + 34.0, 64.0, name, Anchor::Start);
        at += 60.0 + 6.2 * name.chars().count() as f64;
    }
    let words = "left: its own code, right: the kernel";
    svg.text(WIDTH - RIGHT, 64.0, words, Anchor::End);
    let mut top = TOP;
    for (name, bars) in filled {
        panel(&mut svg, (top, label), name, bars);
        top += panel_height(bars.len());
    }
    Some(svg.finish())
}

/// The height of a bar with the room to the next.
const EACH: f64 = 24.0;

/// Room for the title of a panel, and for its axis.
const PANEL_TOP: f64 = 30.0;
const PANEL_BOTTOM: f64 = 56.0;

fn panel_height(bars: usize) -> f64 {
    PANEL_TOP + EACH * bars as f64 + PANEL_BOTTOM
}

/// Bars of one scale, from there down and with so much room for their labels.
fn panel(svg: &mut Svg, (top, label): (f64, f64), name: &str, bars: &[Bar]) {
    const BAR: f64 = 16.0;
    let most = bars.iter().map(Bar::sum).fold(f64::MIN_POSITIVE, f64::max);
    let step = step(most);
    let end = (most / step).ceil() * step;
    let x = |us: f64| label + us / end * (WIDTH - label - RIGHT - 50.0);
    let (first, bottom) = (top + PANEL_TOP, top + PANEL_TOP + EACH * bars.len() as f64);
    svg.sized(label, top + 16.0, name, INK, 13, Anchor::Start);
    let mut us = 0.0;
    while us <= end * 1.01 {
        svg.line((x(us), first - 6.0), (x(us), bottom), GRID);
        svg.text(x(us), bottom + 16.0, &number(us, step), Anchor::Middle);
        us += step;
    }
    let unit = "µs for each call";
    svg.text(x(end / 2.0), bottom + 34.0, unit, Anchor::Middle);
    for (index, bar) in bars.iter().enumerate() {
        let y = first + EACH * index as f64;
        svg.sized(label - 10.0, y + 12.0, &bar.label, INK, 12, Anchor::End);
        let mut from = 0.0;
        for (part, colour) in &bar.parts {
            svg.rectangle((x(from), y), (x(from + part) - x(from), BAR), colour);
            from += part;
        }
        let sum = format!("{from:.1}");
        svg.text(x(from) + 6.0, y + 12.0, &sum, Anchor::Start);
    }
}

/// A number on an axis with such steps.
fn number(value: f64, step: f64) -> String {
    match step < 1.0 {
        true => format!("{value:.1}"),
        false => format!("{value:.0}"),
    }
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
        ms if ms < 0.000_99 => format!("{:.0} ns", ms * 1e6),
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
    use crate::budget::Part;
    use crate::effort::Effort;
    use crate::figure::{Figure, Unit};
    use crate::machine::Machine;
    use crate::measurement::tests::round;

    /// A run with one load of a case each.
    fn run(case: &str, loads: &[(&str, Load, f64)]) -> Report {
        let mut report = Report::new(Machine::default(), Effort::Full);
        let figure = Figure::new("it", Unit::Ratio, vec![1.0]);
        let figure = loads.iter().fold(figure, |figure, (name, load, rate)| {
            figure.measured(Measurement::of(*name, &[&round(*load, *rate)]))
        });
        report.add(case, vec![figure]);
        report
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
        let points = points.map(|(name, rate)| (name, Load::open(rate, second, second), rate));
        let drawn = rate_latency(&run(CURVE, &points), "below").unwrap();
        for expected in ["echo", "a &lt; b", "p99.9", "2,000", "below"] {
            assert!(drawn.contains(expected), "{expected}: {drawn}");
        }
        let lines = 2 * QUANTILES.len();
        let keys = 2 + QUANTILES.len();
        assert_eq!(drawn.matches("<polyline").count(), lines + keys);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let nothing = run("own", &[]);
        assert_eq!(rate_latency(&nothing, ""), None);
        assert_eq!(processors(&nothing, ""), None);
    }

    #[test]
    fn stages_have_bars_of_their_own() {
        let part = |name: &str, values: &[f64]| Part {
            name: name.to_owned(),
            values: values.to_vec(),
        };
        let budget = |title: &str, part: Part| Budget {
            title: title.to_owned(),
            columns: part.values.iter().map(|_| "µs".to_owned()).collect(),
            parts: vec![part],
        };
        let mut report = run("own", &[]);
        let figure = Figure::new("it", Unit::Ratio, vec![1.0])
            .budget(budget("by stage", part("lane", &[5.0, 4.0, 1.0])))
            .budget(budget("by the clock", part("a flush", &[80.0])));
        report.add("stages", vec![figure]);
        let drawn = processors(&report, "").unwrap();
        for expected in ["by stage", ">lane<", ">5.0<"] {
            assert!(drawn.contains(expected), "{expected}: {drawn}");
        }
        assert!(!drawn.contains("flush"), "{drawn}");
    }

    #[test]
    fn every_place_has_its_part_of_a_bar() {
        let second = Duration::from_secs(1);
        let many = ("events", Load::closed(64, second, second), 1e5);
        let alone = ("events", Load::closed(1, second, second), 1e4);
        let drawn = processors(&run("own", &[many, alone]), "").unwrap();
        for expected in [
            "own: events, 64 in flight",
            ">45.0<",
            "own: events, 1 in flight",
            ">315.0<",
        ] {
            assert!(drawn.contains(expected), "{expected}: {drawn}");
        }
        for (own, kernel) in [SERVER, OTHERS, LOAD] {
            // Twice in the bars, once in the key.
            assert_eq!(drawn.matches(own).count(), 3, "{own}: {drawn}");
            assert_eq!(drawn.matches(kernel).count(), 3, "{kernel}: {drawn}");
        }
    }
}
