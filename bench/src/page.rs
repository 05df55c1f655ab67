//! What runs gave as tables in Markdown, as `docs/performance.md` has them.

use std::fmt::Write as _;

use crate::cases;
use crate::figure::{Bound, Figure, Unit, verdict};
use crate::measurement::{Measurement, Process};
use crate::report::{OfCase, Report};

/// Everything that some runs gave. A case that a later run measured again is that of the later run.
pub(crate) fn tables(runs: &[Report]) -> String {
    let mut text = String::new();
    for run in runs {
        let _ = writeln!(text, "- {}", run.machine.words());
    }
    figures(&mut text, runs);
    loads(&mut text, runs);
    budgets(&mut text, runs);
    text
}

fn figures(text: &mut String, runs: &[Report]) {
    head(
        text,
        "figure | to hold | fought for | measured | spread | | commit",
    );
    for (run, it) in latest(runs, |run| &run.figures) {
        let bound = |bound: Option<Bound>| bound.map_or(String::new(), bounded(it.unit));
        let cells = [
            it.what.clone(),
            bound(it.bound),
            bound(it.stretch),
            valued(it.unit, it.value),
            spread(it),
            verdict(it).to_owned(),
            format!("`{}`", run.machine.code()),
        ];
        row(text, &cells);
    }
}

fn loads(text: &mut String, runs: &[Report]) {
    head(
        text,
        "load | rate | p50 | p99 | p99.9 | processor time for each call, of it the kernel's",
    );
    for (_, it) in latest(runs, |run| &run.measurements) {
        let ms = |value: f64| format!("{} ms", digits(value));
        let cells = [
            it.title(),
            format!("{}/s", digits(it.rate.median)),
            ms(it.p50_ms.median),
            ms(it.p99_ms.median),
            ms(it.p999_ms.median),
            processors(it),
        ];
        row(text, &cells);
    }
}

fn budgets(text: &mut String, runs: &[Report]) {
    for (run, it) in latest(runs, |run| &run.budgets) {
        let _ = writeln!(text, "\n{} (`{}`):", it.title, run.machine.code());
        head(text, &format!("part | {}", it.heads().join(" | ")));
        for (name, cells) in it.rows() {
            row(text, &[vec![name], cells].concat());
        }
    }
}

