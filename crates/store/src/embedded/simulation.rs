//! The whole store over a disk and rows that fail: lives of a process, and a model of what every
//! entity must hold afterwards.

use std::collections::BTreeMap;

use firn_model::decision::Forward;
use firn_model::id::{Epoch, SlotSequence};
use firn_model::payload::Payload;
use futures_executor::block_on;
use futures_util::FutureExt;

use super::faults::{Chance, Failure, FaultyDisk, FaultyRows};
use super::*;
use crate::commit::Change;
use crate::entity::Timestamp;
use crate::timer::{TimerName, TimerWrite};

const SEGMENT_BYTES: u64 = 8 * 1024;

/// Rows become durable now and then, and most have to be made again from the log.
const REPLAY_BYTES: u64 = 12 * 1024;

const ENTITIES: u64 = 6;

/// Which events of an entity come with a snapshot.
const SNAPSHOT_EVERY: u64 = 5;

fn open(
    disk: &FaultyDisk,
    rows: &FaultyRows,
    on_fatal: impl Fn(&Fatal) + Send + Sync + 'static,
) -> Result<Embedded, OpenError> {
    let config = Config {
        segment_bytes: SEGMENT_BYTES,
        replay_bytes: REPLAY_BYTES,
        read_threads: 1,
        ..Config::default()
    };
    faults::open(disk, rows, &config, on_fatal)
}

fn key(number: u64) -> EntityKey {
    EntityKey::new(StorageName::new("entity"), number.to_string())
}

const NODE: NodeId = NodeId(1);

/// What was promised: of every entity its events, of every replica its state and its receipts, and
/// of each those of writes that were not answered.
#[derive(Default)]
struct Model {
    landed: BTreeMap<u64, Vec<Payload>>,
    open: BTreeMap<u64, Vec<Payload>>,
    made: u64,
    /// The replicas that were saved, in order; the effect of each has its place as its sequence.
    saved: Vec<ReplicaWrite>,
    unsaved: Vec<ReplicaWrite>,
    /// Up to which event each entity was trimmed, and up to which it may have been.
    trimmed: BTreeMap<u64, u64>,
    maybe_trimmed: BTreeMap<u64, u64>,
    runs: Vec<Replica>,
}

/// What the commit of an entity's event does to one of its timers: most set one, some cancel it.
fn timer_write(number: u64, event: u64) -> TimerWrite {
    let call = Forward {
        service: number.to_string(),
        method: event.to_string(),
        payload: Payload::default(),
        metadata: Default::default(),
    };
    TimerWrite {
        name: TimerName::Own((event % 3).to_string().into()),
        timer: (!event.is_multiple_of(4)).then(|| Timer {
            due: Timestamp(event * 7 % 20),
            call,
            repeat: None,
            hops: 0,
        }),
    }
}

/// The effect that is in the replica with this place.
fn effect(place: usize) -> EffectId {
    EffectId {
        slot: Slot::new(3).unwrap(),
        sequence: SlotSequence(place as u64),
        index: 0,
    }
}

