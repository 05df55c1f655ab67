//! A random workload: many commands over many entities, pipelined, with closes, reopenings and lost
//! connections, all of it judged by the same rules as the single checks.
//!
//! Everything that is random comes from one seed, so that a run with the same seed sends the same; what
//! the function does in between is its own.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::checks::{Check, Needs, elsewhere};
use crate::connection::{Entity, Event};
use crate::fault::Fault;
use crate::kit::{Kit, append, delete, fail, set, two};
use crate::proto::model::{At, DataStep, Send, SetTag, Write, data_step, step::Step};
use crate::proto::v1::DataType;
use crate::service::{DATA, Service};

pub(crate) const CHECKS: &[Check] = &[Check {
    name: "workload/random_commands_over_all_models",
    requirements: &["R20", "R21", "R24", "R40", "R41", "R42", "R52"],
    run: |kit| Box::pin(run(kit)),
    needs: Needs::Nothing,
}];

/// Entities of each service.
const ENTITIES: u64 = 12;
/// Commands that are open at once at most.
const OPEN_MAX: usize = 200;
/// Commands between two connections, about.
const CONNECTION_COMMANDS: u64 = 1_500;

/// A seed that nobody has chosen.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random sequence: a counter, mixed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below the limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn word(&mut self) -> String {
        format!("{}", self.below(6))
    }
}

async fn run(kit: &mut Kit) -> Result<(), Fault> {
    let seed = kit.seed;
    let told = |fault: Fault| Fault {
        came: format!("{} (seed {seed})", fault.came),
        ..fault
    };
    let mut random = Random(seed);
    commands(kit, &mut random).await.map_err(told)
}

async fn commands(kit: &mut Kit, random: &mut Random) -> Result<(), Fault> {
    // Names that are new, so that a second run does not meet the first.
    let base = kit.entity(Service::Value).id;
    let services: Vec<Service> = Service::all()
        .filter(|one| *one != Service::Action)
        .collect();
    let mut sent = 0;
    while sent < kit.commands {
        kit.ready().await?;
        if random.one_in(CONNECTION_COMMANDS) {
            // With all that is open; what was decided until here is in the store.
            kit.read_waiting().await?;
            kit.disconnect();
            continue;
        }
        let service = services[usize::try_from(random.below(services.len() as u64)).unwrap_or(0)];
        let entity = Entity {
            service,
            id: format!("{base}-{}", random.below(ENTITIES)),
        };
        sent += 1;
        match random.below(40) {
            0 => {
                kit.on()?.close(&entity);
            }
            1..=4 => {
                let steps = text_steps(random, Service::Action);
                kit.put_action("Unary", steps)?;
            }
            5..=6 => stream(kit, random)?,
            _ => put(kit, random, &entity).await?,
        }
        if random.one_in(3) {
            kit.flush().await?;
            kit.read_waiting().await?;
        }
        let limit = OPEN_MAX.min(usize::try_from(kit.on()?.hello_commands()).unwrap_or(OPEN_MAX));
        drain(kit, limit).await?;
    }
    drain(kit, 0).await
}

/// Waits until not more than this is open. What comes has been judged already.
async fn drain(kit: &mut Kit, limit: usize) -> Result<(), Fault> {
    while kit.on()?.open.len() > limit {
        let what = format!(
            "decisions of {} commands that are open",
            kit.on()?.open.len()
        );
        if let Event::Ended(why) = kit.next(&what).await? {
            return Err(Fault::new(
                "R1",
                what,
                format!("the end of the connection: {why}"),
            ));
        }
    }
    kit.on()?.forget_decisions();
    Ok(())
}

/// A stream of replies, which is cancelled now and then.
fn stream(kit: &mut Kit, random: &mut Random) -> Result<(), Fault> {
    let times = u32::try_from(random.below(40)).unwrap_or(0);
    let send = Step::Send(Send {
        text: random.word(),
        times,
        pause_ms: 0,
    });
    let ticket = kit.put_action("Spread", vec![send])?;
    if random.one_in(4) {
        kit.on()?.cancel(ticket);
    }
    Ok(())
}

