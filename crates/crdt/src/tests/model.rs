//! A model of what the types mean, which keeps every change with its causal past.
//!
//! It knows no dots and no joins. A change is a list of [`Atom`]s, each at a path. One is dead
//! if a change that had seen it removes it, or if one that is known replaces it; a value is read from
//! those that live.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::cluster::NODES;
use crate::element::Element;
use firn_model::id::{NodeId, Replica};
use firn_model::payload::Payload;
use firn_model::replicated::{
    Clock, DataType, Delta, EntriesDelta, MapDelta, SetDelta, Votes, Write,
};

/// Keys and types from the root to data.
type Path = Vec<(Element, DataType)>;

/// A change and a place in its list.
type AtomId = (usize, usize);

#[derive(Debug, Clone, PartialEq)]
enum Effect {
    /// The data is there, though perhaps empty.
    Touch,
    Add(Element),
    /// All that a replica added to a counter since it was last removed.
    Share(i128),
    Write(i64, Element),
    On,
    Vote(bool),
    /// Of an element from a set.
    Remove(Element),
    /// Of a key from a map.
    RemoveKey(Element),
    /// Of all that is in a set or map.
    Clear,
}

#[derive(Debug, Clone)]
struct Atom {
    path: Path,
    effect: Effect,
    replaces: Vec<AtomId>,
}

pub(super) struct Change {
    me: Replica,
    pub(super) past: BTreeSet<usize>,
    atoms: Vec<Atom>,
}

/// Every change there was.
#[derive(Default)]
pub(super) struct Model(pub(super) Vec<Change>);

impl Atom {
    fn removes(&self, other: &Self) -> bool {
        let below = other.path.starts_with(&self.path);
        let key = other.path.get(self.path.len()).map(|(key, _)| key);
        match &self.effect {
            Effect::Remove(element) => {
                other.path == self.path && other.effect == Effect::Add(element.clone())
            }
            Effect::RemoveKey(removed) => below && key == Some(removed),
            Effect::Clear => below && (key.is_some() || matches!(other.effect, Effect::Add(_))),
            _ => false,
        }
    }
}

impl Model {
    /// The atoms that live when these changes are known.
    fn live(&self, known: &BTreeSet<usize>) -> Vec<(AtomId, &Atom)> {
        let atoms = || {
            known.iter().flat_map(|change| {
                let atoms = self.0[*change].atoms.iter().enumerate();
                atoms.map(|(place, atom)| ((*change, place), atom))
            })
        };
        let seen = |one: AtomId, by: AtomId| {
            (one.0 == by.0 && one.1 < by.1) || self.0[by.0].past.contains(&one.0)
        };
        let dead = |id: AtomId, atom: &Atom| {
            atoms().any(|(by, other)| {
                other.replaces.contains(&id) || (other.removes(atom) && seen(id, by))
            })
        };
        atoms().filter(|(id, atom)| !dead(*id, atom)).collect()
    }

    fn shown(
        &self,
        known: &BTreeSet<usize>,
        path: &[(Element, DataType)],
        key: &Element,
    ) -> Option<DataType> {
        let live = self.live(known);
        let there = live.iter().filter(|(_, atom)| {
            let below = atom.path.starts_with(path) && atom.path.len() > path.len();
            let thing = !matches!(
                atom.effect,
                Effect::Remove(_) | Effect::RemoveKey(_) | Effect::Clear
            );
            below && thing && atom.path[path.len()].0 == *key
        });
        there.map(|(_, atom)| atom.path[path.len()].1).min()
    }

