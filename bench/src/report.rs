//! What came out: lines and tables for people as it comes, JSON, plots and tables for a page at the end,
//! or later from the JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::budget::Budget;
use crate::effort::Effort;
use crate::figure::{Figure, Line};
use crate::machine::Machine;
use crate::measurement::{Measurement, Table};
use crate::plot;

/// All figures of a run, and the loads that they come from; as JSON as well.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    settings: Settings,
    pub(crate) figures: Vec<OfCase<Figure>>,
    pub(crate) measurements: Vec<OfCase<Measurement>>,
    #[serde(default)]
    pub(crate) budgets: Vec<OfCase<Budget>>,
    /// Cases that gave no figure, and why.
    failed: Vec<Failed>,
}

/// How it was measured.
#[derive(Serialize, Deserialize)]
struct Settings {
    /// Little was done, and the figures mean nothing.
    brief: bool,
}

/// Something that a case gave.
#[derive(Serialize, Deserialize)]
pub(crate) struct OfCase<T> {
    pub(crate) case: String,
    #[serde(flatten)]
    pub(crate) it: T,
}

/// A case that gave nothing.
#[derive(Serialize, Deserialize)]
struct Failed {
    case: String,
    error: String,
}

impl Report {
    /// A report without figures.
    pub(crate) fn new(machine: Machine, effort: Effort) -> Self {
        Self {
            machine,
            settings: Settings {
                brief: effort == Effort::Brief,
            },
            figures: Vec::new(),
            measurements: Vec::new(),
            budgets: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// What a run wrote as JSON.
    ///
    /// # Errors
    /// There is no such file, or it is something else.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what --json writes", file.display()))
    }

    /// Prints on what is measured.
    pub(crate) fn begin(&self) {
        println!("{}", self.machine.words());
        println!("medians; absolute times are those of this machine, ratios are of one run\n");
    }

    /// Takes the figures of a case and prints them, and the loads that they come from.
    pub(crate) fn add(&mut self, case: &str, figures: Vec<Figure>) {
        let mut measurements: Vec<Measurement> = Vec::new();
        let widths = figures.iter().map(|it| it.what.chars().count());
        let width = widths.max().unwrap_or_default();
        for mut figure in figures {
            if self.settings.brief {
                figure = figure.unjudged();
            }
            println!("{}", Line(&figure, width));
            for (name, value) in &figure.details {
                let value = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => shown(number.as_f64().unwrap_or_default()),
                    other => other.to_string(),
                };
                println!("           {name}: {value}");
            }
            for it in std::mem::take(&mut figure.measured) {
                if !measurements.contains(&it) {
                    measurements.push(it);
                }
            }
            for budget in std::mem::take(&mut figure.budgets) {
                println!("\n{budget}");
                self.budgets.push(OfCase::new(case, budget));
            }
            self.figures.push(OfCase::new(case, figure));
        }
        if !measurements.is_empty() {
            println!("\n{}", Table(&measurements));
            let of_case = measurements.into_iter().map(|it| OfCase::new(case, it));
            self.measurements.extend(of_case);
        }
    }

    /// Takes why a case gave no figure, and prints it.
    pub(crate) fn fail(&mut self, case: &str, error: &anyhow::Error) {
        let error = format!("{error:#}");
        eprintln!("error: the case {case} failed: {error}");
        self.failed.push(Failed {
            case: case.to_owned(),
            error,
        });
    }

    /// Prints how many figures hold, and which cases gave none.
    pub(crate) fn end(&self) {
        let verdicts = || self.figures.iter().filter_map(|figure| figure.it.holds());
        let (kept, all) = (verdicts().filter(|it| *it).count(), verdicts().count());
        let stretched = || {
            self.figures
                .iter()
                .filter_map(|figure| figure.it.stretches())
        };
        let (far, further) = (stretched().filter(|it| *it).count(), stretched().count());
        println!(
            "\n{kept} of {all} promised figures hold, {far} of {further} reach what is fought for"
        );
        for it in &self.failed {
            println!("the case {} failed", it.case);
        }
    }

    /// Whether every case gave its figures, and every one that is promised holds.
    pub(crate) fn holds(&self) -> bool {
        let mut figures = self.figures.iter();
        self.failed.is_empty() && figures.all(|figure| figure.it.holds() != Some(false))
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut all = serde_json::to_value(self)?;
        for (value, figure) in all["figures"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .zip(&self.figures)
        {
            value["holds"] = json!(figure.it.holds());
            value["stretches"] = json!(figure.it.stretches());
        }
        fs::write(file, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Draws what can be drawn of this run into a folder; prints the names of the files.
    pub(crate) fn draw(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let below = self.machine.words();
        for (name, drawing) in [
            ("rate-latency.svg", plot::rate_latency(self, &below)),
            ("cpu.svg", plot::processors(self, &below)),
        ] {
            let file = folder.join(name);
            let Some(drawing) = drawing else {
                println!(
                    "{}: nothing to draw in the cases of this run",
                    file.display()
                );
                continue;
            };
            fs::write(&file, drawing)
                .with_context(|| format!("cannot write {}", file.display()))?;
            println!("{}", file.display());
        }
        Ok(())
    }
}

impl<T> OfCase<T> {
    fn new(case: &str, it: T) -> Self {
        Self {
            case: case.to_owned(),
            it,
        }
    }
}

/// Three digits that mean something.
pub(crate) fn shown(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{number:.3}"),
        size if size < 100.0 && number.fract() != 0.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
