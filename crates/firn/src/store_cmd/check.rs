//! `firn store check`: reads everything, and says what does not fit together.

use std::collections::HashMap;

use firn_model::code::Code;
use firn_model::id::EntityKey;
use firn_store::check::{self, Checked, Finding, Repair};
use firn_store::{embedded, postgres};

use super::{Progress, database, embedded_config, locked, nothing_lasts, owner, unopened};
use crate::exit::Failure;
use crate::settings::{StoreConfig, StoreUrl};
use crate::store;

/// How many findings of one entity are printed: what is lost of it shows in each of its events.
const LINES_MAX: u64 = 5;

/// Of how many entities findings are counted; those of others are all printed.
const ENTITIES_MAX: usize = 100_000;

/// Runs the command.
pub(super) async fn run(config: &StoreConfig, is_repairing: bool) -> Result<(), Failure> {
    let mut told = Told::default();
    let progress = Progress::new("checked");
    let lines = &mut told;
    let mut tell = move |what: check::Told| match what {
        check::Told::Rows(rows) => progress.tell(rows),
        check::Told::Finding(finding) => {
            if let Some(line) = lines.line(&finding) {
                println!("{line}");
            }
        }
    };
    let checked = match &config.store {
        StoreUrl::Memory => return Err(nothing_lasts()),
        StoreUrl::Embedded(folder) => {
            embedded::find(folder).map_err(locked)?;
            let settings = embedded_config(config);
            let checked = embedded::check(folder, settings, is_repairing, tell, store::end);
            checked.map_err(locked)?
        }
        StoreUrl::Postgres(url) => {
            let mut settings = database(config, url, postgres::Migrate::Check);
            if is_repairing {
                settings.owner = Some(owner(config)?);
            }
            let checked = postgres::check(settings, &mut tell).await;
            checked.map_err(unopened)?
        }
    };
    for line in told.rest() {
        println!("{line}");
    }
    println!("{}", summary(checked));
    verdict(checked, told.is_repairable)
}

/// What was printed of findings.
#[derive(Default)]
struct Told {
    /// How many findings there are of entities.
    of: HashMap<EntityKey, u64>,
    /// Whether one can be repaired, and was not.
    is_repairable: bool,
}

impl Told {
    /// What is printed of a finding; `None` if there is enough of its entity.
    fn line(&mut self, finding: &Finding) -> Option<String> {
        self.is_repairable |= finding.repair == Repair::Possible;
        let line = Some(finding.to_string());
        let Some(entity) = &finding.entity else {
            return line;
        };
        if self.of.len() >= ENTITIES_MAX && !self.of.contains_key(entity) {
            return line;
        }
        let count = self.of.entry(entity.clone()).or_default();
        *count += 1;
        line.filter(|_| *count <= LINES_MAX)
    }

    /// What is printed of those that were not.
    fn rest(&self) -> Vec<String> {
        let more = self.of.iter().filter(|(_, count)| **count > LINES_MAX);
        let mut lines: Vec<String> = more
            .map(|(entity, count)| format!("{entity}: and {} more findings", count - LINES_MAX))
            .collect();
        lines.sort();
        lines
    }
}

fn summary(checked: Checked) -> String {
    let rows = checked.rows;
    match (checked.findings, checked.repaired) {
        (0, _) => format!("{rows} rows checked: nothing is wrong"),
        (findings, 0) => format!("{rows} rows checked, {findings} findings"),
        (findings, repaired) => {
            format!("{rows} rows checked, {findings} findings, {repaired} of them repaired")
        }
    }
}

/// What is left to be said after a check.
fn verdict(checked: Checked, is_repairable: bool) -> Result<(), Failure> {
    let left = checked.findings - checked.repaired;
    if left == 0 {
        return Ok(());
    }
    let remedy = match is_repairable {
        true => "firn store check --repair for those that can be repaired, a backup for others",
        false => "check the disk and restore a backup: no repair brings back what is lost",
    };
    let cause = format!("{left} findings are left in {} rows", checked.rows);
    Err(Failure::new(Code::StoreFaulty, cause, remedy))
}

#[cfg(test)]
mod tests {
    use firn_model::id::StorageName;

    use super::*;

    fn checked(findings: u64, repaired: u64) -> Checked {
        Checked {
            rows: 10,
            findings,
            repaired,
        }
    }

    #[test]
    fn a_check_fails_for_what_is_left() {
        assert!(verdict(checked(0, 0), false).is_ok());
        assert!(verdict(checked(2, 2), false).is_ok());
        let failure = verdict(checked(3, 1), true).unwrap_err();
        assert_eq!(failure.code, Some(Code::StoreFaulty));
        assert_eq!(failure.cause, "2 findings are left in 10 rows");
        assert!(failure.remedy.contains("--repair"));
        // What cannot be repaired is not worth a try.
        let failure = verdict(checked(3, 0), false).unwrap_err();
        assert!(!failure.remedy.contains("--repair"));
    }

    #[test]
    fn a_summary_says_what_was_done() {
        let check = |checked, expected: &str| assert_eq!(summary(checked), expected);
        check(checked(0, 0), "10 rows checked: nothing is wrong");
        check(checked(3, 0), "10 rows checked, 3 findings");
        check(
            checked(3, 2),
            "10 rows checked, 3 findings, 2 of them repaired",
        );
    }

    /// One that has lost its row has a finding for each of its events.
    #[test]
    fn an_entity_has_a_few_lines_and_their_number() {
        let finding = |id: Option<&str>, repair| Finding {
            place: "row x".to_owned(),
            entity: id.map(|id| EntityKey::new(StorageName::new("cart"), id)),
            fault: "it is odd".to_owned(),
            repair,
        };
        let mut told = Told::default();
        let printed = (0..361).filter_map(|_| told.line(&finding(Some("a"), Repair::Impossible)));
        assert_eq!(printed.count(), 5);
        assert!(told.line(&finding(Some("b"), Repair::Impossible)).is_some());
        let others = (0..9).filter_map(|_| told.line(&finding(None, Repair::Impossible)));
        assert_eq!(others.count(), 9);
        assert_eq!(told.rest(), ["cart/a: and 356 more findings"]);
        assert!(!told.is_repairable);
        told.line(&finding(Some("a"), Repair::Possible));
        assert!(told.is_repairable, "also of one that is not printed");
    }
}
