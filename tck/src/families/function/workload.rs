//! A random workload: many commands over many entities, on many streams at once, with streams that are
//! ended or cut, changes from elsewhere, and a function that is killed. The oracle judges all of it.
//!
//! It is made from one seed, a part for each kind of model, so that an SDK that is wrong in one is
//! still held against the others.

use super::checks::{Check, Needs, Result, fits};
use super::entity::Stream;
use super::rig::{Rig, data, steps};
use crate::fault::Fault;
use crate::kit::{append, delete, fail, set, two};
use crate::oracle::Asked;
use crate::proto::model::{Effect, data_step, step::Step};
use crate::proto::v1::{DataType, Metadata};
use crate::record::Record;
use crate::service::Service;
use crate::workload::{Random, data_step as any_data_step};

macro_rules! workloads {
    ($($name:literal, $requirements:expr, $service:expr;)*) => {
        pub(super) const CHECKS: &[Check] = &[
            $(
                Check {
                    name: concat!("workload/", $name),
                    requirements: $requirements,
                    needs: Needs::Service($service),
                    run: |rig| Box::pin(run(rig, $service)),
                },
            )*
        ];
    };
}

const DATA: &[&str] = &["F11", "F12", "F50", "F51", "F53"];

workloads! {
    "actions", &["F60"], Service::Action;
    "values", &["F11", "F12", "F30", "F31", "F32"], Service::Value;
    "event_sourced", &["F11", "F12", "F40", "F41", "F42"], Service::Events;
    "grow_counters", DATA, Service::Data(DataType::GrowCounter);
    "counters", DATA, Service::Data(DataType::Counter);
    "grow_sets", DATA, Service::Data(DataType::GrowSet);
    "sets", DATA, Service::Data(DataType::Set);
    "flags", DATA, Service::Data(DataType::Flag);
    "registers", DATA, Service::Data(DataType::Register);
    "maps", DATA, Service::Data(DataType::Map);
    "votes", DATA, Service::Data(DataType::Vote);
    "counter_maps", DATA, Service::Data(DataType::CounterMap);
    "register_maps", DATA, Service::Data(DataType::RegisterMap);
    "multi_maps", DATA, Service::Data(DataType::MultiMap);
}

/// Entities of each part.
const ENTITIES: usize = 40;
/// Commands that are sent before their answers are read.
const ROUND_MAX: u64 = 25;
/// Rounds between two restarts of the function, about.
const RESTART_ROUNDS: u64 = 25;

/// An entity: its id, and a stream or what the store has.
enum Place {
    Stored(String, Record),
    Open(Stream),
}

async fn run(rig: &mut Rig, service: Service) -> Result {
    // Each part has a sequence of its own.
    let part = CHECKS
        .iter()
        .position(|check| check.needs == Needs::Service(service));
    let mut random = Random(rig.seed.wrapping_add(part.unwrap_or(0) as u64));
    let done = match service {
        Service::Action => actions(rig, &mut random).await,
        service => entities(rig, &mut random, service).await,
    };
    let seed = rig.seed;
    done.map_err(|fault| Fault {
        came: format!("{} (seed {seed})", fault.came),
        ..fault
    })
}

/// The commands of one part of all.
fn commands(rig: &Rig, dialect: crate::families::dialect::Dialect) -> u32 {
    let parts = CHECKS
        .iter()
        .filter(|check| check.needs.missing(dialect, true).is_none());
    rig.commands
        .div_ceil(u32::try_from(parts.count().max(1)).unwrap_or(1))
}

async fn actions(rig: &mut Rig, random: &mut Random) -> Result {
    let dialect = rig.ready().await?;
    for _ in 0..commands(rig, dialect) {
        if rig.process.is_some() && random.one_in(RESTART_ROUNDS * ROUND_MAX) {
            rig.restart().await?;
        }
        let steps = text_steps(random, Service::Action);
        let mut call = rig.action("Unary", Metadata::default()).await?;
        call.send(steps.clone()).await;
        let decision = call.response().await?;
        call.judge(&steps, &decision)?;
        call.ended("F60").await?;
    }
    Ok(())
}