impl Model {
    /// A batch that appends to some entities.
    fn batch(&mut self, chance: &mut Chance) -> Vec<Commit> {
        let mut batch = Vec::new();
        for _ in 0..=chance.below(4) {
            let number = chance.below(ENTITIES);
            self.made += 1;
            let bytes = vec![self.made as u8; chance.below(600) as usize];
            let event = Payload::new(self.made.to_string(), bytes);
            let landed = self.landed.entry(number).or_default().len();
            let open = self.open.entry(number).or_default();
            open.push(event.clone());
            let sequence = (landed + open.len()) as u64;
            let key = key(number);
            let at = Timestamp(self.made);
            let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(sequence), at);
            commit.key = Some(key);
            commit.change = Some(Change::Append {
                first: sequence,
                events: vec![event],
                snapshot: sequence
                    .is_multiple_of(SNAPSHOT_EVERY)
                    .then(Payload::default),
                deleted_until: None,
            });
            commit.timers = vec![timer_write(number, sequence)];
            batch.push(commit);
        }
        batch
    }

    /// A trim of an entity, up to its last snapshot or further.
    fn trim(&mut self, chance: &mut Chance) -> (u64, Trim) {
        let number = chance.below(ENTITIES);
        let landed = self.landed.get(&number).map_or(0, Vec::len) as u64;
        let snapshot = landed / SNAPSHOT_EVERY * SNAPSHOT_EVERY;
        let through = snapshot.min(landed.saturating_sub(1));
        let trimmed = self.trimmed.get(&number).copied().unwrap_or_default();
        self.maybe_trimmed.insert(number, through.max(trimmed));
        let trim = Trim {
            key: key(number),
            through: snapshot + chance.below(3),
        };
        (number, trim)
    }

    fn land_trim(&mut self, number: u64) {
        let through = self.maybe_trimmed.get(&number).copied();
        self.trimmed.insert(number, through.unwrap_or_default());
    }

    fn land(&mut self) {
        for (number, mut events) in std::mem::take(&mut self.open) {
            self.landed.entry(number).or_default().append(&mut events);
        }
    }

    /// Some replicas, each made from an effect.
    fn replicas(&mut self, chance: &mut Chance) -> Vec<ReplicaWrite> {
        let mut writes = Vec::new();
        for _ in 0..=chance.below(3) {
            self.made += 1;
            let state = vec![self.made as u8; chance.below(600) as usize];
            let key = key(chance.below(ENTITIES));
            let mut write = ReplicaWrite::new(key, Timestamp(self.made), state);
            let place = self.saved.len() + self.unsaved.len();
            write.received = vec![effect(place)];
            self.unsaved.push(write.clone());
            writes.push(write);
        }
        writes
    }

    fn land_replicas(&mut self) {
        self.saved.append(&mut self.unsaved);
    }

    /// A run that nobody had before, of the node that had all of them.
    fn run(&mut self, replica: Replica) {
        assert!(!self.runs.contains(&replica), "a run was given twice");
        assert!(self.runs.iter().all(|run| run.node == replica.node));
        self.runs.push(replica);
    }

    /// Every saved replica is there, the newest of each entity, whole with its effect; of the
    /// others a beginning.
    fn check_replicas(&mut self, store: &Embedded) {
        let acknowledged = self.saved.len();
        self.saved.append(&mut self.unsaved);
        let was_received = |place: usize| {
            let slot = self.saved[place].key.slot();
            block_on(store.was_received(slot, effect(place))).unwrap()
        };
        let all = 0..self.saved.len();
        let found = all.clone().take_while(|place| was_received(*place)).count();
        assert!(found >= acknowledged, "an acknowledged replica is lost");
        assert!(!all.skip(found).any(was_received), "one is missing");
        self.saved.truncate(found);
        for number in 0..ENTITIES {
            let key = key(number);
            let newest = self.saved.iter().rfind(|write| write.key == key);
            let state = block_on(store.load_replica(NODE, &key)).unwrap();
            assert!(state.as_ref() == newest.map(|write| &write.state));
        }
    }

    /// The timers are what the events that are there have left of them, and are found at their times.
    fn check_timers(&self, store: &Embedded) {
        let mut expected = BTreeMap::new();
        for (number, events) in &self.landed {
            for event in 1..=events.len() as u64 {
                let TimerWrite { name, timer } = timer_write(*number, event);
                let key = key(*number);
                expected.insert(TimerId { key, name }, timer);
            }
        }
        for (id, timer) in &expected {
            assert_eq!(block_on(store.timer(id)).unwrap(), *timer);
        }
        let standing = expected.into_iter().filter_map(|(id, timer)| {
            let due = timer?.due;
            Some(DueTimer { due, id })
        });
        let mut standing: Vec<DueTimer> = standing.collect();
        standing.sort_by_key(|timer| (timer.due, timer.id.clone()));
        let found = block_on(store.due_timers(Timestamp(u64::MAX), None, usize::MAX)).unwrap();
        assert_eq!(found, standing);
    }

    /// Every acknowledged event is there, in order, once; of the open ones a beginning.
    fn check(&mut self, store: &Embedded) {
        self.check_replicas(store);
        for number in 0..ENTITIES {
            let entity = block_on(store.load(&key(number), Replay::AllEvents)).unwrap();
            let found = block_on(store.events(&key(number), 0, usize::MAX)).unwrap();
            let trimmed = found.first().map_or(0, |first| first.sequence - 1);
            let found: Vec<Payload> = found.into_iter().map(|event| event.payload).collect();
            let landed = self.landed.entry(number).or_default();
            let acknowledged = landed.len();
            landed.append(self.open.entry(number).or_default());
            let last = trimmed as usize + found.len();
            assert!(last >= acknowledged, "an acknowledged event is lost");
            assert!(landed.len() >= last, "there are more events");
            landed.truncate(last);
            assert!(landed.ends_with(&found), "the events are others");
            assert_eq!(entity.last_event, last as u64);
            let snapshot = entity.snapshot.map_or(0, |snapshot| snapshot.sequence);
            assert_eq!(snapshot + entity.events.len() as u64, last as u64);
            let at_least = self.trimmed.get(&number).copied().unwrap_or_default();
            let at_most = self.maybe_trimmed.get(&number).copied().unwrap_or_default();
            assert!((at_least..=at_most.max(at_least)).contains(&trimmed));
            self.trimmed.insert(number, trimmed);
        }
        self.maybe_trimmed.clear();
        self.open.clear();
        self.check_timers(store);
    }
}

