//! The action, in the four shapes of a method.

use std::time::Duration;

use firn_sdk::{Action, Answer, Component, Context, Failure, Replies, Requests};

use crate::model::{Reply, Request, Send, action_model, step};
use crate::steps::{Work, said};

pub(crate) fn component() -> Component {
    Action::component(action_model::SERVICE)
        .headers(["x-tck", "x-tck-bin"])
        .on_async(action_model::UNARY, unary)
        .on_stream_in(action_model::COLLECT, collect)
        .on_stream_out(action_model::SPREAD, spread)
        .on_stream_both(action_model::CONVERSE, converse)
        .into()
}

fn answer(mut work: Work) -> Answer<Reply> {
    match work.forward.take() {
        Some(target) => target.into(),
        None => work.reply().into(),
    }
}

async fn unary(request: Request, context: &mut Context<Action>) -> Result<Answer<Reply>, Failure> {
    let mut work = Work::default();
    for step in request.steps {
        work.common(said(step)?, context).await?;
    }
    Ok(answer(work))
}

async fn collect(
    mut requests: Requests<Request>,
    context: &mut Context<Action>,
) -> Result<Answer<Reply>, Failure> {
    let mut work = Work::default();
    while let Some(request) = requests.next().await? {
        for step in request.steps {
            work.common(said(step)?, context).await?;
        }
    }
    Ok(answer(work))
}

/// Does the steps of a call that streams replies.
struct Sender {
    work: Work,
    replies: Replies<Reply>,
    sent: u64,
}

impl Sender {
    fn new(replies: Replies<Reply>) -> Self {
        Self {
            work: Work::default(),
            replies,
            sent: 0,
        }
    }

    async fn steps(
        &mut self,
        request: Request,
        context: &mut Context<Action>,
    ) -> Result<(), Failure> {
        for step in request.steps {
            match said(step)? {
                step::Step::Send(send) => self.send(&send).await?,
                step => self.work.common(step, context).await?,
            }
        }
        Ok(())
    }

    async fn send(&mut self, send: &Send) -> Result<(), Failure> {
        for _ in 0..send.times {
            tokio::time::sleep(Duration::from_millis(send.pause_ms.into())).await;
            self.sent += 1;
            let reply = Reply {
                text: send.text.clone(),
                count: self.sent,
                ..Reply::default()
            };
            self.replies.send(reply).await?;
        }
        Ok(())
    }
}

async fn spread(
    request: Request,
    context: &mut Context<Action>,
    replies: Replies<Reply>,
) -> Result<(), Failure> {
    Sender::new(replies).steps(request, context).await
}

async fn converse(
    mut requests: Requests<Request>,
    context: &mut Context<Action>,
    replies: Replies<Reply>,
) -> Result<(), Failure> {
    let mut sender = Sender::new(replies);
    while let Some(request) = requests.next().await? {
        sender.steps(request, context).await?;
    }
    Ok(())
}