async fn put(kit: &mut Kit, random: &mut Random, entity: &Entity) -> Result<(), Fault> {
    let Service::Data(data_type) = entity.service else {
        let steps = text_steps(random, entity.service);
        kit.put(entity, steps)?;
        return Ok(());
    };
    // What a handler sees of commands beside it is its own matter, so there are none beside it.
    while kit.on()?.is_busy(entity) {
        let what = "the decision of a replicated entity";
        if let Event::Ended(why) = kit.next(what).await? {
            return Err(Fault::new(
                "R1",
                what,
                format!("the end of the connection: {why}"),
            ));
        }
    }
    if random.one_in(3) {
        elsewhere(kit, entity, &data_step(random, data_type))?;
    }
    let count = random.below(4);
    let steps = (0..count).map(|_| data_step(random, data_type)).collect();
    kit.put_data(entity, steps)?;
    Ok(())
}

fn text_steps(random: &mut Random, service: Service) -> Vec<Step> {
    let mut steps = Vec::new();
    if random.one_in(15) && service != Service::Action {
        return vec![delete()];
    }
    for _ in 0..random.below(4) {
        let word = random.word();
        steps.push(match random.below(12) {
            0 if service != Service::Events => set(&word),
            1 => Step::Call(two(&word, vec![append("x")])),
            2 => Step::Forward(two(&word, vec![])),
            3 if service == Service::Actor => Step::SetTag(SetTag {
                name: random.word(),
                value: word,
            }),
            4 if random.one_in(8) => Step::Pad(100_000),
            5 if service != Service::Action => Step::CancelTimer(word),
            _ => append(&word),
        });
    }
    match random.below(12) {
        0 => steps.push(fail(9, "not so", &["why"])),
        1 => steps.push(Step::Crash("on purpose".into())),
        _ => {}
    }
    steps
}

pub(crate) fn data_step(random: &mut Random, data_type: DataType) -> data_step::Step {
    use data_step::Step as Data;
    let at = |key: String, data_type: DataType, step: Data| {
        Data::At(Box::new(At {
            key,
            data_type: (data_type as i32).cast_unsigned(),
            step: Some(Box::new(DataStep { step: Some(step) })),
        }))
    };
    let word = random.word();
    let prune = matches!(
        data_type,
        DataType::Set
            | DataType::Map
            | DataType::CounterMap
            | DataType::RegisterMap
            | DataType::MultiMap
    );
    if prune && random.one_in(4) {
        return Data::Remove(word);
    }
    if prune && random.one_in(12) {
        return Data::Clear(crate::proto::model::Nothing {});
    }
    let number = i64::try_from(random.below(9)).unwrap_or(0);
    let write = |text: String| {
        Data::Write(Write {
            text,
            clock: 0,
            custom: 0,
        })
    };
    match data_type {
        DataType::GrowCounter => Data::Change(number),
        DataType::Counter | DataType::Unspecified => Data::Change(number - 4),
        DataType::GrowSet | DataType::Set => Data::Add(word),
        DataType::Flag => Data::TurnOn(crate::proto::model::Nothing {}),
        DataType::Register => write(word),
        DataType::Vote => Data::Vote(random.one_in(2)),
        DataType::CounterMap => at(word, DataType::Unspecified, Data::Change(number - 4)),
        DataType::RegisterMap => at(word, DataType::Unspecified, write(random.word())),
        DataType::MultiMap => at(word, DataType::Unspecified, Data::Add(random.word())),
        DataType::Map => {
            // A key has the same type always.
            let place = word.parse::<usize>().unwrap_or(0) + 1;
            let inner = DATA[place].0;
            let step = data_step(random, inner);
            at(word, inner, step)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_makes_the_same_steps() {
        let steps = |seed| {
            let mut random = Random(seed);
            let steps: Vec<_> = (0..50)
                .map(|_| text_steps(&mut random, Service::Value))
                .collect();
            format!("{steps:?}")
        };
        assert_eq!(steps(5), steps(5));
        assert_ne!(steps(5), steps(6));
    }
}