async fn entities(rig: &mut Rig, random: &mut Random, service: Service) -> Result {
    let dialect = rig.ready().await?;
    let mut places: Vec<Option<Place>> = Vec::new();
    for _ in 0..ENTITIES {
        places.push(Some(Place::Stored(rig.name(), Record::new(service))));
    }
    let (commands, mut sent) = (commands(rig, dialect), 0);
    while sent < commands {
        if rig.process.is_some() && random.one_in(RESTART_ROUNDS) {
            for place in &mut places {
                *place = place.take().map(stored);
            }
            rig.restart().await?;
        }
        let mut round: Vec<(usize, Stream)> = Vec::new();
        for _ in 0..=random.below(ROUND_MAX) {
            let at = usize::try_from(random.below(ENTITIES as u64)).unwrap_or(0);
            // One that is in the round already has its turn.
            let Some(place) = places[at].take() else {
                continue;
            };
            let mut stream = opened(rig, random, place).await?;
            let id = stream.id.clone();
            if let Service::Data(of) = service
                && of != DataType::Vote
                && random.one_in(3)
            {
                stream.change(&data_step(random, dialect, of)).await;
            }
            stream.put(asked(random, dialect, service, &id)).await;
            sent += 1;
            round.push((at, stream));
        }
        for (at, mut stream) in round {
            stream.answer().await?;
            places[at] = Some(Place::Open(stream));
        }
    }
    for place in places.into_iter().flatten() {
        if let Place::Open(stream) = place {
            rig.leave(stream).await;
        }
    }
    Ok(())
}

fn stored(place: Place) -> Place {
    match place {
        Place::Open(stream) => {
            let (id, record) = stream.cut();
            Place::Stored(id, record)
        }
        stored => stored,
    }
}

/// A stream of the entity: the one that it has, unless that is given up, or a new one.
async fn opened(rig: &mut Rig, random: &mut Random, place: Place) -> Result<Stream> {
    match place {
        Place::Open(stream) if stream.has_failed || random.one_in(8) => match random.below(3) {
            0 => {
                let (id, record) = stream.cut();
                rig.open(&id, record).await
            }
            _ => rig.reopen(stream).await,
        },
        Place::Open(stream) => Ok(stream),
        Place::Stored(id, record) => rig.open(&id, record).await,
    }
}

fn asked(
    random: &mut Random,
    dialect: crate::families::dialect::Dialect,
    service: Service,
    id: &str,
) -> Asked {
    match service {
        Service::Data(of) => {
            let count = random.below(4);
            let all = (0..count).map(|_| data_step(random, dialect, of));
            data(id, all.collect())
        }
        service => steps(id, text_steps(random, service)),
    }
}

fn data_step(
    random: &mut Random,
    dialect: crate::families::dialect::Dialect,
    of: DataType,
) -> data_step::Step {
    loop {
        let step = any_data_step(random, of);
        let is_known = of != DataType::Map || fits(dialect, &step);
        // A key that is created at 0 is for a check of its own.
        if is_known && (of != DataType::CounterMap || !may_end_at_zero(&step)) {
            return step;
        }
    }
}

fn may_end_at_zero(step: &data_step::Step) -> bool {
    let data_step::Step::At(at) = step else {
        return false;
    };
    let inner = at.step.as_ref().and_then(|step| step.step.as_ref());
    matches!(inner, Some(data_step::Step::Change(by)) if *by <= 0)
}

fn text_steps(random: &mut Random, service: Service) -> Vec<Step> {
    let mut steps = Vec::new();
    if random.one_in(15) && service == Service::Value {
        return vec![delete()];
    }
    for _ in 0..random.below(4) {
        let word = random.word();
        steps.push(match random.below(12) {
            0 if service != Service::Events => set(&word),
            1 => Step::Forward(two(&word, vec![append("x")])),
            2 => Step::Effect(Effect {
                target: Some(two(&word, vec![append("x")])),
                wait: random.one_in(2),
                delay_ms: 0,
            }),
            3 if random.one_in(8) => Step::Pad(100_000),
            _ => append(&word),
        });
    }
    if random.one_in(12) {
        // Without what an SDK could forget to take back: that is for the single checks.
        return vec![fail(2, "not so", &[])];
    }
    steps
}