    /// Adds a change that had seen `past`; none if it is refused.
    pub(super) fn change(
        &mut self,
        me: Replica,
        now_ms: i64,
        past: &BTreeSet<usize>,
        delta: &Delta,
    ) -> Option<usize> {
        let (number, data_type) = (self.0.len(), delta.data_type());
        self.0.push(Change {
            me,
            past: past.clone(),
            atoms: Vec::new(),
        });
        let mut known = past.clone();
        known.insert(number);
        let mut making = Making {
            model: self,
            known,
            me,
            now_ms,
        };
        let root = Element::new("", b"");
        let shown = making.shown(&[], &root);
        let path = vec![(root, data_type)];
        let done = shown.is_none_or(|shown| shown == data_type).then(|| {
            making.add(&path, Effect::Touch, Vec::new());
            making.data(&path, delta)
        });
        if done.flatten().is_none() {
            self.0.pop();
            return None;
        }
        Some(number)
    }

    pub(super) fn value(&self, known: &BTreeSet<usize>, me: NodeId) -> Option<Delta> {
        let root = Element::new("", b"");
        let data_type = self.shown(known, &[], &root)?;
        Some(self.read(known, &vec![(root, data_type)], me))
    }

    /// The value at a path.
    fn read(&self, known: &BTreeSet<usize>, path: &Path, me: NodeId) -> Delta {
        let live = self.live(known);
        let here = || live.iter().filter(|(_, atom)| atom.path == *path);
        let elements = || {
            let elements = here().filter_map(|(_, atom)| match &atom.effect {
                Effect::Add(element) => Some(element.clone()),
                _ => None,
            });
            let elements: BTreeSet<Element> = elements.collect();
            elements.iter().map(Element::payload).collect::<Vec<_>>()
        };
        let sum = || {
            let shares = here().map(|(_, atom)| match atom.effect {
                Effect::Share(share) => share,
                _ => 0,
            });
            shares.sum::<i128>()
        };
        let inner = || {
            let below = live
                .iter()
                .filter(|(_, atom)| atom.path.starts_with(path) && atom.path.len() > path.len());
            let keys: BTreeSet<Element> = below
                .map(|(_, atom)| atom.path[path.len()].0.clone())
                .collect();
            let entry = |key: Element| {
                let data_type = self.shown(known, path, &key)?;
                let mut path = path.clone();
                path.push((key.clone(), data_type));
                Some((key.payload(), self.read(known, &path, me)))
            };
            keys.into_iter().filter_map(entry).collect::<Vec<_>>()
        };
        match path.last().unwrap().1 {
            DataType::GrowCounter => Delta::GrowCounter(sum() as u64),
            DataType::Counter => Delta::Counter(sum() as i64),
            DataType::GrowSet => Delta::GrowSet(elements()),
            DataType::Set => Delta::Set(SetDelta {
                added: elements(),
                ..SetDelta::default()
            }),
            DataType::Flag => Delta::Flag(here().any(|(_, atom)| atom.effect == Effect::On)),
            DataType::Register => Delta::Register(self.register(known, path)),
            DataType::Vote => Delta::Vote(self.votes(known, path, me)),
            DataType::Map => Delta::Map(MapDelta {
                added: inner(),
                ..MapDelta::default()
            }),
            DataType::CounterMap => Delta::CounterMap(uniform(inner(), |delta| match delta {
                Delta::Counter(by) => by,
                _ => unreachable!(),
            })),
            DataType::RegisterMap => Delta::RegisterMap(uniform(inner(), |delta| match delta {
                Delta::Register(write) => write,
                _ => unreachable!(),
            })),
            DataType::MultiMap => Delta::MultiMap(uniform(inner(), |delta| match delta {
                Delta::Set(set) => set,
                _ => unreachable!(),
            })),
        }
    }

    /// The live write that wins: who, when, what.
    fn winner(&self, known: &BTreeSet<usize>, path: &Path) -> Option<(AtomId, i64, Element)> {
        let live = self.live(known);
        let writes = live.iter().filter_map(|(id, atom)| match &atom.effect {
            Effect::Write(stamp, value) if atom.path == *path => Some((*id, *stamp, value.clone())),
            _ => None,
        });
        writes.max_by_key(|(id, stamp, _)| {
            let me = self.0[id.0].me;
            (*stamp, Reverse(me.node), me.incarnation, *id)
        })
    }