/// One life of a process: it starts, looks, writes, and ends somehow.
fn live(model: &mut Model, disk: &FaultyDisk, rows: &FaultyRows, chance: &mut Chance) {
    if chance.once_in(2) {
        let failure = match chance.below(2) {
            0 => Failure::Error(io::ErrorKind::StorageFull),
            _ => Failure::Interrupted,
        };
        disk.fail_after(chance.below(60), failure);
    }
    let Ok(store) = open(disk, rows, |_| {}) else {
        return;
    };
    model.check(&store);
    let Some(run) = store.incarnate("node").now_or_never() else {
        return;
    };
    model.run(run.unwrap());
    for _ in 0..chance.below(25) {
        if chance.once_in(2) {
            let writes = model.replicas(chance);
            // Some go with the commits that come next.
            if chance.once_in(2) {
                store.saves.put(NODE, writes);
            } else if store.save_replicas(NODE, writes).now_or_never().is_some() {
                model.land_replicas();
            } else {
                break;
            }
        }
        if chance.once_in(3) {
            let (number, trim) = model.trim(chance);
            match store.trim(vec![trim]).now_or_never() {
                Some(trimmed) => trimmed.unwrap(),
                None => break,
            }
            model.land_trim(number);
            model.land_replicas();
        }
        let batch = model.batch(chance);
        let Some(outcomes) = store.commit(batch).now_or_never() else {
            break;
        };
        for outcome in outcomes {
            assert_eq!(outcome.outcome, Outcome::Landed);
        }
        model.land();
        model.land_replicas();
        if chance.once_in(10) {
            rows.set_failing(true);
        }
    }
    if chance.once_in(2) {
        store.close();
    } else {
        store.abandon();
    }
}

impl Embedded {
    /// Ends without anything that a killed process would not do.
    pub(super) fn abandon(self) {
        self.shared.has_failed.store(true, Ordering::Release);
        self.shared.backlog.fail();
    }
}

#[test]
fn acknowledged_events_survive_every_end() {
    for seed in 0..300 {
        let run = panic::catch_unwind(|| {
            let mut chance = Chance::new(seed);
            let mut disk = FaultyDisk::new();
            let mut rows = FaultyRows::new();
            let mut model = Model::default();
            for _ in 0..4 {
                live(&mut model, &disk, &rows, &mut chance);
                disk = match chance.below(2) {
                    0 => disk.end_process(),
                    _ => disk.lose_power(&mut chance),
                };
                rows = rows.survive(&mut chance);
            }
            model.check(&open(&disk, &rows, |_| {}).unwrap());
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}

/// Notes what the handler was told.
fn noting() -> (Arc<Mutex<Vec<Fatal>>>, impl Fn(&Fatal) + Send + Sync) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = told.clone();
    (told, move |fatal: &Fatal| {
        note.lock().unwrap().push(fatal.clone());
    })
}

#[test]
fn a_failed_write_is_fatal_and_never_answered() {
    for (operation, kind) in [(0, io::ErrorKind::StorageFull), (1, io::ErrorKind::Other)] {
        let disk = FaultyDisk::new();
        let (told, on_fatal) = noting();
        let store = open(&disk, &FaultyRows::new(), on_fatal).unwrap();
        disk.fail_after(operation, Failure::Error(kind));
        let mut model = Model::default();
        let batch = model.batch(&mut Chance::new(0));
        assert_eq!(store.commit(batch).now_or_never(), None);
        let operations = disk.operations();
        let batch = Model::default().batch(&mut Chance::new(1));
        assert_eq!(store.commit(batch).now_or_never(), None);
        drop(store);
        assert_eq!(disk.operations(), operations, "never retried");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].code, firn_model::code::Code::FlushFailed);
    }
}

#[test]
fn a_failed_save_is_fatal_and_never_answered() {
    for operation in [0, 1] {
        let disk = FaultyDisk::new();
        let (told, on_fatal) = noting();
        let store = open(&disk, &FaultyRows::new(), on_fatal).unwrap();
        disk.fail_after(operation, Failure::Error(io::ErrorKind::StorageFull));
        let writes = Model::default().replicas(&mut Chance::new(0));
        let save = store.save_replicas(NODE, writes.clone());
        assert_eq!(save.now_or_never(), None);
        let operations = disk.operations();
        assert_eq!(store.save_replicas(NODE, writes).now_or_never(), None);
        assert_eq!(store.incarnate("node").now_or_never(), None);
        drop(store);
        assert_eq!(disk.operations(), operations, "never retried");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].code, firn_model::code::Code::FlushFailed);
    }
}

