//! The replicated entities: one handler for all types, and what each type makes of the steps.

use firn_sdk::data::{
    Clock, Counter, CounterMap, Entries, Flag, GrowCounter, GrowSet, Map, MapValue, MultiMap,
    Piece, Register, RegisterMap, ReplicatedData, Set, Vote,
};
use firn_sdk::{
    Any, Component, Consistency, Context, DataType, Failure, Function, Method, Replicated, Replies,
    Service, StreamOut,
};

use crate::model::{
    At, DataRequest, DataStep, Text, Value, ValueEntry, Write, counter_map_model, counter_model,
    data_step::Step, flag_model, grow_counter_model, grow_set_model, map_model, multi_map_model,
    register_map_model, register_model, set_model, vote_model,
};
use crate::steps::{call, failure};

/// Adds all of them.
pub(crate) fn add(function: Function) -> Function {
    macro_rules! of {
        ($data:ty, $module:ident, $storage:literal) => {
            component::<$data>(
                ($module::SERVICE, $storage),
                $module::PROCESS,
                $module::WATCH,
                Consistency::Local,
            )
        };
    }
    function
        .add(of!(GrowCounter, grow_counter_model, "tck-grow-counter"))
        .add(component::<Counter>(
            (counter_model::SERVICE, "tck-counter"),
            counter_model::PROCESS,
            counter_model::WATCH,
            Consistency::Majority,
        ))
        .add(of!(GrowSet<Text>, grow_set_model, "tck-grow-set"))
        .add(of!(Set<Text>, set_model, "tck-set"))
        .add(of!(Flag, flag_model, "tck-flag"))
        .add(of!(Register<Text>, register_model, "tck-register"))
        .add(of!(Map<Text>, map_model, "tck-map"))
        .add(of!(Vote, vote_model, "tck-vote"))
        .add(of!(CounterMap<Text>, counter_map_model, "tck-counter-map"))
        .add(of!(RegisterMap<Text, Text>, register_map_model, "tck-register-map"))
        .add(of!(MultiMap<Text, Text>, multi_map_model, "tck-multi-map"))
}

fn component<D: ReplicatedData + Model>(
    (service, storage): (Service, &str),
    process: Method<DataRequest, Value>,
    watch: Method<DataRequest, Value, StreamOut>,
    consistency: Consistency,
) -> Component {
    Replicated::<D>::component(service)
        .id("id")
        .storage(storage)
        .consistency(consistency)
        .on_async(process, process_steps)
        .on_stream_out(watch, watch_data)
        .into()
}

async fn process_steps<D: ReplicatedData + Model>(
    request: DataRequest,
    entity: &mut Context<Replicated<D>>,
) -> Result<Value, Failure> {
    entity.consistency(match request.consistency {
        1 => Consistency::Majority,
        2 => Consistency::All,
        _ => Consistency::Local,
    });
    for step in request.steps {
        match step.step {
            Some(Step::Delete(_)) => {
                entity.delete();
                return Ok(Value::default());
            }
            step => match outside(step, entity).await? {
                None => {}
                Some(step) => entity.data_mut().apply_step(step)?,
            },
        }
    }
    Ok(entity.data().show())
}

async fn watch_data<D: ReplicatedData + Model>(
    request: DataRequest,
    entity: &mut Context<Replicated<D>>,
    replies: Replies<Value>,
) -> Result<(), Failure> {
    for step in request.steps {
        outside(step.step, entity).await?;
    }
    loop {
        replies.send(entity.data().show()).await?;
        if !entity.changed().await {
            return Ok(());
        }
    }
}

/// Does a step that is not one of the data; gives back the others.
async fn outside<D: ReplicatedData>(
    step: Option<Step>,
    entity: &Context<Replicated<D>>,
) -> Result<Option<Step>, Failure> {
    match step {
        Some(Step::Fail(fail)) => return Err(failure(fail)),
        Some(Step::Crash(text)) => panic!("{text}"),
        Some(Step::Hang(_)) => entity.cancelled().wait().await,
        Some(Step::Call(to)) => {
            call(to, entity).await;
        }
        step => return Ok(step),
    }
    Ok(None)
}

/// What a type makes of steps, and how it is shown.
trait Model {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure>;
    fn show(&self) -> Value;
}

fn no_step<T>() -> Result<T, Failure> {
    Err(Failure::invalid_argument("a step that this type has not"))
}

impl Model for GrowCounter {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Change(by) => self.increase(by.unsigned_abs()),
            _ => return no_step(),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        Value {
            number: self.value().cast_signed(),
            ..Value::default()
        }
    }
}

impl Model for Counter {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Change(by) => self.change(by),
            _ => return no_step(),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        Value {
            number: self.value(),
            ..Value::default()
        }
    }
}

impl Model for Flag {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::TurnOn(_) => self.turn_on(),
            _ => return no_step(),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        Value {
            on: self.is_on(),
            ..Value::default()
        }
    }
}

impl Model for Vote {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Vote(own) => self.vote(own),
            _ => return no_step(),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        Value {
            number: self.yes().into(),
            on: self.own(),
            members: self.members(),
            ..Value::default()
        }
    }
}

/// Elements, keys and values are texts; within a map they are any message, and texts all the same.
trait AsText: firn_sdk::data::Element {
    fn of(text: String) -> Self;
    fn text(self) -> String;
}

impl AsText for Text {
    fn of(text: String) -> Self {
        Self { text }
    }

