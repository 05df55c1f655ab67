//! The value entities, the event sourced entity and the actor.

use std::time::Duration;

use firn_sdk::{
    Actor, Answer, Component, Context, Durability, EventSourced, Failure, Method, ValueEntity,
};

use crate::model::{
    Appended, Reply, Request, State, actor_model, event_sourced_model, step, value_model,
    value_model_two,
};
use crate::steps::{Work, said, set_timer};

pub(crate) fn value() -> Component {
    ValueEntity::<State>::component(value_model::SERVICE)
        .id("id")
        .storage("tck-value")
        .on_async(value_model::PROCESS, process_value)
        .into()
}

pub(crate) fn value_two() -> Component {
    ValueEntity::<State>::component(value_model_two::SERVICE)
        .id("id")
        .storage("tck-two")
        .passivate_after(Duration::from_secs(60))
        .on_async(value_model_two::PROCESS, process_value_two)
        .into()
}

pub(crate) fn event_sourced() -> Component {
    EventSourced::<State>::component(event_sourced_model::SERVICE)
        .id("id")
        .storage("tck-events")
        .snapshot_every(5)
        .event(append)
        .on_async(event_sourced_model::PROCESS, process_events)
        .into()
}

pub(crate) fn actor() -> Component {
    Actor::<State>::component(actor_model::SERVICE)
        .id("id")
        .storage("tck-actor")
        .durability(Durability::Commit)
        .on_async(actor_model::PROCESS, process_actor)
        .into()
}

async fn process_value(
    request: Request,
    entity: &mut Context<ValueEntity<State>>,
) -> Result<Answer<Reply>, Failure> {
    value_steps(request, entity, value_model::PROCESS).await
}

async fn process_value_two(
    request: Request,
    entity: &mut Context<ValueEntity<State>>,
) -> Result<Answer<Reply>, Failure> {
    value_steps(request, entity, value_model_two::PROCESS).await
}

async fn value_steps(
    request: Request,
    entity: &mut Context<ValueEntity<State>>,
    process: Method<Request, Reply>,
) -> Result<Answer<Reply>, Failure> {
    let mut work = Work::on(entity.state().cloned().unwrap_or_default());
    for step in request.steps {
        match said(step)? {
            step::Step::Delete(_) => {
                entity.delete();
                work.state = State::default();
            }
            step::Step::SetTimer(it) => set_timer(it, request.id.clone(), process, entity),
            step::Step::CancelTimer(name) => entity.cancel_timer(&name),
            step => {
                let changes = matches!(step, step::Step::Set(_) | step::Step::Append(_));
                work.common(step, entity).await?;
                if changes {
                    entity.set(work.state.clone());
                }
            }
        }
    }
    Ok(answer(work))
}

fn append(state: &mut State, event: Appended) {
    state.text += &event.text;
    state.count += 1;
}

async fn process_events(
    request: Request,
    entity: &mut Context<EventSourced<State>>,
) -> Result<Answer<Reply>, Failure> {
    let mut work = Work::default();
    for step in request.steps {
        match said(step)? {
            step::Step::Append(text) => entity.emit(Appended { text }),
            step::Step::Delete(_) => entity.delete(),
            step::Step::SetTimer(it) => {
                set_timer(it, request.id.clone(), event_sourced_model::PROCESS, entity);
            }
            step::Step::CancelTimer(name) => entity.cancel_timer(&name),
            step => work.common(step, entity).await?,
        }
    }
    work.state = entity.state().clone();
    Ok(answer(work))
}

async fn process_actor(
    request: Request,
    entity: &mut Context<Actor<State>>,
) -> Result<Answer<Reply>, Failure> {
    let mut work = Work::on(entity.state().cloned().unwrap_or_default());
    for step in request.steps {
        match said(step)? {
            step::Step::Delete(_) => {
                entity.delete();
                work.state = State::default();
            }
            step::Step::SetTag(tag) => {
                let mut tags = entity.tags().clone();
                if tag.value.is_empty() {
                    tags.remove(&tag.name);
                } else {
                    tags.insert(tag.name, tag.value);
                }
                entity.set_tags(tags);
            }
            step::Step::SetTimer(it) => {
                set_timer(it, request.id.clone(), actor_model::PROCESS, entity);
            }
            step::Step::CancelTimer(name) => entity.cancel_timer(&name),
            step => {
                let changes = matches!(step, step::Step::Set(_) | step::Step::Append(_));
                work.common(step, entity).await?;
                if changes {
                    entity.set(work.state.clone());
                }
            }
        }
    }
    if let Some(target) = work.forward.take() {
        return Ok(target.into());
    }
    let mut reply = work.reply();
    reply.tags = entity.tags().clone().into_iter().collect();
    Ok(reply.into())
}

fn answer(mut work: Work) -> Answer<Reply> {
    match work.forward.take() {
        Some(target) => target.into(),
        None => work.reply().into(),
    }
}
