//! A disk in memory that fails on purpose.
//!
//! It keeps two pictures of every file: what a process sees, and what a power loss leaves. A write
//! changes the first; a sync brings the second up to date. [`FaultyDisk::lose_power`] decides, by a
//! seed, for each sector that was written and not synced whether it was lost, torn or persisted;
//! later ones may persist without earlier ones. The names of files behave in the same way.
//! [`FaultyRows`] lose their last batches likewise, and [`open`] puts a store on both.

mod rows;

pub use rows::{FaultyRows, open};

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, File};

/// The unit in which a disk persists, in bytes.
const SECTOR_BYTES: usize = 512;

/// A disk in memory that fails on purpose. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    /// The process that this handle belongs to; the disk does nothing for an earlier one.
    process: u64,
}

#[derive(Default)]
struct State {
    process: u64,
    contents: Vec<Content>,
    /// The names as a process sees them.
    names: BTreeMap<String, usize>,
    /// The names as a power loss leaves them at least.
    durable_names: BTreeMap<String, usize>,
    /// What was done to names since the last sync.
    unsynced_names: Vec<NameChange>,
    /// Operations until one fails, and how.
    failure: Option<(u64, Failure)>,
    operations: u64,
}

#[derive(Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Offset and bytes of what was written since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
}

enum NameChange {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

/// How operations fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// With this error. Half of what was to be written is written. After a sync that failed,
    /// what was not synced stays visible and never reaches the disk, as on Linux.
    Error(io::ErrorKind),
    /// Not at all: the power went while they were under way. What was to be written may be.
    Interrupted,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Error(kind) => kind.into(),
            Failure::Interrupted => Self::other("the power is gone"),
        }
    }
}

/// A random source that a seed determines.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// A source for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number (SplitMix64).
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.any() % end.max(1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

impl FaultyDisk {
    /// An empty disk that does not fail yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all operations after this many more fail.
    pub fn fail_after(&self, operations: u64, failure: Failure) {
        self.lock().failure = Some((operations, failure));
    }

    /// How many operations there were that could have failed.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Ends the process: handles it has open do nothing any more, files stay as it saw them.
    pub fn end_process(&self) -> Self {
        let mut state = self.lock();
        state.process += 1;
        state.failure = None;
        Self {
            process: state.process,
            state: self.state.clone(),
        }
    }

    /// Ends the process and the power: of what was not synced, chance decides.
    pub fn lose_power(&self, chance: &mut Chance) -> Self {
        let mut state = self.lock();
        state.lose_names(chance);
        for content in &mut state.contents {
            content.lose(chance);
        }
        drop(state);
        self.end_process()
    }

    /// Flips bits of one byte of a file.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        let mut state = self.lock();
        if let Some(id) = state.names.get(name).copied() {
            let content = &mut state.contents[id];
            content.seen[offset] ^= mask;
            content.durable[offset] ^= mask;
        }
    }

    /// The files and what is in them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let file = |(name, id): (&String, &usize)| (name.clone(), state.contents[*id].seen.clone());
        state.names.iter().map(file).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if this process may use it.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.process == self.process {
            Ok(state)
        } else {
            Err(io::Error::other("the process has ended"))
        }
    }
}

impl State {
    /// Counts an operation; tells whether it fails.
    fn operate(&mut self) -> Result<(), Failure> {
        self.operations += 1;
        match &mut self.failure {
            Some((0, failure)) => Err(*failure),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// File systems persist changes of names in order.
    fn lose_names(&mut self, chance: &mut Chance) {
        let kept = chance.below(self.unsynced_names.len() as u64 + 1);
        for change in self.unsynced_names.drain(..).take(kept as usize) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

impl Content {
    fn lose(&mut self, chance: &mut Chance) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            let mut from = 0;
            while from < bytes.len() {
                let room = SECTOR_BYTES - (offset + from) % SECTOR_BYTES;
                let sector = &bytes[from..bytes.len().min(from + room)];
                let kept = match chance.below(4) {
                    0 => 0,
                    1 => chance.below(sector.len() as u64) as usize,
                    _ => sector.len(),
                };
                put(&mut self.durable, offset + from, &sector[..kept]);
                from += sector.len();
            }
        }
        self.seen = self.durable.clone();
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if !new.is_empty() {
        bytes.resize(bytes.len().max(offset + new.len()), 0);
        bytes[offset..offset + new.len()].copy_from_slice(new);
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.alive()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.alive()?;
        state.operate()?;
        state.contents.push(Content::default());
        let id = state.contents.len() - 1;
        state.change_name(NameChange::Link(name.into(), id));
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            id,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let id = self.alive()?.find(name)?;
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            id,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        state.find(from)?;
        state.change_name(NameChange::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        state.find(name)?;
        state.change_name(NameChange::Unlink(name.into()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operate()?;
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: usize,
}

impl File for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.contents[self.id].seen.len() as u64)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        state.operate()?;
        state.contents[self.id].seen.resize(size as usize, 0);
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.alive()?;
        let seen = &state.contents[self.id].seen;
        let rest = seen.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let outcome = state.operate();
        let written = match outcome {
            Err(Failure::Error(_)) => &bytes[..bytes.len() / 2],
            Ok(()) | Err(Failure::Interrupted) => bytes,
        };
        let content = &mut state.contents[self.id];
        put(&mut content.seen, offset as usize, written);
        content.unsynced.push((offset as usize, written.to_vec()));
        Ok(outcome?)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.alive()?;
        let outcome = state.operate();
        let content = &mut state.contents[self.id];
        if outcome == Err(Failure::Interrupted) {
            return Ok(outcome?);
        }
        let unsynced = std::mem::take(&mut content.unsynced);
        outcome?;
        content.durable.resize(content.seen.len(), 0);
        for (offset, bytes) in unsynced {
            put(&mut content.durable, offset, &bytes);
        }
        Ok(())
    }
}
