//! What a function does on one connection, without the connection: frames in, frames out.
//!
//! Handlers that are plain functions run where their command is taken. The others are futures that
//! [`Session::run_handlers`] drives; none of them is a task. Nothing here waits and nothing here
//! knows a socket, so the unit-test kit drives the same code.
//!
//! # Invariants
//! - Commands of one incarnation are decided in order; those behind a handler that runs wait in the
//!   incarnation's queue (R21). Replicated entities leave their data behind and so wait for nobody.
//! - No decision follows `Closed` (R41): whoever closes an incarnation forgets its commands first.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::assembly::{Assembled, Assembly};
use crate::cache::{Cache, Incarnation};
use crate::calls::{Ask, Asks, Cancelled, Client};
use crate::component::{Component, Finish, Held, Input, Serve, Shape, Started, panic_text};
use crate::context::{RequestInfo, Undone};
use crate::hook::{Finding, Handler, Hook, Severity};
use crate::outbox::{About, Outbox};
use crate::session::asking::Calls;
use crate::streams::{RawReplies, RawRequests};
use crate::wire::{self, decision, firn_frame, function_frame::Frame};
use crate::{Code, Failure, Metadata};

mod asking;

/// The largest frame that the function takes (`Hello.frame_bytes`).
pub(crate) const FRAME_BYTES: usize = 16 * 1024 * 1024;

/// What a session is begun with.
pub(crate) struct Setup {
    pub(crate) components: Arc<[Component]>,
    pub(crate) hook: Arc<dyn Hook>,
    /// How many incarnations are held (R44).
    pub(crate) incarnations: usize,
}

/// One connection's state.
pub(crate) struct Session {
    components: Arc<[Component]>,
    hook: Arc<dyn Hook>,
    asks: Asks,
    asked: mpsc::UnboundedReceiver<Ask>,
    cache: Cache,
    /// Commands whose handlers run later.
    open: HashMap<u64, Open>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    calls: Calls,
    outbox: Outbox,
    assembly: Assembly,
    /// How many replies of each streamed call may be sent to begin with.
    call_messages: usize,
    /// The id of what has none: an action.
    no_id: Arc<str>,
}

/// A command whose handler runs later.
struct Open {
    incarnation: u64,
    component: usize,
    method: &'static str,
    abort: AbortHandle,
    cancelled: Cancelled,
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    credit: Option<Arc<Semaphore>>,
}

/// A handler that has ended; without result if it was aborted.
struct Ended {
    command: u64,
    result: Option<(Option<Held>, Finish)>,
}

