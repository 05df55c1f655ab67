//! The kit's own store: what Firn would have of an entity.

use std::collections::BTreeMap;

use crate::data::Data;
use crate::fault::Fault;
use crate::proto::model::{Appended, State};
use crate::proto::v1::{self, Actor, Decision, History, Opening, mutation, opening};
use crate::proto::{any, unpack};
use crate::service::{SNAPSHOT_EVERY, Service};

/// An entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) service: Service,
    pub(crate) version: u64,
    /// Of value, event sourced (folded) and actor.
    pub(crate) state: Option<State>,
    pub(crate) tags: BTreeMap<String, String>,
    snapshot: Option<(u64, State)>,
    /// Those after the snapshot.
    events: Vec<Appended>,
    /// Of replicated data; none if it does not exist yet.
    pub(crate) data: Option<Data>,
}

impl Record {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            version: 0,
            state: None,
            tags: BTreeMap::new(),
            snapshot: None,
            events: Vec::new(),
            data: None,
        }
    }

    /// The state, or an empty one.
    pub(crate) fn state(&self) -> State {
        self.state.clone().unwrap_or_default()
    }

    /// The value, or an empty one.
    pub(crate) fn data(&self) -> Data {
        let Service::Data(data_type) = self.service else {
            return Data::Flag(false);
        };
        self.data.clone().unwrap_or_else(|| Data::empty(data_type))
    }

    /// What an incarnation begins with.
    pub(crate) fn opening(&self, entity_id: &str) -> Opening {
        let state = || self.state.as_ref().map(|state| any("State", state));
        let state = match self.service {
            Service::Action => None,
            Service::Value | Service::Two => state().map(opening::State::Value),
            Service::Events => {
                let (snapshot_version, snapshot) = self.snapshot.clone().unzip();
                Some(opening::State::History(History {
                    snapshot: snapshot.map(|state| any("State", &state)),
                    snapshot_version: snapshot_version.unwrap_or(0),
                    events: self.events.iter().map(|one| any("Appended", one)).collect(),
                }))
            }
            Service::Actor => Some(opening::State::Actor(Actor {
                state: state(),
                tags: self.tags.clone(),
            })),
            Service::Data(_) => self
                .data
                .as_ref()
                .map(|data| opening::State::Data(data.delta())),
        };
        Opening {
            entity_id: entity_id.to_owned(),
            version: self.version,
            state,
        }
    }

    /// What an opening says; the reverse of [`Self::opening`].
    pub(crate) fn of(service: Service, opening: &Opening) -> Result<Self, Fault> {
        let misfit = |came: String| {
            let expected = format!("an opening that fits {}", service.name());
            Fault::new("R40", expected, came)
        };
        let state = |any: &prost_types::Any| {
            unpack::<State>(any, "State").ok_or_else(|| misfit(format!("{any:?}")))
        };
        let mut record = Self::new(service);
        record.version = opening.version;
        match (service, &opening.state) {
            (_, None) => {}
            (Service::Value | Service::Two, Some(opening::State::Value(any))) => {
                record.state = Some(state(any)?);
            }
            (Service::Events, Some(opening::State::History(history))) => {
                record.fold(history).map_err(misfit)?;
            }
            (Service::Actor, Some(opening::State::Actor(actor))) => {
                record.state = actor.state.as_ref().map(state).transpose()?;
                record.tags.clone_from(&actor.tags);
            }
            (Service::Data(data_type), Some(opening::State::Data(delta))) => {
                let mut data = Data::empty(data_type);
                data.apply(delta).map_err(misfit)?;
                record.data = Some(data);
            }
            (_, Some(other)) => return Err(misfit(format!("{other:?}"))),
        }
        Ok(record)
    }

    fn fold(&mut self, history: &History) -> Result<(), String> {
        let mut state = State::default();
        if let Some(snapshot) = &history.snapshot {
            state = unpack(snapshot, "State").ok_or_else(|| format!("{snapshot:?}"))?;
            self.snapshot = Some((history.snapshot_version, state.clone()));
        }
        for event in &history.events {
            let event: Appended = unpack(event, "Appended").ok_or_else(|| format!("{event:?}"))?;
            state.text.push_str(&event.text);
            state.count += 1;
            self.events.push(event);
        }
        let count = history.snapshot_version + history.events.len() as u64;
        if count != self.version {
            return Err(format!("{count} events at version {}", self.version));
        }
        self.state = (count > 0).then_some(state);
        Ok(())
    }

    /// Whether this is the state that another record has, in another incarnation perhaps.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        match self.service {
            Service::Data(_) => crate::oracle::same_data(&self.data(), &other.data()),
            // Those are numbers of events.
            Service::Events => self.state == other.state && self.version == other.version,
            _ => self.state == other.state && self.tags == other.tags,
        }
    }

    /// Takes a decision's mutation.
    pub(crate) fn apply(&mut self, decision: &Decision) -> Result<(), Fault> {
        let misfit = |came: String| {
            let expected = format!("a mutation that fits {}", self.service.name());
            Fault::new("R25", expected, came)
        };
        let is_data = matches!(self.service, Service::Data(_));
        let mutation = decision.mutation.as_ref();
        let Some(mutation) = mutation.and_then(|one| one.mutation.as_ref()) else {
            return if is_data {
                Ok(())
            } else {
                self.versioned(self.version, decision)
            };
        };
        match (self.service, mutation) {
            (Service::Value | Service::Two, mutation::Mutation::Set(set)) => {
                let state = unpack(set, "State").ok_or_else(|| misfit(format!("{set:?}")))?;
                self.versioned(self.version + 1, decision)?;
                self.state = Some(state);
            }
            (Service::Actor, mutation::Mutation::Actor(actor)) => {
                let state = match &actor.state {
                    None => None,
                    Some(any) => {
                        Some(unpack(any, "State").ok_or_else(|| misfit(format!("{any:?}")))?)
                    }
                };
                self.versioned(self.version + 1, decision)?;
                (self.state, self.tags) = (state, actor.tags.clone());
            }
            (Service::Events, mutation::Mutation::Append(append)) => {
                self.append(append, decision)?
            }
            (Service::Events, mutation::Mutation::Delete(_)) => {
                self.versioned(0, decision)?;
                *self = Self::new(self.service);
            }
            (Service::Value | Service::Two | Service::Actor, mutation::Mutation::Delete(_)) => {
                self.versioned(self.version + 1, decision)?;
                self.state = None;
                self.tags.clear();
            }
            (Service::Data(_), mutation::Mutation::Update(update)) => {
                let missing = || misfit("an update without a delta".into());
                let delta = update.delta.as_ref().ok_or_else(missing)?;
                let mut data = self.data();
                data.apply(delta).map_err(misfit)?;
                self.data = Some(data);
            }
            (Service::Data(_), mutation::Mutation::Delete(_)) => self.data = None,
            (_, other) => return Err(misfit(format!("{other:?}"))),
        }
        if !is_data {
            // It was held against what it should be.
            self.version = decision.version;
        }
        Ok(())
    }

    fn versioned(&self, expected: u64, decision: &Decision) -> Result<(), Fault> {
        if decision.version == expected {
            return Ok(());
        }
        Err(Fault::new(
            "R24",
            format!("version {expected}, after {}", self.version),
            format!("version {}", decision.version),
        ))
    }

    fn append(&mut self, append: &v1::Append, decision: &Decision) -> Result<(), Fault> {
        let expected = "events of firn.tck.v1.Appended, at least one";
        if append.events.is_empty() {
            return Err(Fault::new("R25", expected, "none"));
        }
        let mut events = Vec::new();
        for event in &append.events {
            let event = unpack::<Appended>(event, "Appended");
            events.push(event.ok_or_else(|| Fault::new("R25", expected, format!("{append:?}")))?);
        }
        let after = self.version + events.len() as u64;
        self.versioned(after, decision)?;
        let mut state = self.state();
        for event in &events {
            state.text.push_str(&event.text);
            state.count += 1;
        }
        let every = u64::from(SNAPSHOT_EVERY);
        let due = after / every > self.version / every;
        let snapshot = append.snapshot.as_ref();
        if due != snapshot.is_some() {
            return Err(Fault::new(
                "R51",
                format!(
                    "{} with events {} to {after}, every {every} events",
                    if due { "a snapshot" } else { "no snapshot" },
                    self.version + 1,
                ),
                if due { "none" } else { "one" },
            ));
        }
        self.events.extend(events);
        if let Some(snapshot) = snapshot {
            if unpack::<State>(snapshot, "State").as_ref() != Some(&state) {
                let expected = format!("a snapshot of the state after the events, {state:?}");
                return Err(Fault::new("R51", expected, format!("{snapshot:?}")));
            }
            self.snapshot = Some((after, state.clone()));
            self.events.clear();
        }
        (self.state, self.version) = (Some(state), after);
        Ok(())
    }
}
