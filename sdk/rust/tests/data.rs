//! Replicated data: what handlers change, what is told of it, and how it is taken back.

use firn_sdk::DataType;
use firn_sdk::data::{
    Counter, CounterMap, Flag, GrowCounter, GrowSet, Map, MapValue, MultiMap, Piece, Register,
    RegisterMap, ReplicatedData, Set, Vote,
};
use firn_sdk::kit::Replicas;
use proptest::prelude::*;

/// What a step does, to whatever type.
#[derive(Debug, Clone)]
enum Step {
    Add(u8, i8),
    Remove(u8),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, any::<i8>()).prop_map(|(key, by)| Step::Add(key, by)),
        2 => (0..4_u8).prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..12)
}

fn key(key: u8) -> String {
    key.to_string()
}

trait Tried: ReplicatedData {
    fn step(&mut self, step: &Step);
}

impl Tried for GrowCounter {
    fn step(&mut self, step: &Step) {
        if let Step::Add(_, by) = step {
            self.increase(by.unsigned_abs().into());
        }
    }
}

impl Tried for Counter {
    fn step(&mut self, step: &Step) {
        if let Step::Add(_, by) = step {
            self.change((*by).into());
        }
    }
}

impl Tried for Flag {
    fn step(&mut self, step: &Step) {
        if let Step::Clear = step {
            self.turn_on();
        }
    }
}

impl Tried for Vote {
    fn step(&mut self, step: &Step) {
        if let Step::Add(_, by) = step {
            self.vote(*by > 0);
        }
    }
}

impl Tried for Register<i64> {
    fn step(&mut self, step: &Step) {
        if let Step::Add(_, by) = step {
            self.set(&i64::from(*by));
        }
    }
}

impl Tried for GrowSet<String> {
    fn step(&mut self, step: &Step) {
        if let Step::Add(at, _) = step {
            self.add(&key(*at));
        }
    }
}

impl Tried for Set<String> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Add(at, _) => self.add(&key(*at)),
            Step::Remove(at) => self.remove(&key(*at)),
            Step::Clear => {
                self.clear();
                true
            }
        };
    }
}

macro_rules! maps {
    ($($map:ty: |$value:ident, $by:ident| $add:expr;)*) => {$(
        impl Tried for $map {
            fn step(&mut self, step: &Step) {
                match step {
                    Step::Add(at, $by) => {
                        let $value = self.at(&key(*at));
                        $add;
                    }
                    Step::Remove(at) => {
                        self.remove(&key(*at));
                    }
                    Step::Clear => self.clear(),
                }
            }
        }
    )*};
}

maps! {
    CounterMap<String>: |value, by| value.change((*by).into());
    RegisterMap<String, i64>: |value, by| value.set(&(*by).into());
    MultiMap<String, i64>: |value, by| if *by > 0 { value.add(&(*by).into()) } else { value.remove(&(-i64::from(*by))) };
}

impl Tried for Map<String> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Add(at, by) => {
                let data_type = if at % 2 == 0 {
                    DataType::Counter
                } else {
                    DataType::Map
                };
                match self.at(&key(*at), data_type) {
                    MapValue::Counter(counter) => counter.change((*by).into()),
                    MapValue::Map(map) => {
                        let inner = firn_sdk::Any::pack(&i64::from(*by % 3));
                        let inner = map.at(&inner, DataType::Flag);
                        if let MapValue::Flag(flag) = inner {
                            flag.turn_on();
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Remove(at) => {
                self.remove(&key(*at));
            }
            Step::Clear => self.clear(),
        }
    }
}

fn shown(data: &impl ReplicatedData) -> String {
    format!("{:?}", data.whole())
}

/// The laws of one type: a delta tells everything, an undo takes everything back, and a change that
/// is made again on another copy comes to the same.
fn check<D: Tried>(before: &[Step], after: &[Step]) {
    let mut data = D::default();
    before.iter().for_each(|step| data.step(step));
    let mut replicas = Replicas {
        one: data,
        other: D::default(),
    };
    replicas.exchange();
    assert_eq!(
        shown(&replicas.one),
        shown(&replicas.other),
        "a first change"
    );

    let decided = shown(&replicas.one);
    after.iter().for_each(|step| replicas.one.step(step));
    let changed = shown(&replicas.one);
    let mut redone = replicas.other.clone();
    let mut undone = replicas.one.clone();
    undone.undo();
    assert_eq!(shown(&undone), decided, "an undo");
    assert!(undone.take_delta().is_none(), "nothing is left of it");

    let mut teller = replicas.one.clone();
    if let Some(delta) = teller.take_delta() {
        redone.redo(&delta);
    }
    assert_eq!(shown(&redone), changed, "a redo");
    assert!(teller.take_delta().is_none(), "told once");
    redone.undo();
    assert_eq!(shown(&redone), decided, "an undo of a redo");

    replicas.exchange();
    assert_eq!(shown(&replicas.other), changed, "a second change");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn deltas_tell_everything_and_undo_takes_it_back(before in steps(), after in steps()) {
        check::<GrowCounter>(&before, &after);
        check::<Counter>(&before, &after);
        check::<Flag>(&before, &after);
        check::<Vote>(&before, &after);
        check::<Register<i64>>(&before, &after);
        check::<GrowSet<String>>(&before, &after);
        check::<Set<String>>(&before, &after);
        check::<CounterMap<String>>(&before, &after);
        check::<RegisterMap<String, i64>>(&before, &after);
        check::<MultiMap<String, i64>>(&before, &after);
        check::<Map<String>>(&before, &after);
    }
}

#[test]
fn what_changes_nothing_tells_nothing() {
    let mut set = Set::<String>::default();
    set.add(&key(1));
    set.remove(&key(1));
    set.clear();
    assert!(set.take_delta().is_none());
    let mut counter = Counter::default();
    counter.change(2);
    counter.change(-2);
    assert!(counter.take_delta().is_none());
    let mut map = CounterMap::<String>::default();
    map.change(&key(1), 0);
    map.remove(&key(1));
    assert!(map.take_delta().is_none());
    let mut vote = Vote::default();
    vote.vote(true);
    vote.vote(false);
    assert!(vote.take_delta().is_none());
}