    fn register(&self, known: &BTreeSet<usize>, path: &Path) -> Write {
        let (_, _, value) = self.winner(known, path).expect("a register has a write");
        Write {
            value: value.payload(),
            clock: Clock::Default,
        }
    }

    fn votes(&self, known: &BTreeSet<usize>, path: &Path, me: NodeId) -> Votes {
        let mut latest = BTreeMap::new();
        for (id, atom) in self.live(known) {
            if let Effect::Vote(vote) = atom.effect
                && atom.path == *path
            {
                let me = self.0[id.0].me;
                latest.insert((me.node, me.incarnation, id), vote);
            }
        }
        let by_node: BTreeMap<NodeId, bool> = latest
            .into_iter()
            .map(|((node, ..), vote)| (node, vote))
            .collect();
        Votes {
            own: by_node.get(&me).copied().unwrap_or_default(),
            yes: by_node.values().filter(|vote| **vote).count() as u32,
            members: NODES as u32,
        }
    }
}

fn uniform<T>(entries: Vec<(Payload, Delta)>, value: fn(Delta) -> T) -> EntriesDelta<T> {
    let entries = entries.into_iter().map(|(key, delta)| (key, value(delta)));
    EntriesDelta {
        updated: entries.collect(),
        ..EntriesDelta::default()
    }
}

/// The last change of the model, while its atoms are found.
struct Making<'a> {
    model: &'a mut Model,
    /// What it has seen, itself included.
    known: BTreeSet<usize>,
    me: Replica,
    now_ms: i64,
}

