use std::sync::Arc;

use futures_executor::block_on;

use super::*;
use crate::memory::Memory;
use crate::memory::Table;
use crate::suite::contents;
use crate::{Clock, ReadError};

fn filled() -> Table {
    let clock = Clock::new(|| Timestamp(1_700_000_000_000));
    let store = Arc::new(Memory::with_clock(clock));
    for seed in 0..2 {
        block_on(contents::fill(&*store, seed));
    }
    store.table()
}

fn check(table: &mut Table, is_repairing: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut repairs = Vec::new();
    let mut tell = |told| match told {
        Told::Finding(finding) => findings.push(finding),
        Told::Rows(rows) => panic!("{rows} rows are too few to be told"),
    };
    let checked = Check::new(&*table, is_repairing, &mut tell)
        .run(|changes| {
            repairs.push(changes);
            Ok::<(), ReadError>(())
        })
        .unwrap();
    assert!(checked.rows > 100, "all rows are looked at");
    assert_eq!(checked.findings, findings.len() as u64);
    for changes in repairs {
        table.write(changes);
    }
    findings
}

/// The first row of a space that `wanted` picks.
fn row(table: &Table, space: Space, wanted: impl Fn(&[u8], &Bytes) -> bool) -> (Key, Bytes) {
    let (from, to) = key::whole(space);
    let rows = table.scan(from, to).map(Result::unwrap);
    let mut rows = rows.filter(|(key, value)| wanted(key, value));
    let (key, value) = rows.next().expect("there is such a row");
    (key.to_vec(), value)
}

#[test]
fn a_store_as_it_was_written_has_no_findings() {
    let mut table = filled();
    assert_eq!(check(&mut table, true), []);
}

/// Removes or replaces a row and says what must be found; repairs leave nothing to find.
#[test]
fn what_does_not_fit_together_is_found() {
    let any = |_: &[u8], _: &Bytes| true;
    let lost = [
        (Space::State, "its state is missing"),
        (Space::Snapshot, "its snapshot is missing"),
        (Space::Event, "before it is missing"),
        (Space::ReplicaState, "its state is missing"),
        (Space::Head, "ends with 0"),
        (Space::Change, "is missing"),
    ];
    for (space, text) in lost {
        let mut table = filled();
        let living = |key: &[u8], _: &Bytes| match space {
            Space::Event => key::event_number(key) == Some(1) && is_living(&table, key),
            _ => true,
        };
        let (key, _) = row(&table, space, living);
        table.write([(key, None)]);
        let findings = check(&mut table, true);
        let told = |finding: &Finding| finding.fault.contains(text);
        assert!(findings.iter().any(told), "{space:?}: {findings:?}");
        let cannot = |finding: &Finding| finding.repair == Repair::Impossible;
        assert!(findings.iter().any(cannot), "{space:?}: {findings:?}");
    }
    let made = [
        (Space::Tombstone, "nothing leads to its tombstone"),
        (Space::Expiry, "nothing leads to its expiry"),
        (Space::Due, "nothing leads to it when it is due"),
    ];
    for (space, text) in made {
        let mut table = filled();
        // An Expiry row may be that of a record that was replaced.
        let needed = |key: &[u8], _: &Bytes| match key::expiring(key) {
            Some((expires, reply)) if space == Space::Expiry => {
                let value = table.get(reply).unwrap();
                let row: Option<ReplyRow> = value.map(|value| decode_row(reply, value).unwrap());
                let record = row.and_then(|row| row.record);
                record.is_some_and(|record| record.expires == expires.0)
            }
            _ => true,
        };
        let (key, _) = row(&table, space, needed);
        table.write([(key, None)]);
        let findings = check(&mut table, false);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].fault.contains(text), "{}", findings[0]);
        assert_eq!(findings[0].repair, Repair::Possible);
        assert_eq!(check(&mut table, true)[0].repair, Repair::Done);
        assert_eq!(check(&mut table, true), []);
    }
    for space in [Space::State, Space::Snapshot, Space::Event, Space::Timer] {
        let mut table = filled();
        let (key, _) = row(&table, space, any);
        table.write([(key, Some(Bytes::from_static(b"\x01\xff\xff")))]);
        let findings = check(&mut table, true);
        assert!(findings[0].fault.contains("does not parse"), "{findings:?}");
    }
}

fn is_living(table: &Table, event: &[u8]) -> bool {
    let (owner, generation) = key::generation_in(event).unwrap();
    let entity = entity_row(table, &owner).unwrap();
    entity.generation == generation && entity.last_event > 1
}

#[test]
fn what_nothing_leads_to_is_removed() {
    let stranger = EntityKey::new(firn_model::id::StorageName::new("cart"), "stranger");
    let at = Timestamp(5);
    let mut table = filled();
    // An entity that says it has nothing; without that it may have lost what says otherwise.
    let entity = encode(&EntityRow::of(&stranger));
    table.write([(key::entity(Space::Entity, &stranger), Some(entity))]);
    let (_, state) = row(&table, Space::State, |_, _| true);
    let (_, snapshot) = row(&table, Space::Snapshot, |_, _| true);
    let (_, event) = row(&table, Space::Event, |_, _| true);
    let (_, due) = row(&table, Space::Due, |_, _| true);
    let (_, replica) = row(&table, Space::ReplicaState, |_, _| true);
    let node = firn_model::id::NodeId(9);
    let strays = [
        (key::entity(Space::State, &stranger), state),
        (key::entity(Space::Snapshot, &stranger), snapshot),
        (key::event(&stranger, 3, 1), event),
        (key::due(at, b"no timer"), due),
        (
            key::tombstone(at, &stranger),
            encode(&KeyPart::from(&stranger)),
        ),
        (key::replica(Space::ReplicaState, node, &stranger), replica),
    ];
    let count = strays.len();
    table.write(strays.map(|(key, value)| (key, Some(value))));
    let findings = check(&mut table, true);
    assert_eq!(findings.len(), count, "{findings:?}");
    let is_done = |finding: &Finding| finding.repair == Repair::Done;
    assert!(findings.iter().all(is_done), "{findings:?}");
    assert_eq!(check(&mut table, true), []);
}

/// What is lost of an entity shows in many rows, which can be told as one.
#[test]
fn findings_of_a_lost_entity_name_it() {
    let mut table = filled();
    let (key, _) = row(&table, Space::Entity, |key, _| {
        let name = key::entity_of(key);
        name.is_some_and(|name| {
            let event = key::event(&name, 1, 2);
            table.get(&event).unwrap().is_some()
        })
    });
    let name = key::entity_of(&key);
    table.write([(key, None)]);
    let findings = check(&mut table, false);
    assert!(findings.len() > 2, "{findings:?}");
    let is_of_it = |finding: &Finding| finding.entity == name;
    assert!(findings.iter().all(is_of_it), "{findings:?}");
    let contents = |table: &Table| {
        let rows = [Space::State, Space::Snapshot, Space::Event].map(|space| {
            let (from, to) = key::whole(space);
            table.scan(from, to).collect::<Result<Vec<_>, _>>().unwrap()
        });
        rows.concat()
    };
    let before = contents(&table);
    check(&mut table, true);
    assert_eq!(contents(&table), before, "what was said stays for a rescue");
}

#[test]
fn findings_say_where_and_what() {
    let finding = Finding {
        place: "row x".to_owned(),
        entity: None,
        fault: "it is odd".to_owned(),
        repair: Repair::Possible,
    };
    assert_eq!(finding.to_string(), "row x: it is odd (can be repaired)");
}
