//! The referee: holds each frame of the function against what may come.

use prost::Message as _;

use super::{About, BATCH_BYTES_MAX, Connection, Event, Judge, NewCommand, Open, Store, frame};
use crate::fault::Fault;
use crate::oracle::{self, Circumstances};
use crate::proto::model::Reply;
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{
    self, Call, Chunk, Credit, Decision, FunctionBatch, FunctionFrame, decision,
};
use crate::record::Record;
use crate::service::{Service, is_target, streams};
use crate::show;

impl Connection {
    /// Takes one message of the function's stream.
    pub(crate) fn take(&mut self, message: bytes::Bytes, store: &mut Store) -> Result<(), Fault> {
        let length = message.len();
        let batch = FunctionBatch::decode(message).map_err(|error| {
            Fault::new("R83", "a FunctionBatch", format!("{length} bytes: {error}"))
        })?;
        if length > BATCH_BYTES_MAX && batch.frames.len() > 1 {
            let came = format!("{length} bytes with {} frames", batch.frames.len());
            return Err(Fault::new("R8", "a batch of at most 1 MiB", came));
        }
        for frame in batch.frames {
            self.take_frame(frame, store)?;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: FunctionFrame, store: &mut Store) -> Result<(), Fault> {
        let length = frame.encoded_len();
        let chunk_bytes = self.welcome.chunk_bytes as usize;
        match frame.frame {
            Some(Frame::Chunk(chunk)) => self.take_chunk(chunk, store),
            Some(frame) if length > chunk_bytes => Err(Fault::new(
                "R81",
                format!("a frame above {chunk_bytes} bytes in chunks"),
                format!(
                    "{} with {length} bytes",
                    show::function_frame(&FunctionFrame { frame: Some(frame) })
                ),
            )),
            Some(frame) => {
                if let Some(about) = self.about(&frame) {
                    for transfer in self.transfers.values_mut() {
                        transfer.passed.push(about);
                    }
                }
                self.take_whole(frame, store)
            }
            None => Ok(()),
        }
    }

    /// What a frame is about, if order with others matters.
    fn about(&self, frame: &Frame) -> Option<About> {
        let of_command = |id: u64| match self.open.get(&id) {
            Some(open) if open.incarnation != 0 => About::Incarnation(open.incarnation),
            _ => About::Command(id),
        };
        match frame {
            Frame::Decision(one) => Some(of_command(one.command)),
            Frame::Reply(one) => Some(of_command(one.command)),
            Frame::Closed(one) => Some(About::Incarnation(one.incarnation)),
            Frame::Call(one) => Some(About::Call(one.id)),
            Frame::Cancel(one) => Some(About::Call(one.id)),
            _ => None,
        }
    }

    fn take_chunk(&mut self, chunk: Chunk, store: &mut Store) -> Result<(), Fault> {
        let (size, limit) = (self.welcome.chunk_bytes as usize, self.welcome.frame_bytes);
        if chunk.data.len() > size {
            let came = format!("{} bytes", chunk.data.len());
            return Err(Fault::new(
                "R81",
                format!("chunks of at most {size} bytes"),
                came,
            ));
        }
        let transfer = self.transfers.entry(chunk.transfer).or_default();
        transfer.bytes.extend_from_slice(&chunk.data);
        transfer.subject = chunk.subject;
        if transfer.bytes.len() as u64 > limit {
            let came = format!("{} bytes and more", transfer.bytes.len());
            return Err(Fault::new(
                "R82",
                format!("frames of at most {limit} bytes"),
                came,
            ));
        }
        if !chunk.last {
            return Ok(());
        }
        let whole = self.transfers.remove(&chunk.transfer).unwrap_or_default();
        let length = whole.bytes.len();
        let frame = FunctionFrame::decode(whole.bytes.as_slice()).map_err(|error| {
            let came = format!("{length} bytes: {error}");
            Fault::new("R81", "chunks that make up a frame", came)
        })?;
        let Some(frame) = frame.frame else {
            return Ok(());
        };
        let subject = match &frame {
            Frame::Decision(one) => one.command,
            Frame::Reply(one) => one.command,
            Frame::Call(one) => one.id,
            _ => 0,
        };
        let about = self.about(&frame);
        let frame = FunctionFrame { frame: Some(frame) };
        if whole.subject != subject {
            let expected = format!("subject {subject} for {}", show::function_frame(&frame));
            return Err(Fault::new("R82", expected, format!("{}", whole.subject)));
        }
        if about.is_some_and(|about| whole.passed.contains(&about)) {
            return Err(Fault::new(
                "R81",
                "frames about one subject in order",
                format!("a frame that overtook {}", show::function_frame(&frame)),
            ));
        }
        if let Some(about) = about {
            for transfer in self.transfers.values_mut() {
                transfer.passed.push(about);
            }
        }
        match frame.frame {
            Some(Frame::Chunk(_)) => {
                Err(Fault::new("R81", "a frame in chunks", "a chunk in chunks"))
            }
            Some(frame) => self.take_whole(frame, store),
            None => Ok(()),
        }
    }

    fn take_whole(&mut self, frame: Frame, store: &mut Store) -> Result<(), Fault> {
        match frame {
            Frame::Hello(_) => Err(Fault::new("R2", "one Hello only", "a second one")),
            Frame::Decision(decision) => self.take_decision(decision, store),
            Frame::Reply(reply) => self.take_reply(reply),
            Frame::Credit(credit) => {
                self.take_credit(credit);
                Ok(())
            }
            Frame::Closed(closed) => self.take_closed(closed.incarnation, store),
            Frame::Call(call) => self.take_call(call),
            // The call is answered all the same (R74).
            Frame::Cancel(_) => Ok(()),
            Frame::Goodbye(_) => {
                self.events.push_back(Event::Goodbye);
                Ok(())
            }
            Frame::Chunk(_) => Ok(()),
        }
    }

    fn take_decision(&mut self, decision: Decision, store: &mut Store) -> Result<(), Fault> {
        let id = decision.command;
        let Some(open) = self.open.get_mut(&id) else {
            return Err(Fault::new(
                if id <= self.last_command {
                    "R41"
                } else {
                    "R20"
                },
                "decisions of open commands only",
                show::decision(&decision),
            ));
        };
        open.seen = true;
        let (service, ticket) = (open.service, open.ticket);
        let incarnation = open.incarnation;
        if let Some(one) = self.incarnations.get_mut(&incarnation) {
            let in_order = one.open.front() == Some(&id) || matches!(service, Service::Data(_));
            if !in_order && !one.closing {
                return Err(Fault::new(
                    "R21",
                    format!("the decision of command {} first", one.open[0]),
                    show::decision(&decision),
                ));
            }
            one.open.retain(|other| *other != id);
            if one.closing {
                self.open.remove(&id);
                self.commands_left += 1;
                self.events.push_back(Event::Void);
                return Ok(());
            }
        }
        let Some(open) = self.open.remove(&id) else {
            return Ok(());
        };
        self.commands_left += 1;
        if open.incarnation == 0 {
            judge_action(&open, &decision)?;
        } else if open.judge != Judge::Raw {
            self.judge_entity(&open, &decision, store)?;
        }
        self.events.push_back(Event::Decision { ticket, decision });
        Ok(())
    }

    fn judge_entity(
        &self,
        open: &Open,
        decision: &Decision,
        store: &mut Store,
    ) -> Result<(), Fault> {
        let Some(incarnation) = self.incarnations.get(&open.incarnation) else {
            return Ok(());
        };
        let entity = &incarnation.entity;
        let new = || Record::new(entity.service);
        let record = store.entry(entity.clone()).or_insert_with(new);
        if open.judge == Judge::Steps && open.method == "Process" && !open.cancelled {
            let with = Circumstances {
                entity_id: &entity.id,
                called: &open.called,
                headers: &open.headers,
            };
            oracle::check(record, &open.asked, &with, decision)?;
        }
        if matches!(decision.answer, Some(decision::Answer::Failure(_))) {
            return Ok(());
        }
        record.apply(decision)
    }

    fn take_reply(&mut self, reply: v1::Reply) -> Result<(), Fault> {
        let Some(open) = self.open.get_mut(&reply.command) else {
            let came = format!("Reply {}", reply.command);
            return Err(Fault::new("R60", "replies of open commands only", came));
        };
        open.seen = true;
        if !streams(open.method).1 {
            let came = format!("Reply {}", reply.command);
            return Err(Fault::new(
                "R60",
                "no Reply where replies are not streamed",
                came,
            ));
        }
        if open.replies_left == 0 {
            let came = format!("one more of command {}", reply.command);
            return Err(Fault::new("R61", "no Reply without credit", came));
        }
        open.replies_left -= 1;
        if self.grants_replies {
            self.grant(reply.command, 1);
        }
        let ticket = self.open.get(&reply.command).map_or(0, |open| open.ticket);
        self.events.push_back(Event::Reply { ticket, reply });
        Ok(())
    }

    /// Lets the function send more replies of a command.
    pub(crate) fn grant(&mut self, command: u64, amount: u32) {
        if let Some(open) = self.open.get_mut(&command) {
            open.replies_left += u64::from(amount);
            self.outbox
                .push(frame(Sent::Credit(Credit { command, amount })));
        }
    }

    /// Lets the function open more calls.
    pub(crate) fn grant_calls(&mut self, amount: u32) {
        self.calls_left += u64::from(amount);
        self.outbox
            .push(frame(Sent::Credit(Credit { command: 0, amount })));
    }

    fn take_credit(&mut self, credit: Credit) {
        if credit.command == 0 {
            self.commands_left += u64::from(credit.amount);
        } else if let Some(open) = self.open.get_mut(&credit.command) {
            open.seen = true;
            open.messages_left += u64::from(credit.amount);
            self.events.push_back(Event::MessageCredit {
                ticket: open.ticket,
            });
        }
    }

    fn take_closed(&mut self, incarnation: u64, store: &Store) -> Result<(), Fault> {
        let Some(one) = self.incarnations.remove(&incarnation) else {
            if self.crossed.remove(&incarnation) {
                return Ok(());
            }
            let came = format!("Closed {incarnation}");
            return Err(Fault::new(
                "R41",
                "one Closed of an incarnation that is open",
                came,
            ));
        };
        let entity = one.entity.clone();
        let mut again = Vec::new();
        for id in one.open {
            let Some(open) = self.open.remove(&id) else {
                continue;
            };
            self.commands_left += 1;
            if one.closing {
                self.events.push_back(Event::Void);
            } else if open.seen {
                return Err(Fault::new(
                    "R42",
                    format!(
                        "no Closed {incarnation} before command {id}, which it received, is answered"
                    ),
                    "Closed",
                ));
            } else {
                again.push(open);
            }
        }
        if one.closing {
            // Only for those that crossed: the function sent one Closed and will send a second.
            self.crossed.insert(incarnation);
        } else {
            self.by_entity.remove(&entity);
        }
        self.events.push_back(Event::Closed {
            incarnation,
            entity: entity.clone(),
            asked: one.closing,
        });
        for open in again {
            let new = NewCommand {
                service: open.service,
                method: open.method,
                asked: open.asked,
                headers: open.headers,
                judge: open.judge,
            };
            self.process_again(&entity, new, store, Some(open.ticket))?;
        }
        Ok(())
    }

    fn take_call(&mut self, call: Call) -> Result<(), Fault> {
        if call.id <= self.last_call {
            let came = format!("call {} after {}", call.id, self.last_call);
            return Err(Fault::new("R70", "calls numbered upwards", came));
        }
        self.last_call = call.id;
        if self.calls_left == 0 {
            let came = format!("call {}", call.id);
            return Err(Fault::new("R73", "no call without credit", came));
        }
        self.calls_left -= 1;
        if let Some(open) = self.open.get_mut(&call.command) {
            open.seen = true;
            let wanted = open.asked.calls();
            let target = wanted.get(open.calls).copied();
            if streams(open.method) == (false, false)
                && !target.is_some_and(|target| is_target(call.target.as_ref(), target))
            {
                return Err(Fault::new(
                    "R70",
                    show::short(&format!("a call of {target:?}")),
                    show::short(&format!("{:?}", call.target)),
                ));
            }
            open.calls += 1;
        } else if call.command == 0 || call.command > self.last_command {
            let came = format!("call {} of command {}", call.id, call.command);
            return Err(Fault::new("R70", "a call that names its command", came));
        }
        let id = call.id;
        self.calls.insert(id, call.clone());
        if self.answers_calls {
            self.answer_call(id, Ok(answer_of(id)));
        } else {
            self.events.push_back(Event::Call(call));
        }
        Ok(())
    }
}

/// What the kit answers calls with, unless a check does it.
fn answer_of(call: u64) -> Reply {
    Reply {
        text: format!("answer {call}"),
        count: call,
        ..Reply::default()
    }
}

fn judge_action(open: &Open, decision: &Decision) -> Result<(), Fault> {
    let mutation = decision
        .mutation
        .as_ref()
        .and_then(|one| one.mutation.as_ref());
    if mutation.is_some() || !decision.timers.is_empty() {
        let came = show::decision(decision);
        return Err(Fault::new(
            "R25",
            "no mutation and no timer of an action",
            came,
        ));
    }
    if open.cancelled || open.judge != Judge::Steps || matches!(open.method, "Spread" | "Converse")
    {
        return Ok(());
    }
    let with = Circumstances {
        entity_id: "",
        called: &open.called,
        headers: &open.headers,
    };
    oracle::check(&Record::new(Service::Action), &open.asked, &with, decision)
}