    fn text(self) -> String {
        self.text
    }
}

impl AsText for Any {
    fn of(text: String) -> Self {
        Self::pack(&Text { text })
    }

    fn text(self) -> String {
        self.unpack::<Text>().unwrap_or_default().text
    }
}

fn elements<T: AsText>(elements: impl Iterator<Item = T>) -> Value {
    let mut elements: Vec<String> = elements.map(T::text).collect();
    elements.sort();
    Value {
        elements,
        ..Value::default()
    }
}

impl<T: AsText> Model for GrowSet<T> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Add(text) => self.add(&T::of(text)),
            _ => return no_step(),
        };
        Ok(())
    }

    fn show(&self) -> Value {
        elements(self.iter())
    }
}

impl<T: AsText> Model for Set<T> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Add(text) => {
                self.add(&T::of(text));
            }
            Step::Remove(text) => {
                self.remove(&T::of(text));
            }
            Step::Clear(_) => self.clear(),
            _ => return no_step(),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        elements(self.iter())
    }
}

impl<T: AsText> Model for Register<T> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        let Step::Write(Write {
            text,
            clock,
            custom,
        }) = step
        else {
            return no_step();
        };
        let clock = match clock {
            1 => Clock::Reverse,
            2 => Clock::Custom(custom),
            3 => Clock::CustomAutoIncrement(custom),
            _ => Clock::Default,
        };
        self.set_with(&T::of(text), clock);
        Ok(())
    }

    fn show(&self) -> Value {
        Value {
            text: self.get().map_or_else(String::new, T::text),
            ..Value::default()
        }
    }
}

/// Does a step of a map; `at` says what one of a value means.
fn map_step<K: AsText, V: Piece>(
    map: &mut Entries<K, V>,
    step: Step,
    at: impl FnOnce(&mut Entries<K, V>, &K, u32, Step) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match step {
        Step::Remove(key) => {
            map.remove(&K::of(key));
            Ok(())
        }
        Step::Clear(_) => {
            map.clear();
            Ok(())
        }
        Step::At(inner) => {
            let At {
                key,
                data_type,
                step,
            } = *inner;
            match step.map(|step| *step) {
                Some(DataStep { step: Some(step) }) => at(map, &K::of(key), data_type, step),
                _ => no_step(),
            }
        }
        _ => no_step(),
    }
}

fn entries<K: AsText, V: Piece + Model>(map: &Entries<K, V>) -> Value {
    let entries = map.iter().map(|(key, value)| ValueEntry {
        key: key.text(),
        value: Some(value.show()),
    });
    let mut entries: Vec<ValueEntry> = entries.collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Value {
        entries,
        ..Value::default()
    }
}

impl<K: AsText> Model for CounterMap<K> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        map_step(self, step, |map, key, _, step| map.at(key).apply_step(step))
    }

    fn show(&self) -> Value {
        entries(self)
    }
}

impl<K: AsText, T: AsText> Model for RegisterMap<K, T> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        map_step(self, step, |map, key, _, step| map.at(key).apply_step(step))
    }

    fn show(&self) -> Value {
        entries(self)
    }
}

impl<K: AsText, T: AsText> Model for MultiMap<K, T> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        map_step(self, step, |map, key, _, step| map.at(key).apply_step(step))
    }

    fn show(&self) -> Value {
        entries(self)
    }
}

impl<K: AsText> Model for Map<K> {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        map_step(self, step, |map, key, number, step| {
            let data_type = data_type(number)?;
            map.at(key, data_type).apply_step(step)
        })
    }

    fn show(&self) -> Value {
        entries(self)
    }
}

/// The type of a number of the protocol.
fn data_type(number: u32) -> Result<DataType, Failure> {
    let all = [
        DataType::GrowCounter,
        DataType::Counter,
        DataType::GrowSet,
        DataType::Set,
        DataType::Flag,
        DataType::Register,
        DataType::Map,
        DataType::Vote,
        DataType::CounterMap,
        DataType::RegisterMap,
        DataType::MultiMap,
    ];
    let index = (number as usize).checked_sub(1);
    let data_type = index.and_then(|index| all.get(index)).copied();
    data_type.ok_or_else(|| Failure::invalid_argument("no such type"))
}

impl Model for MapValue {
    fn apply_step(&mut self, step: Step) -> Result<(), Failure> {
        match self {
            Self::GrowCounter(it) => it.apply_step(step),
            Self::Counter(it) => it.apply_step(step),
            Self::GrowSet(it) => it.apply_step(step),
            Self::Set(it) => it.apply_step(step),
            Self::Flag(it) => it.apply_step(step),
            Self::Register(it) => it.apply_step(step),
            Self::Map(it) => it.apply_step(step),
            Self::Vote(it) => it.apply_step(step),
            Self::CounterMap(it) => it.apply_step(step),
            Self::RegisterMap(it) => it.apply_step(step),
            Self::MultiMap(it) => it.apply_step(step),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::GrowCounter(it) => it.show(),
            Self::Counter(it) => it.show(),
            Self::GrowSet(it) => it.show(),
            Self::Set(it) => it.show(),
            Self::Flag(it) => it.show(),
            Self::Register(it) => it.show(),
            Self::Map(it) => it.show(),
            Self::Vote(it) => it.show(),
            Self::CounterMap(it) => it.show(),
            Self::RegisterMap(it) => it.show(),
            Self::MultiMap(it) => it.show(),
        }
    }
}
