//! What came of the checks, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::Fault;

/// What came of one check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `group/what_the_function_does`.
    pub name: &'static str,
    /// The requirements that it is about, for example `R24`.
    pub requirements: &'static [&'static str],
    /// How it went.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

/// How a check went.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The function did what it should.
    Passed,
    /// It was not run, for this reason.
    Skipped(String),
    /// The function did something else.
    Failed {
        /// What was expected, and what came.
        fault: Fault,
        /// The newest frames before that, in both directions, the oldest first.
        frames: Vec<String>,
    },
}

/// Hears of checks as they go.
pub trait Output {
    /// A check begins.
    fn begins(&mut self, name: &str) {
        let _ = name;
    }

    /// A check is over.
    fn ended(&mut self, outcome: &Outcome);
}

/// Writes one line for each check, and what is wrong below it.
pub struct Text<W>(pub W);

impl<W: std::io::Write> Output for Text<W> {
    fn ended(&mut self, outcome: &Outcome) {
        // A report that nobody reads any more is no reason to stop.
        let _ = writeln!(self.0, "{}", outcome.line());
    }
}

/// Hears of nothing.
pub struct Silent;

impl Output for Silent {
    fn ended(&mut self, _: &Outcome) {}
}

impl Outcome {
    /// One line, and what is wrong below it.
    pub fn line(&self) -> String {
        let requirements = self.requirements.join(" ");
        let (name, time) = (self.name, self.time.as_millis());
        match &self.verdict {
            Verdict::Passed => format!("passed   {name} [{requirements}] {time} ms"),
            Verdict::Skipped(why) => format!("skipped  {name} [{requirements}]: {why}"),
            Verdict::Failed { fault, frames } => {
                let mut text = format!("FAILED   {name} [{requirements}] {time} ms\n");
                let _ = writeln!(text, "         broken:   {}", fault.requirement);
                let _ = writeln!(text, "         expected: {}", fault.expected);
                let _ = write!(text, "         came:     {}", fault.came);
                for frame in frames {
                    let _ = write!(text, "\n           {frame}");
                }
                text
            }
        }
    }
}

/// What came of all checks.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was judged: the protocol, and `function` or `proxy`.
    pub judged: &'static str,
    /// One for each check, in the order in which they ran.
    pub outcomes: Vec<Outcome>,
    /// What the random workload was made from.
    pub seed: u64,
}

impl Summary {
    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| is(&outcome.verdict))
            .count()
    }

    /// How many checks passed.
    pub fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Passed))
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed { .. }))
    }

    /// How many were not run.
    pub fn skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Skipped(_)))
    }

    fn protocol(&self) -> &str {
        self.judged.split(' ').next().unwrap_or_default()
    }

    /// The last line of a report.
    pub fn line(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped; seed {}",
            self.passed(),
            self.failed(),
            self.skipped(),
            self.seed
        )
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        let check = |outcome: &Outcome| {
            let mut check = json!({
                "name": outcome.name,
                "requirements": outcome.requirements,
                "milliseconds": u64::try_from(outcome.time.as_millis()).unwrap_or(u64::MAX),
            });
            let verdict = match &outcome.verdict {
                Verdict::Passed => json!({"result": "passed"}),
                Verdict::Skipped(why) => json!({"result": "skipped", "reason": why}),
                Verdict::Failed { fault, frames } => json!({
                    "result": "failed",
                    "broken": fault.requirement,
                    "expected": fault.expected,
                    "came": fault.came,
                    "frames": frames,
                }),
            };
            if let (Some(check), Value::Object(verdict)) = (check.as_object_mut(), verdict) {
                check.extend(verdict);
            }
            check
        };
        let report = json!({
            "judged": self.judged,
            "passed": self.passed(),
            "failed": self.failed(),
            "skipped": self.skipped(),
            "seed": self.seed,
            "checks": self.outcomes.iter().map(check).collect::<Vec<_>>(),
        });
        report.to_string()
    }

    /// The report as JUnit XML.
    pub fn to_junit(&self) -> String {
        let seconds: f64 = self.outcomes.iter().map(|one| one.time.as_secs_f64()).sum();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite \
             name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" \
             time=\"{seconds:.3}\">\n    <properties>\n      <property name=\"seed\" \
             value=\"{}\"/>\n    </properties>\n",
            self.judged,
            self.outcomes.len(),
            self.failed(),
            self.skipped(),
            self.seed
        );
        for outcome in &self.outcomes {
            let (group, name) = outcome.name.split_once('/').unwrap_or(("", outcome.name));
            let _ = write!(
                text,
                "    <testcase classname=\"{}.{}\" name=\"{} [{}]\" time=\"{:.3}\"",
                self.protocol(),
                xml_text(group),
                xml_text(name),
                xml_text(&outcome.requirements.join(" ")),
                outcome.time.as_secs_f64()
            );
            match &outcome.verdict {
                Verdict::Passed => text.push_str("/>\n"),
                Verdict::Skipped(why) => {
                    let why = xml_text(why);
                    let _ = write!(
                        text,
                        ">\n      <skipped message=\"{why}\"/>\n    </testcase>\n"
                    );
                }
                Verdict::Failed { fault, frames } => {
                    let _ = write!(
                        text,
                        ">\n      <failure type=\"{}\" message=\"{}\">{}\n</failure>\n    \
                         </testcase>\n",
                        xml_text(fault.requirement),
                        xml_text(&fault.to_string()),
                        xml_text(&frames.join("\n"))
                    );
                }
            }
        }
        text + "  </testsuite>\n</testsuites>\n"
    }
}

/// Text for an attribute or between tags. What XML cannot hold becomes `?`.
fn xml_text(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if u32::from(control) < 0x20 || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                out.push('?');
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let outcome = |name, verdict| Outcome {
            name,
            requirements: &["R1", "R2"],
            verdict,
            time: Duration::from_millis(1_500),
        };
        let fault = Fault::new("R2", "<a> & \"b\"", "line\nbreak \u{1}");
        Summary {
            judged: "firn.v1 function",
            outcomes: vec![
                outcome("a/good", Verdict::Passed),
                outcome("a/none", Verdict::Skipped("no \\ way".into())),
                outcome(
                    "b/bad",
                    Verdict::Failed {
                        fault,
                        frames: vec!["kit: x".into(), "function: ]]>".into()],
                    },
                ),
            ],
            seed: 7,
        }
    }

    #[test]
    fn text_has_a_line_for_each_check() {
        let lines: Vec<String> = summary().outcomes.iter().map(Outcome::line).collect();
        assert_eq!(lines[0], "passed   a/good [R1 R2] 1500 ms");
        assert!(lines[2].contains("expected: <a> & \"b\""), "{}", lines[2]);
        assert_eq!(summary().line(), "1 passed, 1 failed, 1 skipped; seed 7");
    }

    #[test]
    fn json_is_escaped() {
        let json = summary().to_json();
        let value: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["checks"][2]["came"], "line\nbreak \u{1}");
        assert_eq!(value["checks"][1]["reason"], "no \\ way");
        assert_eq!(value["failed"], 1);
    }

    #[test]
    fn junit_is_well_formed() {
        let xml = summary().to_junit();
        assert!(xml.contains("&lt;a&gt; &amp; &quot;b&quot;"), "{xml}");
        assert!(xml.contains("line\nbreak ?"), "{xml}");
        assert!(!xml.contains("]]>"), "{xml}");
        for tag in ["testsuites", "testsuite", "failure"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            assert!(xml.contains(&open) && xml.contains(&close), "{xml}");
        }
    }
}
