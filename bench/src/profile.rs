//! What callgrind wrote about a program, and to which part of the program each cost belongs.
//!
//! A profile says what each function cost itself, and what the calls from one to another cost with
//! everything below. A function that is named by a rule belongs to its part, whoever calls it. Any other
//! belongs to the parts of those that call it, in proportion to what their calls cost; so what copying
//! or allocating costs goes to who asked for it. Nothing is left out: the costs of all parts add up to
//! that of the program.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

/// What a program cost in several ways (events), by function.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// What was counted.
    events: Vec<String>,
    functions: Vec<Function>,
    calls: Vec<Call>,
}

#[derive(Debug, Default)]
struct Function {
    name: String,
    own: Vec<f64>,
}

#[derive(Debug)]
struct Call {
    from: usize,
    to: usize,
    /// With everything below.
    cost: Vec<f64>,
}

/// What is known of a function by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// It and what it calls belong to this part.
    Part(usize),
    /// It belongs to the parts of its callers, each changed as here, by their numbers.
    Turned(&'static [usize]),
}

impl Profile {
    /// Reads what callgrind wrote.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader
                .line(line)
                .with_context(|| format!("not a line of a profile: {line}"))?;
        }
        Ok(reader.profile)
    }

    /// The number of an event; `None` if it was not counted.
    pub(crate) fn event(&self, name: &str) -> Option<usize> {
        self.events.iter().position(|it| it == name)
    }

    /// What each of so many parts cost of an event. What nobody that is named calls belongs to `rest`.
    pub(crate) fn parts(
        &self,
        event: usize,
        count: usize,
        rest: usize,
        rule: impl Fn(&str) -> Option<Rule>,
    ) -> Vec<f64> {
        let cost = |costs: &[f64]| costs.get(event).copied().unwrap_or_default();
        let rules: Vec<Option<Rule>> = self.functions.iter().map(|it| rule(&it.name)).collect();
        let mut called: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.functions.len()];
        for call in &self.calls {
            if call.from != call.to {
                called[call.to].push((call.from, cost(&call.cost)));
            }
        }
        let part = |part: usize| {
            let mut shares = vec![0.0; count];
            shares[part] = 1.0;
            shares
        };
        // To begin with everything is the rest's; shares then go down from caller to called, as often as
        // the longest chain of calls is long, also where functions call each other in a circle.
        let mut shares: Vec<Vec<f64>> = rules
            .iter()
            .map(|rule| match rule {
                Some(Rule::Part(it)) => part(*it),
                _ => part(rest),
            })
            .collect();
        for _ in 0..ROUNDS {
            let mut moved = 0.0;
            for index in 0..shares.len() {
                if matches!(rules[index], Some(Rule::Part(_))) {
                    continue;
                }
                let whole: f64 = called[index].iter().map(|(_, cost)| cost).sum();
                if whole <= 0.0 {
                    continue;
                }
                let mut sum = vec![0.0; count];
                for (from, cost) in &called[index] {
                    for (to, share) in shares[*from].iter().enumerate() {
                        let to = match rules[index] {
                            Some(Rule::Turned(turned)) => turned[to],
                            _ => to,
                        };
                        sum[to] += share * cost / whole;
                    }
                }
                let change = sum.iter().zip(&shares[index]);
                moved += change.map(|(one, other)| (one - other).abs()).sum::<f64>();
                shares[index] = sum;
            }
            if moved < SETTLED {
                break;
            }
        }
        let mut parts = vec![0.0; count];
        for (function, shares) in self.functions.iter().zip(&shares) {
            for (part, share) in parts.iter_mut().zip(shares) {
                *part += share * cost(&function.own);
            }
        }
        parts
    }
}

/// How often shares are handed down at most, and when they no longer move.
const ROUNDS: usize = 500;
const SETTLED: f64 = 1e-6;

