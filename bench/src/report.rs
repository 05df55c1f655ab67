//! What came out: lines and tables for people as it comes, JSON and plots at the end.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::effort::Effort;
use crate::figure::Figure;
use crate::machine::Machine;
use crate::measurement::{Measurement, Table};
use crate::plot;

/// All figures of a run, and the loads that they come from.
pub(crate) struct Report {
    machine: Machine,
    effort: Effort,
    figures: Vec<(&'static str, Figure)>,
    measurements: Vec<(&'static str, Vec<Measurement>)>,
    /// Cases that gave no figure, and why.
    failed: Vec<(&'static str, String)>,
}

impl Report {
    /// A report without figures.
    pub(crate) fn new(machine: Machine, effort: Effort) -> Self {
        Self {
            machine,
            effort,
            figures: Vec::new(),
            measurements: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Prints on what is measured.
    pub(crate) fn begin(&self) {
        let machine = &self.machine;
        let changed = if machine.is_changed {
            " and changes"
        } else {
            ""
        };
        println!(
            "commit {:.10}{changed}, {} cores, {:.0} GB, Linux {}, a flush takes {:.3} ms, load {} before",
            machine.commit,
            machine.cores,
            machine.memory_bytes as f64 / 1e9,
            machine.kernel,
            machine.flush_ms,
            machine.load_before,
        );
        println!("medians; absolute times are those of this machine, ratios are of one run\n");
    }

    /// Takes the figures of a case and prints them, and the loads that they come from.
    pub(crate) fn add(&mut self, case: &'static str, figures: Vec<Figure>) {
        let mut measurements: Vec<Measurement> = Vec::new();
        for mut figure in figures {
            if self.effort == Effort::Brief {
                figure = figure.unjudged();
            }
            println!("{figure}");
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
            self.figures.push((case, figure));
        }
        if !measurements.is_empty() {
            println!("\n{}", Table(&measurements));
            self.measurements.push((case, measurements));
        }
    }

    /// Takes why a case gave no figure, and prints it.
    pub(crate) fn fail(&mut self, case: &'static str, error: &anyhow::Error) {
        let error = format!("{error:#}");
        eprintln!("error: the case {case} failed: {error}");
        self.failed.push((case, error));
    }

    /// Prints how many figures hold, and which cases gave none.
    pub(crate) fn end(&self) {
        let verdicts = || self.figures.iter().filter_map(|(_, it)| it.holds());
        let (kept, all) = (verdicts().filter(|it| *it).count(), verdicts().count());
        let stretched = || self.figures.iter().filter_map(|(_, it)| it.stretches());
        let (far, further) = (stretched().filter(|it| *it).count(), stretched().count());
        println!(
            "\n{kept} of {all} promised figures hold, {far} of {further} reach what is fought for"
        );
        for (case, _) in &self.failed {
            println!("the case {case} failed");
        }
    }

    /// Whether every case gave its figures, and every one that is promised holds.
    pub(crate) fn holds(&self) -> bool {
        let mut figures = self.figures.iter();
        self.failed.is_empty() && figures.all(|(_, figure)| figure.holds() != Some(false))
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let figures = self.figures.iter().map(|(case, figure)| {
            let mut value = serde_json::to_value(figure)?;
            value["case"] = json!(case);
            value["holds"] = json!(figure.holds());
            value["stretches"] = json!(figure.stretches());
            Ok(value)
        });
        let figures: Vec<Value> = figures.collect::<Result<_, serde_json::Error>>()?;
        let measurements = self.measurements.iter().flat_map(|(case, all)| {
            all.iter().map(move |measurement| {
                let mut value = serde_json::to_value(measurement)?;
                value["case"] = json!(case);
                Ok(value)
            })
        });
        let measurements: Vec<Value> = measurements.collect::<Result<_, serde_json::Error>>()?;
        let failed = self.failed.iter();
        let failed = failed.map(|(case, error)| json!({ "case": case, "error": error }));
        let failed: Vec<Value> = failed.collect();
        let settings = json!({ "brief": self.effort == Effort::Brief });
        let all = json!({
            "machine": self.machine,
            "settings": settings,
            "figures": figures,
            "measurements": measurements,
            "failed": failed,
        });
        fs::write(file, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Draws what can be drawn of this run into a folder; prints the names of the files.
    pub(crate) fn draw(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let below = format!(
            "commit {:.10}, {} cores, Linux {}, load {} before",
            self.machine.commit, self.machine.cores, self.machine.kernel, self.machine.load_before
        );
        for (name, drawing) in [
            (
                "rate-latency.svg",
                plot::rate_latency(&self.measurements, &below),
            ),
            ("cpu.svg", plot::processors(&self.measurements, &below)),
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

/// Three digits that mean something.
pub(crate) fn shown(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{number:.3}"),
        size if size < 100.0 && number.fract() != 0.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