/// Firn sent what no Firn sends (R83): the connection has to end.
#[derive(Debug, thiserror::Error)]
#[error("Firn broke the protocol: {0}")]
pub(crate) struct Broken(&'static str);

impl Session {
    pub(crate) fn new(setup: Setup, welcome: &wire::Welcome) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            components: setup.components,
            hook: setup.hook,
            asks,
            asked,
            cache: Cache::new(setup.incarnations),
            open: HashMap::new(),
            running: FuturesUnordered::new(),
            calls: Calls::new(welcome.calls.into()),
            outbox: Outbox::new(welcome.chunk_bytes as usize, size(welcome.frame_bytes)),
            assembly: Assembly::new(FRAME_BYTES),
            call_messages: welcome.call_messages as usize,
            no_id: "".into(),
        }
    }

    /// The way in for calls that belong to no command.
    pub(crate) fn asks(&self) -> Asks {
        self.asks.clone()
    }

    /// Takes a frame.
    pub(crate) fn on_frame(
        &mut self,
        frame: firn_frame::Frame,
        now: Instant,
    ) -> Result<(), Broken> {
        use firn_frame::Frame as In;
        match frame {
            In::Command(command) => self.on_command(command, now),
            In::Message(message) => self.on_message(message),
            In::Cancel(cancel) => {
                if let Some(open) = self.open.get(&cancel.id) {
                    open.cancelled.tell(); // R62
                }
            }
            In::Change(change) => self.on_change(change),
            In::Close(close) => self.on_close(close.incarnation),
            In::Credit(credit) => self.on_credit(&credit),
            In::CallResult(result) => self.calls.answered(result, &mut self.outbox),
            In::Chunk(chunk) => match self.assembly.add(chunk) {
                Assembled::Part => {}
                Assembled::Whole(whole) => match whole.frame {
                    Some(In::Chunk(_)) => return Err(Broken("a chunk within chunks")),
                    Some(frame) => self.on_frame(frame, now)?,
                    None => {} // R6
                },
                Assembled::TooLarge => self.hook.finding(&too_large(), Severity::Error),
                Assembled::Broken => return Err(Broken("chunks that are no frame")),
            },
            In::Notice(notice) => {
                let severity = match notice.severity() {
                    wire::notice::Severity::Error => Severity::Error,
                    _ => Severity::Warning,
                };
                let finding = notice.finding.unwrap_or_default().into();
                self.hook.finding(&finding, severity);
            }
            // R91: what it has accepted still comes; it ends the call itself.
            In::Goodbye(_) => {}
            In::Welcome(_) | In::Refusal(_) => return Err(Broken("a second Welcome")),
        }
        Ok(())
    }

    /// Says Goodbye (R90).
    pub(crate) fn say_goodbye(&mut self) {
        self.send(About::Nothing, 0, Frame::Goodbye(wire::Goodbye {}));
    }

    /// Whether anything waits to be sent.
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What is there to be sent, as much as fits into one batch.
    pub(crate) fn batch(&mut self) -> wire::FunctionBatch {
        self.outbox.batch()
    }

    /// Whether nothing at all is open.
    pub(crate) fn is_over(&self) -> bool {
        self.cache.len() == 0
            && self.open.is_empty()
            && self.calls.is_empty()
            && self.outbox.is_empty()
    }

    /// Drives the handlers that run later, and takes what they and others ask. Returns after
    /// something has happened.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn run_handlers(&mut self) {
        tokio::select! {
            biased;
            Some(ended) = self.running.next(), if !self.running.is_empty() => self.on_ended(ended),
            Some(ask) = self.asked.recv() => self.on_ask(ask),
        }
        self.run_ready_handlers();
    }

    /// The same, as far as it goes without waiting.
    pub(crate) fn run_ready_handlers(&mut self) {
        self.take_asks();
        while let Some(Some(ended)) = self.next_ended() {
            self.on_ended(ended);
        }
        self.take_asks();
    }

    /// A handler that has ended already.
    fn next_ended(&mut self) -> Option<Option<Ended>> {
        if self.running.is_empty() {
            return None;
        }
        self.running.next().now_or_never()
    }

    fn on_command(&mut self, mut command: wire::Command, now: Instant) {
        let Some(component) = self.components.get(command.component as usize) else {
            return self.refuse(&command, Failure::unimplemented("no such component"));
        };
        let number = command.incarnation;
        if number == 0 {
            let held: Held = Box::new(()); // R55
            let no_id = Arc::clone(&self.no_id);
            self.run(command, held, no_id, now);
            return;
        }
        if let Some(opening) = command.opening.take() {
            let serve = Arc::clone(&component.serve);
            if !self.open_incarnation(&*serve, &command, opening) {
                return;
            }
        }
        let Some(incarnation) = self.cache.get(number) else {
            return; // R42: Firn sends it again, with an opening.
        };
        match incarnation.held.take() {
            Some(held) if incarnation.queue.is_empty() => {
                let entity_id = Arc::clone(&incarnation.entity_id);
                self.cache.busy(number);
                self.run(command, held, entity_id, now);
                self.proceed(number, now);
            }
            held => {
                incarnation.held = held;
                incarnation.queue.push_back(command);
            }
        }
    }

    /// Reads the state. Without it, the command fails and the incarnation goes (R43).
    fn open_incarnation(
        &mut self,
        serve: &dyn Serve,
        command: &wire::Command,
        mut opening: wire::Opening,
    ) -> bool {
        let entity_id: Arc<str> = std::mem::take(&mut opening.entity_id).into();
        // Folding is the user's code.
        let opened = catch_unwind(AssertUnwindSafe(|| serve.open(Some(opening))));
        let detail = match opened {
            Ok(Ok(held)) => {
                let incarnation = Incarnation {
                    component: command.component,
                    entity_id,
                    held: Some(held),
                    queue: VecDeque::new(),
                    running: Vec::new(),
                };
                self.cache.insert(command.incarnation, incarnation);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic_text(&*panic),
        };
        let method = serve.shape(command.method as usize);
        let handler = Handler {
            service: serve.service().name,
            method: method.map_or("", |(_, name)| name),
            entity_id: &entity_id,
        };
        self.hook.crashed(handler, &detail);
        let failure = Failure::internal("the entity cannot be read: the function's log says why");
        self.refuse(command, failure);
        self.closed(command.incarnation);
        false
    }

    /// Opens an incarnation without a command: for the unit-test kit, whose entities hear of others
    /// before they are asked.
    pub(crate) fn open_idle(&mut self, number: u64, opening: wire::Opening) {
        let command = wire::Command {
            incarnation: number,
            ..wire::Command::default()
        };
        let serve = Arc::clone(&self.components[0].serve);
        if self.open_incarnation(&*serve, &command, opening) {
            self.cache.idle(number);
        }
    }

    /// All of a replicated entity's data: for the unit-test kit.
    pub(crate) fn whole(&mut self, number: u64) -> Option<wire::Delta> {
        let incarnation = self.cache.get(number)?;
        let held = incarnation.held.as_ref()?;
        let serve = &self.components[incarnation.component as usize].serve;
        serve.whole(held)
    }

    /// Answers a command that reaches no handler.
    fn refuse(&mut self, command: &wire::Command, failure: Failure) {
        let decision = failed(command.id, failure);
        self.send_decision(command.incarnation, decision);
    }

    /// Runs what waits for an incarnation, as far as it goes.
    fn proceed(&mut self, number: u64, now: Instant) {
        loop {
            let Some(incarnation) = self.cache.get(number) else {
                return;
            };
            let Some(held) = incarnation.held.take() else {
                return;
            };
            let Some(command) = incarnation.queue.pop_front() else {
                incarnation.held = Some(held);
                if incarnation.running.is_empty() {
                    // An idle one keeps no room for what may never come again.
                    incarnation.queue = VecDeque::new();
                    incarnation.running = Vec::new();
                    self.cache.idle(number);
                    self.evict();
                }
                return;
            };
            let entity_id = Arc::clone(&incarnation.entity_id);
            self.run(command, held, entity_id, now);
        }
    }

    fn evict(&mut self) {
        while let Some(number) = self.cache.evict() {
            self.closed(number); // R42, R44
        }
    }

    /// Begins a command.
    fn run(&mut self, command: wire::Command, held: Held, entity_id: Arc<str>, now: Instant) {
        let component = command.component as usize;
        let serve = Arc::clone(&self.components[component].serve);
        let Some((shape, method)) = serve.shape(command.method as usize) else {
            self.put_back(command.incarnation, Some(held));
            return self.refuse(&command, Failure::unimplemented("no such method"));
        };
        let handler = Handler {
            service: serve.service().name,
            method,
            entity_id: &entity_id,
        };
        self.hook.before(handler);
        let at = command.method as usize;
        let (id, number) = (command.id, command.incarnation);
        let (input, open) =
            self.input(command, &*serve, shape, method, Arc::clone(&entity_id), now);
        match serve.start(at, held, input) {
            Started::Done(held, finish) => self.finished(id, number, handler, held, finish),
            Started::Running(left, future) => {
                let (future, abort) = futures_util::future::abortable(future);
                self.put_back(number, left);
                if let Some(incarnation) = self.cache.get(number) {
                    incarnation.running.push(id);
                }
                self.open.insert(id, Open { abort, ..open });
                self.begin(id, future);
            }
        }
    }

    /// What a handler is given, and what is kept of its command if it runs later.
    fn input(
        &self,
        command: wire::Command,
        serve: &dyn Serve,
        shape: Shape,
        method: &'static str,
        entity_id: Arc<str>,
        now: Instant,
    ) -> (Input, Open) {
        let id = command.id;
        let cancelled = if shape.now {
            Cancelled::default()
        } else {
            Cancelled::new()
        };
        let mut open = Open {
            incarnation: command.incarnation,
            component: command.component as usize,
            method,
            abort: AbortHandle::new_pair().0,
            cancelled: cancelled.clone(),
            requests: None,
            credit: None,
        };
        let requests = shape.requests.then(|| {
            let (sender, inbox) = mpsc::unbounded_channel();
            open.requests = Some(sender);
            RawRequests::new(inbox, id, self.asks.clone(), cancelled.clone())
        });
        let replies = shape.replies.then(|| {
            let credit = Arc::new(Semaphore::new(self.call_messages));
            open.credit = Some(Arc::clone(&credit));
            RawReplies {
                command: id,
                asks: self.asks.clone(),
                credit,
                cancelled: cancelled.clone(),
                sendable: Arc::new(Mutex::default()),
            }
        });
        let timeout = Duration::from_millis(command.timeout_ms);
        let request = RequestInfo {
            service: serve.service().name,
            entity_id,
            metadata: Metadata::from_wire(command.metadata),
            deadline: (command.timeout_ms > 0)
                .then(|| now.checked_add(timeout))
                .flatten(),
            cancelled,
            client: Client::of_command(self.asks.clone(), id),
        };
        let input = Input {
            request,
            message: command.message,
            requests,
            replies,
        };
        (input, open)
    }

    /// Gives a handler its first turn. Many need no second one, and never reach the others.
    fn begin(
        &mut self,
        command: u64,
        future: Abortable<BoxFuture<'static, (Option<Held>, Finish)>>,
    ) {
        let mut future = future.map(move |result| Ended {
            command,
            result: result.ok(),
        });
        let mut cx = std::task::Context::from_waker(Waker::noop());
        match future.poll_unpin(&mut cx) {
            Poll::Ready(ended) => self.conclude(ended),
            // Polled once more there, which leaves its waker.
            Poll::Pending => self.running.push(future.boxed()),
        }
    }

    fn on_ended(&mut self, ended: Ended) {
        let incarnation = self.open.get(&ended.command).map(|open| open.incarnation);
        self.conclude(ended);
        if let Some(number) = incarnation {
            self.proceed(number, Instant::now());
        }
    }

    fn conclude(&mut self, ended: Ended) {
        // The replies that a handler sent are ahead of its end.
        self.take_asks();
        let Some(open) = self.open.remove(&ended.command) else {
            return; // It was closed meanwhile (R41).
        };
        let number = open.incarnation;
        let mut entity_id = Arc::clone(&self.no_id);
        if let Some(incarnation) = self.cache.get(number) {
            incarnation.running.retain(|it| *it != ended.command);
            entity_id = Arc::clone(&incarnation.entity_id);
        }
        if let Some((held, finish)) = ended.result {
            let handler = Handler {
                service: self.components[open.component].serve.service().name,
                method: open.method,
                entity_id: &entity_id,
            };
            self.finished(ended.command, number, handler, held, finish);
        }
    }

    /// A handler has ended: its decision goes out, its entity comes back.
    fn finished(
        &mut self,
        command: u64,
        number: u64,
        handler: Handler<'_>,
        held: Option<Held>,
        finish: Finish,
    ) {
        let Finish {
            mut decision,
            undone,
            crash,
        } = finish;
        self.put_back(number, held);
        if let Some(detail) = crash {
            self.hook.crashed(handler, &detail);
        }
        let failure = match &decision.answer {
            Some(decision::Answer::Failure(failure)) => Some(Code::from_number(failure.code)),
            _ => None,
        };
        self.hook.after(handler, failure);
        decision.command = command;
        let changes = decision.mutation.is_some();
        let sent = self.send_decision(number, decision);
        // An entity is let go that is ahead of what Firn knows (R43).
        if number != 0 && (undone == Undone::Ahead || (changes && !sent)) {
            self.let_go(number);
        }
    }

    fn put_back(&mut self, number: u64, held: Option<Held>) {
        if held.is_some()
            && let Some(incarnation) = self.cache.get(number)
        {
            incarnation.held = held;
        }
    }

    /// Sends a decision, or in its place that it is too large (R82).
    fn send_decision(&mut self, number: u64, decision: wire::Decision) -> bool {
        let command = decision.command;
        let version = decision.version;
        if self.send(about(number, command), command, Frame::Decision(decision)) {
            return true;
        }
        let mut decision = failed(command, too_large_to_send());
        decision.version = version;
        self.send(about(number, command), command, Frame::Decision(decision));
        false
    }

    fn send(&mut self, about: About, subject: u64, frame: Frame) -> bool {
        self.outbox.push(about, subject, frame)
    }

    /// Lets go of an incarnation unasked. Commands that wait for it are Firn's to send again.
    fn let_go(&mut self, number: u64) {
        let Some(incarnation) = self.cache.remove(number) else {
            return;
        };
        // Only replicated entities have others open.
        for command in incarnation.running {
            if let Some(open) = self.open.remove(&command) {
                open.abort.abort();
                let failure = Failure::unavailable("the entity is read again; try once more");
                self.send_decision(number, failed(command, failure));
            }
        }
        self.closed(number);
    }

    fn closed(&mut self, incarnation: u64) {
        let closed = Frame::Closed(wire::Closed { incarnation });
        self.send(About::Incarnation(incarnation), 0, closed);
    }

    /// R41
    fn on_close(&mut self, number: u64) {
        if let Some(incarnation) = self.cache.remove(number) {
            for command in incarnation.running {
                if let Some(open) = self.open.remove(&command) {
                    open.abort.abort();
                }
            }
        }
        self.closed(number);
    }

    fn on_message(&mut self, message: wire::Message) {
        let Some(open) = self.open.get_mut(&message.command) else {
            return; // Its handler has ended already.
        };
        if let (Some(bytes), Some(requests)) = (message.message, &open.requests) {
            // The handler may have dropped its end.
            let _ = requests.send(bytes);
        }
        if message.end {
            open.requests = None;
        }
    }

    fn on_change(&mut self, change: wire::Change) {
        let Some(incarnation) = self.cache.get(change.incarnation) else {
            return;
        };
        let (Some(held), Some(what)) = (&mut incarnation.held, change.change) else {
            return;
        };
        let serve = &self.components[incarnation.component as usize].serve;
        if let Err(error) = serve.change(held, what) {
            let handler = Handler {
                service: serve.service().name,
                method: "",
                entity_id: &incarnation.entity_id,
            };
            self.hook.crashed(handler, &error.to_string());
            self.let_go(change.incarnation); // R43
        }
    }

    fn on_credit(&mut self, credit: &wire::Credit) {
        if credit.command == 0 {
            self.calls.grant(credit.amount.into(), &mut self.outbox);
        } else if let Some(open) = self.open.get(&credit.command)
            && let Some(replies) = &open.credit
        {
            replies.add_permits(credit.amount as usize);
        }
    }

    fn take_asks(&mut self) {
        while let Ok(ask) = self.asked.try_recv() {
            self.on_ask(ask);
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Call(question) => self.calls.ask(question, &mut self.outbox),
            Ask::Forget(ticket) => self.calls.forget(ticket, &mut self.outbox),
            Ask::Grant { command, amount } => {
                if let Some(open) = self.open.get(&command) {
                    let about = about(open.incarnation, command);
                    let credit = Frame::Credit(wire::Credit { command, amount });
                    self.send(about, 0, credit);
                }
            }
            Ask::Reply(reply) => self.on_reply(reply),
        }
    }

    fn on_reply(&mut self, reply: wire::Reply) {
        let command = reply.command;
        let Some(number) = self.open.get(&command).map(|open| open.incarnation) else {
            return;
        };
        if self.send(about(number, command), command, Frame::Reply(reply)) {
            return;
        }
        // Too large: the call fails (R82).
        if let Some(open) = self.open.remove(&command) {
            open.abort.abort();
        }
        if let Some(incarnation) = self.cache.get(number) {
            incarnation.running.retain(|it| *it != command);
        }
        self.send_decision(number, failed(command, too_large_to_send()));
    }
}

/// What a frame of a command is about: its entity, or itself in an action.
fn about(incarnation: u64, command: u64) -> About {
    match incarnation {
        0 => About::Command(command),
        number => About::Incarnation(number),
    }
}

fn failed(command: u64, failure: Failure) -> wire::Decision {
    wire::Decision {
        command,
        answer: Some(decision::Answer::Failure(failure.into_wire())),
        ..wire::Decision::default()
    }
}

fn too_large_to_send() -> Failure {
    Failure::resource_exhausted("the answer is larger than Firn takes")
}

fn too_large() -> Finding {
    Finding {
        code: "FIRN-3039".to_owned(),
        text: format!("a frame above {FRAME_BYTES} bytes was thrown away"),
        remedy: "keep requests and states smaller".to_owned(),
        service: String::new(),
        location: String::new(),
    }
}

#[cfg(test)]
mod tests;