/// A profile as far as it was read.
#[derive(Default)]
struct Reader {
    profile: Profile,
    /// Functions by their names, and names by the numbers that stand for them later in the file.
    by_name: HashMap<String, usize>,
    names: HashMap<String, String>,
    current: usize,
    called: usize,
    /// The next costs are those of a call.
    is_call: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        if let Some(events) = line.strip_prefix("events: ") {
            self.profile.events = events.split_whitespace().map(str::to_owned).collect();
        } else if let Some(name) = line.strip_prefix("fn=") {
            self.current = self.function(name)?;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            self.called = self.function(name)?;
        } else if line.starts_with("calls=") {
            self.is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let costs = line.split(' ').skip(1);
            let costs: Option<Vec<f64>> = costs.map(|it| it.parse().ok()).collect();
            self.cost(costs?);
        }
        Some(())
    }

    fn cost(&mut self, costs: Vec<f64>) {
        if std::mem::take(&mut self.is_call) {
            self.profile.calls.push(Call {
                from: self.current,
                to: self.called,
                cost: costs,
            });
            return;
        }
        let own = &mut self.profile.functions[self.current].own;
        if own.len() < costs.len() {
            own.resize(costs.len(), 0.0);
        }
        for (sum, cost) in own.iter_mut().zip(costs) {
            *sum += cost;
        }
    }

    /// The function of `(NUMBER) NAME`, or of `(NUMBER)` for a name that came before.
    fn function(&mut self, text: &str) -> Option<usize> {
        let name = match text.strip_prefix('(').and_then(|it| it.split_once(')')) {
            None => text,
            Some((number, "")) => self.names.get(number)?,
            Some((number, name)) => {
                let name = name.trim_start();
                self.names.insert(number.to_owned(), name.to_owned());
                name
            }
        };
        // A function that is under way already, and is called again, has a number at its end.
        let name = match name.rsplit_once('\'') {
            Some((name, number)) if number.parse::<u32>().is_ok() => name,
            _ => name,
        };
        if let Some(index) = self.by_name.get(name) {
            return Some(*index);
        }
        let index = self.profile.functions.len();
        self.by_name.insert(name.to_owned(), index);
        self.profile.functions.push(Function {
            name: name.to_owned(),
            own: Vec::new(),
        });
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `main` calls `read` and `write`, both of which copy; copying once more calls itself.
    const TEXT: &str = "\
version: 1
positions: line
events: Ir sysCpuTime

fl=(1) a.rs
fn=(1) main
10 5
cfn=(2) app::read
calls=1 20
11 130
cfn=(3) app::write
calls=1 30
+1 65 40

fn=(2)
20 100
cfn=(4) copy
calls=3 40
21 30

fn=(3)
30 5
cfn=(4)
calls=1 40
* 60
cfn=(5) send
calls=1 50
31 0 40

fn=(4)
40 80
cfn=(6) copy'2
calls=1 40
41 10
fn=(6)
40 10
fn=(5)
50 0 40
totals: 200 40
";

    const MAIN: usize = 0;
    const READ: usize = 1;
    const WRITE: usize = 2;

    fn rule(name: &str) -> Option<Rule> {
        match name {
            "app::read" => Some(Rule::Part(READ)),
            "app::write" => Some(Rule::Part(WRITE)),
            _ => None,
        }
    }

    fn near(found: &[f64], expected: &[f64]) {
        let all = found.iter().zip(expected);
        let is_near = all.clone().all(|(one, other)| (one - other).abs() < 1e-3);
        assert!(is_near && found.len() == expected.len(), "{found:?}");
    }

    #[test]
    fn what_is_shared_goes_to_those_who_call_it() {
        let profile = Profile::read(TEXT).unwrap();
        let instructions = profile.event("Ir").unwrap();
        // Of the 90 for copying a third is for reading.
        let parts = profile.parts(instructions, 3, MAIN, rule);
        near(&parts, &[5.0, 130.0, 65.0]);
        let kernel = profile.event("sysCpuTime").unwrap();
        near(&profile.parts(kernel, 3, MAIN, rule), &[0.0, 0.0, 40.0]);
        assert_eq!(profile.event("sysTime"), None);
    }

    #[test]
    fn a_function_can_turn_what_it_belongs_to() {
        let profile = Profile::read(TEXT).unwrap();
        let rule = |name: &str| match name {
            "copy" => Some(Rule::Turned(&[3, 3, 4, 3, 4])),
            name => rule(name),
        };
        let parts = profile.parts(0, 5, MAIN, rule);
        near(&parts, &[5.0, 100.0, 5.0, 30.0, 60.0]);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(Profile::read("fn=(1)\n").is_err());
        assert!(Profile::read("fn=(1) a\n1 many\n").is_err());
    }
}
