//! Steps that mean the same everywhere, and the work of a handler.

use firn_sdk::{Code, Context, Failure, Model, Target, Timed};

use crate::model::{
    self, Called, Fail, Header, Reply, Request, SetTimer, State, Step, Text, step, target,
    value_model, value_model_two,
};

/// What a handler has done so far.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) state: State,
    pub(crate) called: Vec<Called>,
    pub(crate) headers: Vec<Header>,
    pad: usize,
    pub(crate) forward: Option<Target<Reply>>,
}

impl Work {
    pub(crate) fn on(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// The reply after all steps.
    pub(crate) fn reply(self) -> Reply {
        Reply {
            text: self.state.text,
            count: self.state.count,
            called: self.called,
            headers: self.headers,
            pad: (0..self.pad).map(|at| (at % 251) as u8).collect(),
            ..Reply::default()
        }
    }

    /// Does a step that is the same in every model.
    pub(crate) async fn common<M: Model>(
        &mut self,
        step: step::Step,
        context: &mut Context<M>,
    ) -> Result<(), Failure> {
        match step {
            step::Step::Set(text) => {
                self.state.text = text;
                self.state.count += 1;
            }
            step::Step::Append(text) => {
                self.state.text += &text;
                self.state.count += 1;
            }
            step::Step::Fail(fail) => return Err(failure(fail)),
            step::Step::Crash(text) => panic!("{text}"),
            step::Step::Forward(to) => self.forward = target(to),
            step::Step::Effect(effect) => {
                let to = effect.target.and_then(target);
                let to = to.ok_or_else(|| Failure::invalid_argument("an effect on nothing"))?;
                let delay = std::time::Duration::from_millis(effect.delay_ms.into());
                match (effect.wait, effect.delay_ms) {
                    (true, _) => context.effect(to.wait()),
                    (false, 0) => context.effect(to),
                    (false, _) => context.effect(to.after(delay)),
                }
            }
            step::Step::Call(to) => self.called.push(call(to, context).await),
            step::Step::Publish(it) => context.publish(&it.topic, &Text { text: it.text }),
            step::Step::ShowHeader(name) => {
                let metadata = context.metadata();
                let texts = metadata.get_all(&name).map(|text| text.as_bytes().to_vec());
                let bytes = metadata.get_all_bytes(&name).map(|bytes| bytes.to_vec());
                let headers = texts.chain(bytes).map(|value| Header {
                    name: name.clone(),
                    value,
                });
                self.headers.extend(headers);
            }
            step::Step::SetHeader(header) => context.reply_metadata(|metadata| {
                if header.name.ends_with("-bin") {
                    metadata.add_bytes(&header.name, header.value);
                } else {
                    metadata.add(&header.name, String::from_utf8_lossy(&header.value));
                }
            }),
            step::Step::Hang(_) => context.cancelled().wait().await,
            step::Step::Pad(size) => self.pad = size as usize,
            step::Step::Delete(_)
            | step::Step::Send(_)
            | step::Step::SetTimer(_)
            | step::Step::CancelTimer(_)
            | step::Step::SetTag(_) => {
                return Err(Failure::invalid_argument("a step that has no place here"));
            }
        }
        Ok(())
    }
}

/// What a step says; one that says nothing is an empty append, which no request has.
pub(crate) fn said(step: Step) -> Result<step::Step, Failure> {
    step.step
        .ok_or_else(|| Failure::invalid_argument("a step without a step"))
}

pub(crate) fn failure(fail: Fail) -> Failure {
    let failure = Failure::new(Code::from_number(fail.code), fail.message);
    let details = fail.details.into_iter();
    details.fold(failure, |failure, text| failure.detail(&Text { text }))
}

pub(crate) fn target(target: model::Target) -> Option<Target<Reply>> {
    Some(match target.target? {
        target::Target::Value(request) => value_model::PROCESS.with(request),
        target::Target::Two(request) => value_model_two::PROCESS.with(request),
    })
}

/// Calls through Firn; what it fails with is what came.
pub(crate) async fn call<M: Model>(to: model::Target, context: &Context<M>) -> Called {
    let Some(to) = target(to) else {
        return Called::default();
    };
    match context.call(to).await {
        Ok(reply) => Called {
            reply: Some(reply),
            ..Called::default()
        },
        Err(failure) => {
            let details = failure.details.iter();
            let details = details.filter_map(|detail| detail.unpack::<Text>().ok());
            Called {
                reply: None,
                code: failure.code as i32,
                message: failure.message.clone(),
                details: details.map(|detail| detail.text).collect(),
            }
        }
    }
}

/// Sets a timer that calls `process` of the same entity.
pub(crate) fn set_timer<M: Timed>(
    timer: SetTimer,
    id: String,
    process: firn_sdk::Method<Request, Reply>,
    context: &mut Context<M>,
) {
    let steps = timer.steps;
    let call = process.with(Request { id, steps });
    let after = std::time::Duration::from_millis(timer.after_ms.into());
    if timer.repeat {
        context.timer_repeated(&timer.name, after, call);
    } else {
        context.timer(&timer.name, after, call);
    }
}