fn head(text: &mut String, names: &str) {
    let columns = names.matches('|').count() + 1;
    let _ = writeln!(text, "\n| {names} |\n|{}", "---|".repeat(columns));
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// What runs gave, in the order of the cases, each case as the last run has it that measured it.
fn latest<T>(runs: &[Report], of: impl Fn(&Report) -> &[OfCase<T>]) -> Vec<(&Report, &T)> {
    let mut all = Vec::new();
    for case in cases::names() {
        let mut runs = runs.iter().rev();
        let has = |run: &&Report| run.figures.iter().any(|it| it.case == case);
        if let Some(run) = runs.find(has) {
            let of_case = of(run).iter().filter(|it| it.case == case);
            all.extend(of_case.map(|it| (run, &it.it)));
        }
    }
    all
}

/// A value with its unit; a ratio has none.
fn valued(unit: Unit, value: f64) -> String {
    format!("{}{}", digits(value), unit.name())
}

fn bounded(unit: Unit) -> impl Fn(Bound) -> String {
    move |bound| match bound {
        Bound::AtMost(most) => format!("≤ {}{}", rounded(most, BOUND_DIGITS), unit.name()),
        Bound::AtLeast(least) => format!("≥ {}{}", rounded(least, BOUND_DIGITS), unit.name()),
    }
}

/// From the least to the most; nothing where only one was measured.
fn spread(figure: &Figure) -> String {
    match figure.samples.len() {
        0 | 1 => String::new(),
        _ => {
            let (low, high) = figure.spread();
            format!("{} to {}", digits(low), digits(high))
        }
    }
}

fn processors(it: &Measurement) -> String {
    let shown = it.processes.iter().map(|process: &Process| {
        let (all, system) = (process.processor_us(), process.system_us.median);
        format!("{} {} µs, {}", process.name, digits(all), digits(system))
    });
    shown.collect::<Vec<String>>().join("; ")
}

/// So many digits of a bound are shown: all that any has.
const BOUND_DIGITS: i32 = 4;

/// A number with three digits that mean something.
fn digits(number: f64) -> String {
    rounded(number, 3)
}

/// A number with so many digits that mean something, and thousands apart.
fn rounded(number: f64, digits: i32) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let power = number.abs().log10().floor() as i32;
    let unit = 10f64.powi(power - digits + 1);
    let rounded = (number / unit).round() * unit;
    if rounded.abs() < 1000.0 {
        let places = (digits - 1 - power).clamp(0, 6) as usize;
        let text = format!("{rounded:.places$}");
        return match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        };
    }
    let digits = format!("{:.0}", rounded.abs());
    let mut text = if rounded < 0.0 { "-" } else { "" }.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use firn_load::Load;

    use super::*;
    use crate::budget::{Budget, Part};
    use crate::effort::Effort;
    use crate::machine::Machine;
    use crate::measurement::tests::round;

    #[test]
    fn three_digits_are_shown() {
        for (number, expected) in [
            (0.0, "0"),
            (0.2, "0.2"),
            (0.198_4, "0.198"),
            (3.6649, "3.66"),
            (-12.34, "-12.3"),
            (999.6, "1,000"),
            (38_003.2, "38,000"),
            (1_234_567.0, "1,230,000"),
            (0.000_12, "0.00012"),
        ] {
            assert_eq!(digits(number), expected, "{number}");
        }
        let bound = bounded(Unit::Bytes)(Bound::AtMost(1024.0));
        assert_eq!(bound, "≤ 1,024 B");
    }

    fn run(commit: &str, cases: &[(&str, f64)]) -> Report {
        let machine = Machine {
            commit: commit.to_owned(),
            ..Machine::default()
        };
        let mut report = Report::new(machine, Effort::Full);
        for (case, value) in cases {
            let load = Load::closed(64, Duration::ZERO, Duration::from_secs(2));
            let figure = Figure::new(format!("of {case}"), Unit::Ratio, vec![*value, *value])
                .bound(Bound::AtLeast(0.25))
                .stretch(Bound::AtLeast(0.35))
                .measured(Measurement::of(*case, &[&round(load, 20_000.0)]))
                .budget(Budget {
                    title: "Where it goes".to_owned(),
                    columns: vec!["all, µs".to_owned()],
                    parts: vec![Part {
                        name: "lane".to_owned(),
                        values: vec![4.0],
                    }],
                });
            report.add(case, vec![figure]);
        }
        report
    }

    #[test]
    fn a_case_is_that_of_the_last_run_that_measured_it() {
        let runs = [
            run("abc", &[("steady", 0.1), ("own", 0.2)]),
            run("def", &[("own", 0.3), ("steady-not", 0.9)]),
        ];
        let tables = tables(&runs);
        let own = "| of own | ≥ 0.25 | ≥ 0.35 | 0.3 | 0.3 to 0.3 | holds | `def` |\n";
        let steady = "| of steady | ≥ 0.25 | ≥ 0.35 | 0.1 | 0.1 to 0.1 | FAILS | `abc` |\n";
        assert!(tables.contains(&format!("{own}{steady}")), "{tables}");
        let load = "| own, 64 in flight | 20,000/s | 2 ms | 2 ms | 2 ms | Firn 55 µs, 5;";
        assert!(tables.contains(load), "{tables}");
        assert!(tables.contains("| lane | 4.0 | 100 % |"), "{tables}");
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.json");
        let written = run("abc", &[("own", 0.2)]);
        written.write(&file).unwrap();
        let read = Report::read(&file).unwrap();
        assert_eq!(tables(&[read]), tables(&[written]));
        assert!(Report::read(folder.path()).is_err());
    }
}