impl Making<'_> {
    fn add(&mut self, path: &Path, effect: Effect, replaces: Vec<AtomId>) {
        self.model.0.last_mut().unwrap().atoms.push(Atom {
            path: path.clone(),
            effect,
            replaces,
        });
    }

    fn shown(&self, path: &[(Element, DataType)], key: &Element) -> Option<DataType> {
        self.model.shown(&self.known, path, key)
    }

    /// The live atoms at a path, with who made them.
    fn here(&self, path: &Path) -> Vec<(AtomId, Replica, Effect)> {
        let live = self.model.live(&self.known).into_iter();
        live.filter(|(_, atom)| atom.path == *path)
            .map(|(id, atom)| (id, self.model.0[id.0].me, atom.effect.clone()))
            .collect()
    }

    /// Finds the atoms of a change; none if it is refused.
    fn data(&mut self, path: &Path, delta: &Delta) -> Option<()> {
        match delta {
            Delta::GrowCounter(by) => self.count(path, (*by).into()),
            Delta::Counter(by) => self.count(path, (*by).into()),
            Delta::GrowSet(added) => added
                .iter()
                .for_each(|one| self.add(path, Effect::Add(one.into()), Vec::new())),
            Delta::Set(change) => self.set(path, change),
            Delta::Flag(on) => return self.flag(path, *on),
            Delta::Register(write) => self.write(path, write),
            Delta::Vote(votes) => self.vote(path, votes.own),
            Delta::Map(change) => return self.map(path, change),
            Delta::CounterMap(change) => {
                self.uniform(path, change, DataType::Counter, |by| Delta::Counter(*by))
            }
            Delta::RegisterMap(change) => {
                self.uniform(path, change, DataType::Register, |write| {
                    Delta::Register(write.clone())
                });
            }
            Delta::MultiMap(change) => {
                self.uniform(path, change, DataType::Set, |set| Delta::Set(set.clone()))
            }
        }
        Some(())
    }

    fn count(&mut self, path: &Path, by: i128) {
        let own = self.here(path).into_iter();
        let own = own.filter_map(|(id, me, effect)| match effect {
            Effect::Share(share) if me == self.me => Some((id, share)),
            _ => None,
        });
        let (replaces, shares): (Vec<AtomId>, Vec<i128>) = own.unzip();
        if by != 0 {
            let share = shares.into_iter().sum::<i128>() + by;
            self.add(path, Effect::Share(share), replaces);
        }
    }

    fn set(&mut self, path: &Path, change: &SetDelta) {
        if change.cleared {
            self.add(path, Effect::Clear, Vec::new());
        }
        for element in &change.removed {
            self.add(path, Effect::Remove(element.into()), Vec::new());
        }
        for element in &change.added {
            self.add(path, Effect::Add(element.into()), Vec::new());
        }
    }

    fn flag(&mut self, path: &Path, on: bool) -> Option<()> {
        if on {
            self.add(path, Effect::On, Vec::new());
            return Some(());
        }
        let mut here = self.here(path).into_iter();
        (!here.any(|(_, _, effect)| effect == Effect::On)).then_some(())
    }

    fn write(&mut self, path: &Path, write: &Write) {
        let winner = self.model.winner(&self.known, path);
        let current = winner.as_ref().map(|(_, stamp, _)| *stamp);
        let now = self.now_ms;
        let stamp = match write.clock {
            Clock::Default => current.map_or(now, |current| now.max(current + 1)),
            Clock::Reverse => current.map_or(-now, |current| (-now).min(current - 1)),
            Clock::Custom(number) => number,
            Clock::CustomAutoIncrement(number) => match current {
                Some(current) if current >= number => current + 1,
                _ => number,
            },
        };
        let wins = |(id, current, _): &(AtomId, i64, Element)| {
            let node = Reverse(self.model.0[id.0].me.node);
            (stamp, Reverse(self.me.node)) >= (*current, node)
        };
        let stays = winner.filter(|winner| !wins(winner)).map(|(id, ..)| id);
        let here = self.here(path).into_iter();
        let writes = here.filter(|(_, _, effect)| matches!(effect, Effect::Write(..)));
        let replaces = writes
            .map(|(id, ..)| id)
            .filter(|id| Some(*id) != stays)
            .collect();
        self.add(path, Effect::Write(stamp, (&write.value).into()), replaces);
    }

    fn vote(&mut self, path: &Path, own: bool) {
        let here = self.here(path).into_iter();
        let votes = here
            .filter(|(_, me, effect)| matches!(effect, Effect::Vote(_)) && me.node == self.me.node);
        let replaces = votes.map(|(id, ..)| id).collect();
        self.add(path, Effect::Vote(own), replaces);
    }

    fn map(&mut self, path: &Path, change: &MapDelta) -> Option<()> {
        self.remove(path, change.cleared, &change.removed);
        for (key, delta) in &change.updated {
            if self.shown(path, &key.into()) == Some(delta.data_type()) {
                self.entry(path, key, delta)?;
            }
        }
        for (key, delta) in &change.added {
            let shown = self.shown(path, &key.into());
            if shown.is_some_and(|shown| shown != delta.data_type()) {
                self.add(path, Effect::RemoveKey(key.into()), Vec::new());
            }
            self.entry(path, key, delta)?;
        }
        Some(())
    }

    fn uniform<T>(
        &mut self,
        path: &Path,
        change: &EntriesDelta<T>,
        data_type: DataType,
        delta: impl Fn(&T) -> Delta,
    ) {
        self.remove(path, change.cleared, &change.removed);
        for (key, by) in &change.updated {
            let delta = delta(by);
            assert_eq!(delta.data_type(), data_type);
            self.entry(path, key, &delta).expect("no flag is in it");
        }
    }

    fn remove(&mut self, path: &Path, cleared: bool, removed: &[Payload]) {
        if cleared {
            self.add(path, Effect::Clear, Vec::new());
        }
        for key in removed {
            self.add(path, Effect::RemoveKey(key.into()), Vec::new());
        }
    }

    fn entry(&mut self, path: &Path, key: &Payload, delta: &Delta) -> Option<()> {
        let mut path = path.clone();
        path.push((key.into(), delta.data_type()));
        self.add(&path, Effect::Touch, Vec::new());
        self.data(&path, delta)
    }
}