/// One write and one flush for both, whoever makes them.
#[test]
fn replicas_that_wait_go_with_commits() {
    let disk = FaultyDisk::new();
    let rows = FaultyRows::new();
    let store = open(&disk, &rows, |_| {}).unwrap();
    let mut model = Model::default();
    let writes = model.replicas(&mut Chance::new(0));
    let number = store.saves.put(NODE, writes);
    let operations = disk.operations();
    let batch = model.batch(&mut Chance::new(0));
    block_on(store.commit(batch));
    assert_eq!(disk.operations(), operations + 2);
    assert_eq!(store.writer().saved, number);
    model.land();
    model.land_replicas();
    model.check(&store);
    store.abandon();
    model.check(&open(&disk.end_process(), &rows, |_| {}).unwrap());
}

#[test]
fn rows_that_cannot_be_written_are_fatal() {
    let disk = FaultyDisk::new();
    let (told, on_fatal) = noting();
    let rows = FaultyRows::new();
    let store = open(&disk, &rows, on_fatal).unwrap();
    rows.set_failing(true);
    let mut model = Model::default();
    let batch = model.batch(&mut Chance::new(0));
    let key = batch[0].key.clone().unwrap();
    // Whoever brings commits into the rows looks at them now and then, and may find out first.
    let outcomes = store.commit(batch).now_or_never();
    let is_in_log = outcomes.is_some_and(|outcomes| !outcomes.is_empty());
    let loaded = block_on(store.load(&key, Replay::AllEvents));
    assert!(matches!(loaded, Err(ReadError::Unavailable { .. })));
    drop(store);
    assert_eq!(told.lock().unwrap().len(), 1);
    rows.set_failing(false);
    if is_in_log {
        model.land();
    }
    model.check(&open(&disk.end_process(), &rows, |_| {}).unwrap());
}

#[test]
fn a_disk_that_is_full_at_the_start_is_reported() {
    let disk = FaultyDisk::new();
    disk.fail_after(0, Failure::Error(io::ErrorKind::StorageFull));
    let opened = open(&disk, &FaultyRows::new(), |_| {});
    let error = opened.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Flush { .. }), "{error}");
    assert_eq!(error.code(), firn_model::code::Code::FlushFailed);
}

#[test]
fn damaged_rows_are_reported() {
    let rows = FaultyRows::new();
    rows.put(crate::rows::key::reached(), b"no");
    let opened = open(&FaultyDisk::new(), &rows, |_| {});
    let error = opened.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::RowsDamaged { .. }), "{error}");
    assert_eq!(error.code(), firn_model::code::Code::RecordDamaged);
}

/// The trim is in the log by then: what it finds must not end the store, nor any start of it.
#[test]
fn a_trim_that_finds_a_damaged_event_ends_nothing() {
    let (disk, rows) = (FaultyDisk::new(), FaultyRows::new());
    let never = |fatal: &Fatal| panic!("{fatal}");
    let store = open(&disk, &rows, never).unwrap();
    let key = key(0);
    let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), Timestamp(1));
    commit.key = Some(key.clone());
    commit.change = Some(Change::Append {
        first: 1,
        events: vec![Payload::default(); 4],
        snapshot: Some(Payload::default()),
        deleted_until: None,
    });
    block_on(store.commit(vec![commit]));
    let first = |store: &Embedded| {
        let page = store.covered(&key.storage, Keep::Last(0), None, 1);
        block_on(page).unwrap().found[0].first
    };
    assert_eq!(first(&store), 1);
    rows.put(crate::rows::key::event(&key, 0, 2), b"\x01no event");
    let trim = Trim {
        key: key.clone(),
        through: 3,
    };
    assert_eq!(block_on(store.trim(vec![trim])), Ok(()));
    assert_eq!(first(&store), 1);
    drop(store);
    let store = open(&disk.end_process(), &rows, never).unwrap();
    assert_eq!(first(&store), 1);
}

#[test]
fn a_closed_store_refuses_writes_and_answers_reads() {
    let store = open(&FaultyDisk::new(), &FaultyRows::new(), |_| {}).unwrap();
    let mut model = Model::default();
    let batch = model.batch(&mut Chance::new(0));
    block_on(store.commit(batch));
    model.land();
    store.close();
    store.close();
    let outcomes = block_on(store.commit(model.batch(&mut Chance::new(1))));
    assert!(matches!(outcomes[0].outcome, Outcome::NotWritten { .. }));
    model.open.clear();
    let closed = WriteError::Unavailable {
        cause: "the embedded store is closed".to_owned(),
    };
    let save = block_on(store.save_replicas(NODE, model.replicas(&mut Chance::new(1))));
    assert_eq!(save, Err(closed.clone()));
    let run = block_on(store.incarnate("node"));
    assert_eq!(run, Err(IncarnateError::Write(closed)));
    model.unsaved.clear();
    model.check(&store);
}
