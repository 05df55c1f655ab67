//! The function's side of a connection, with the referee over all that Firn sends on it.
//!
//! Every check, whatever it is about, sees a [`Fault`] as soon as a frame comes that must not: numbers
//! that do not grow, openings that are missing or twice, incarnations that come back, credit that was
//! not granted, pieces and batches that are too large.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;

use super::client::{Call, Came, Client, End};
use crate::fault::Fault;
use crate::proto::v1::firn_frame::Frame as Received;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{
    self, Chunk, Command, FirnBatch, FirnFrame, FunctionBatch, FunctionFrame, Hello, Notice,
    Welcome,
};
use crate::show;

/// The path of the protocol's one method.
const CONNECT: &str = "/firn.v1.Functions/Connect";
/// The largest batch of more than one frame (R8).
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What `Hello` means where it says nothing.
const COMMANDS_DEFAULT: u32 = 1_024;
const CALL_MESSAGES_DEFAULT: u32 = 16;
const FRAME_BYTES_DEFAULT: u64 = 16 << 20;
/// Frames that are shown when a check fails.
const RECENT_FRAMES: usize = 48;
/// How much of a frame is shown then.
const FRAME_CHARACTERS: usize = 160;

/// The newest frames of all connections.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    pub(crate) fn add(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(show::at_most(line, FRAME_CHARACTERS));
        if lines.len() > RECENT_FRAMES {
            lines.pop_front();
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.drain(..).collect()
    }
}

/// What came on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Frame(Received),
    End(End),
}

/// One connection of a function.
pub(crate) struct Function {
    // Dropped before the client, so that the call is cancelled in order.
    call: Call,
    _client: Client,
    pub(crate) welcome: Welcome,
    /// Shown before each of its frames.
    name: &'static str,
    log: Log,
    referee: Referee,
    /// Whole frames that were not taken yet.
    inbox: VecDeque<Event>,
    transfers: BTreeMap<u64, Vec<u8>>,
    last_transfer: u64,
    /// How many pieces have come.
    pub(crate) pieces: usize,
    ended: bool,
}

/// How a frame came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Travels {
    Whole,
    InPieces,
}

/// What Firn has sent so far, as far as it bears on what it may send next.
#[derive(Default)]
struct Referee {
    hello: Hello,
    chunk_bytes: usize,
    is_welcomed: bool,
    /// Of those that came whole.
    last_command: u64,
    numbers: BTreeSet<u64>,
    /// Open commands: their incarnations and how many messages may come.
    open: BTreeMap<u64, (u64, u32)>,
    /// How many commands may be open.
    commands: u64,
    held: BTreeSet<u64>,
    /// Let go of by the function, so that frames may cross.
    let_go: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    calls: BTreeSet<u64>,
}

impl Function {
    /// Dials and sends nothing yet.
    pub(crate) async fn open(
        address: &str,
        token: Option<&str>,
        name: &'static str,
        log: Log,
    ) -> Result<Self, Fault> {
        let unreachable =
            |error: std::io::Error| Fault::new("R1", "a function port", error.to_string());
        let client = Client::connect(address).await.map_err(unreachable)?;
        let token = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        let headers: Vec<_> = token.into_iter().collect();
        let call = client.begin(CONNECT, &headers);
        Ok(Self {
            call,
            _client: client,
            welcome: Welcome::default(),
            name,
            log,
            referee: Referee::default(),
            inbox: VecDeque::new(),
            transfers: BTreeMap::new(),
            last_transfer: 0,
            pieces: 0,
            ended: false,
        })
    }

    /// Says Hello and waits for the Welcome.
    pub(crate) async fn join(&mut self, hello: Hello) -> Result<(), Fault> {
        self.send(Frame::Hello(hello)).await;
        match self.event().await? {
            Event::Frame(Received::Welcome(_)) => Ok(()),
            other => Err(Fault::new("R4", "Welcome", format!("{other:?}"))),
        }
    }

    /// Sends a frame, in pieces if it is large.
    pub(crate) async fn send(&mut self, frame: Frame) {
        let whole = FunctionFrame { frame: Some(frame) };
        let limit = self.welcome.chunk_bytes as usize;
        self.shown(&whole);
        if limit == 0 || whole.encoded_len() <= limit {
            self.batch(vec![whole]).await;
            return;
        }
        for piece in self.cut(&whole) {
            self.batch(vec![piece]).await;
        }
    }

    /// The pieces of a frame.
    pub(crate) fn cut(&mut self, whole: &FunctionFrame) -> Vec<FunctionFrame> {
        let limit = self.welcome.chunk_bytes as usize;
        let subject = match &whole.frame {
            Some(Frame::Decision(one)) => one.command,
            Some(Frame::Reply(one)) => one.command,
            Some(Frame::Call(one)) => one.id,
            _ => 0,
        };
        self.last_transfer += 1;
        let bytes = Bytes::from(whole.encode_to_vec());
        let count = bytes.len().div_ceil(limit);
        let piece = |place: usize| Chunk {
            transfer: self.last_transfer,
            data: bytes.slice(place * limit..((place + 1) * limit).min(bytes.len())),
            last: place + 1 == count,
            subject,
        };
        let frame = |chunk| FunctionFrame {
            frame: Some(Frame::Chunk(chunk)),
        };
        (0..count).map(piece).map(frame).collect()
    }

    /// Sends frames as they are, in one batch.
    pub(crate) async fn batch(&mut self, frames: Vec<FunctionFrame>) {
        for frame in frames.iter().filter_map(|one| one.frame.as_ref()) {
            self.referee.sent(frame);
        }
        let batch = FunctionBatch { frames };
        self.send_bytes(batch.encode_to_vec()).await;
    }

    /// Sends frames as they are, in one batch, and shows them.
    pub(crate) async fn send_all(&mut self, frames: Vec<Frame>) {
        let frames = frames.into_iter();
        let frames: Vec<_> = frames
            .map(|frame| FunctionFrame { frame: Some(frame) })
            .collect();
        frames.iter().for_each(|frame| self.shown(frame));
        self.batch(frames).await;
    }

    /// Sends bytes where a batch is expected.
    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.call.send(bytes.into()).await;
    }

    /// Sends nothing any more.
    pub(crate) fn half_close(&mut self) {
        self.call.half_close();
    }

    fn shown(&self, frame: &FunctionFrame) {
        let frame = show::function_frame(frame);
        self.log.add(&format!("kit, {}: {frame}", self.name));
    }

    /// What comes next. Cancel-safe.
    pub(crate) async fn event(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(event) = self.inbox.pop_front() {
                return Ok(event);
            }
            let came = self.call.next().await;
            self.came(came)?;
        }
    }

    fn came(&mut self, came: Came) -> Result<(), Fault> {
        match came {
            Came::Headers(_) => {}
            Came::End(end) => {
                let line = format!("firn, {}: ends with {end:?}", self.name);
                self.log.add(&line);
                if !self.ended {
                    self.inbox.push_back(Event::End(end));
                }
                self.ended = true;
            }
            Came::Message(message) => {
                let size = message.len();
                let batch = FirnBatch::decode(message)
                    .map_err(|error| Fault::new("R83", "a FirnBatch", error.to_string()))?;
                if size > BATCH_BYTES_MAX && batch.frames.len() > 1 {
                    let came = format!("{} frames in {size} bytes", batch.frames.len());
                    return Err(Fault::new("R8", "a batch of at most 1 MiB", came));
                }
                for frame in batch.frames {
                    self.frame(frame)?;
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: FirnFrame) -> Result<(), Fault> {
        let mut travels = Travels::Whole;
        let whole = match frame.frame {
            Some(Received::Chunk(chunk)) => {
                travels = Travels::InPieces;
                self.pieces += 1;
                if chunk.data.len() > self.referee.chunk_bytes {
                    let expected = format!("pieces of {} bytes", self.referee.chunk_bytes);
                    return Err(Fault::new("R81", expected, chunk.data.len().to_string()));
                }
                let bytes = self.transfers.entry(chunk.transfer).or_default();
                bytes.extend_from_slice(&chunk.data);
                if bytes.len() as u64 > self.referee.frame_bytes() {
                    let expected = format!("frames of {} bytes", self.referee.frame_bytes());
                    return Err(Fault::new("R82", expected, bytes.len().to_string()));
                }
                if !chunk.last {
                    return Ok(());
                }
                let bytes = self.transfers.remove(&chunk.transfer).unwrap_or_default();
                FirnFrame::decode(bytes.as_slice())
                    .map_err(|error| Fault::new("R81", "a frame in pieces", error.to_string()))?
            }
            _ => {
                let size = frame.encoded_len();
                if self.referee.chunk_bytes > 0 && size > self.referee.chunk_bytes {
                    let expected = format!("pieces above {} bytes", self.referee.chunk_bytes);
                    return Err(Fault::new("R81", expected, format!("{size} in one")));
                }
                frame
            }
        };
        let line = format!("firn, {}: {}", self.name, show::firn_frame(&whole));
        self.log.add(&line);
        // R6: what has no known kind is passed over.
        let Some(frame) = whole.frame else {
            return Ok(());
        };
        self.referee.received(&frame, travels)?;
        if let Received::Welcome(welcome) = &frame {
            self.welcome.clone_from(welcome);
        }
        self.inbox.push_back(Event::Frame(frame));
        Ok(())
    }

    /// The first of what comes that this takes; the rest is kept.
    pub(crate) async fn pick<T>(
        &mut self,
        requirement: &'static str,
        what: &str,
        mut pick: impl FnMut(&Received) -> Option<T>,
    ) -> Result<T, Fault> {
        let mut looked_at = 0;
        loop {
            while let Some(event) = self.inbox.get(looked_at) {
                match event {
                    Event::Frame(frame) => {
                        if let Some(picked) = pick(frame) {
                            self.inbox.remove(looked_at);
                            return Ok(picked);
                        }
                    }
                    Event::End(end) => {
                        let came = format!("the end of the connection: {end:?}");
                        return Err(Fault::new(requirement, what, came));
                    }
                }
                looked_at += 1;
            }
            let came = self.call.next().await;
            self.came(came)?;
        }
    }

    /// The next command.
    pub(crate) async fn command(&mut self, what: &str) -> Result<Command, Fault> {
        let pick = |frame: &Received| match frame {
            Received::Command(command) => Some(command.clone()),
            _ => None,
        };
        self.pick("R20", what, pick).await
    }

    /// A notice with this code about this command.
    pub(crate) async fn notice(
        &mut self,
        requirement: &'static str,
        code: &str,
        command: u64,
    ) -> Result<Notice, Fault> {
        let pick = |frame: &Received| match frame {
            Received::Notice(notice) => Some(notice.clone()),
            _ => None,
        };
        let what = format!("a Notice {code} about command {command}");
        let notice = self.pick(requirement, &what, pick).await?;
        let finding = notice.finding.clone().unwrap_or_default();
        let is_it = finding.code == code
            && notice.command == command
            && !finding.text.is_empty()
            && !finding.remedy.is_empty();
        if is_it {
            return Ok(notice);
        }
        Err(Fault::new(requirement, what, format!("{notice:?}")))
    }

    /// Whether nothing is open under this number.
    pub(crate) fn is_answered(&self, command: u64) -> bool {
        !self.referee.open.contains_key(&command)
    }

    /// `Close` of an incarnation, which is answered.
    pub(crate) async fn closes(
        &mut self,
        requirement: &'static str,
        incarnation: u64,
    ) -> Result<(), Fault> {
        let what = format!("Close {incarnation}");
        let pick = |frame: &Received| match frame {
            Received::Close(close) if close.incarnation == incarnation => Some(()),
            _ => None,
        };
        self.pick(requirement, &what, pick).await?;
        self.send(Frame::Closed(v1::Closed { incarnation })).await;
        Ok(())
    }

    /// The result of a call.
    pub(crate) async fn result(&mut self, id: u64) -> Result<v1::CallResult, Fault> {
        let pick = |frame: &Received| match frame {
            Received::CallResult(result) if result.id == id => Some(result.clone()),
            _ => None,
        };
        self.pick("R70", &format!("the result of call {id}"), pick)
            .await
    }

    /// The end of the connection.
    pub(crate) async fn end(&mut self) -> Result<End, Fault> {
        loop {
            if let Event::End(end) = self.event().await? {
                return Ok(end);
            }
        }
    }
}

impl Referee {
    fn frame_bytes(&self) -> u64 {
        match self.hello.frame_bytes {
            0 => FRAME_BYTES_DEFAULT,
            bytes => bytes,
        }
    }

    fn sent(&mut self, frame: &Frame) {
        match frame {
            Frame::Hello(hello) if !self.is_welcomed => {
                self.hello.clone_from(hello);
                self.commands = u64::from(match hello.commands {
                    0 => COMMANDS_DEFAULT,
                    commands => commands,
                });
            }
            Frame::Decision(decision) => {
                self.open.remove(&decision.command);
            }
            Frame::Chunk(chunk) if chunk.last => {
                // A call has a subject, too; it may be no open command then.
                self.open.remove(&chunk.subject);
            }
            Frame::Closed(closed) => {
                self.open
                    .retain(|_, (incarnation, _)| *incarnation != closed.incarnation);
                if self.held.remove(&closed.incarnation) {
                    self.let_go.insert(closed.incarnation);
                }
            }
            Frame::Credit(credit) if credit.command == 0 => {
                self.commands += u64::from(credit.amount);
            }
            Frame::Credit(credit) => {
                if let Some((_, messages)) = self.open.get_mut(&credit.command) {
                    *messages += credit.amount;
                }
            }
            Frame::Call(call) => {
                self.calls.insert(call.id);
            }
            _ => {}
        }
    }

    fn received(&mut self, frame: &Received, travels: Travels) -> Result<(), Fault> {
        let first = matches!(frame, Received::Welcome(_) | Received::Refusal(_));
        if first == self.is_welcomed {
            let expected = match first {
                true => "no Welcome or Refusal after the first frame",
                false => "Welcome or Refusal first",
            };
            return Err(Fault::new("R4", expected, format!("{frame:?}")));
        }
        match frame {
            Received::Welcome(welcome) => {
                self.is_welcomed = true;
                self.chunk_bytes = welcome.chunk_bytes as usize;
            }
            Received::Refusal(_) => self.is_welcomed = true,
            Received::Command(command) => self.command(command, travels)?,
            Received::Message(message) => {
                // One that has been answered may cross its messages.
                let open = self.open.get_mut(&message.command);
                if let (Some((_, left)), Some(_)) = (open, &message.message) {
                    *left = left.checked_sub(1).ok_or_else(|| {
                        let came = format!("one more of command {}", message.command);
                        Fault::new("R61", "messages with credit only", came)
                    })?;
                }
            }
            Received::Close(close) => {
                let id = close.incarnation;
                if !self.held.contains(&id) && !self.let_go.contains(&id) {
                    return Err(Fault::new(
                        "R41",
                        "Close of what was opened",
                        format!("{id}"),
                    ));
                }
            }
            Received::Change(change) if !self.seen.contains(&change.incarnation) => {
                let came = format!("{change:?}");
                return Err(Fault::new("R52", "Change of what was opened", came));
            }
            Received::CallResult(result) if !self.calls.remove(&result.id) => {
                let came = format!("one of call {}", result.id);
                return Err(Fault::new("R70", "one result of each call", came));
            }
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, command: &Command, travels: Travels) -> Result<(), Fault> {
        let came = || show::short(&format!("{command:?}"));
        let faulty = |requirement, expected: &str| Err(Fault::new(requirement, expected, came()));
        // Others may come between the pieces of a large one (R81).
        let is_late = travels == Travels::Whole && command.id <= self.last_command;
        if is_late || !self.numbers.insert(command.id) {
            return faulty("R20", "numbers that grow");
        }
        if travels == Travels::Whole {
            self.last_command = command.id;
        }
        let id = command.incarnation;
        let components = self.hello.contract.as_ref().map(|one| &one.components);
        let component = components.and_then(|all| all.get(command.component as usize));
        let Some(component) = component else {
            return faulty("R20", "a component of the contract");
        };
        if command.method as usize >= component.methods.len() {
            return faulty("R20", "a method of the component");
        }
        let is_action = component.model == v1::Model::Action as i32;
        match (is_action, &command.opening) {
            (true, None) if id == 0 => {}
            (true, _) => return faulty("R55", "incarnation 0 and no opening for an action"),
            (false, _) if id == 0 => return faulty("R40", "an incarnation of an entity"),
            (false, Some(_)) => {
                if !self.seen.insert(id) {
                    return faulty("R40", "one opening, and an incarnation that is new");
                }
                self.held.insert(id);
            }
            (false, None) => {
                if !self.held.contains(&id) && !self.let_go.contains(&id) {
                    return faulty("R40", "an opening with the first command");
                }
            }
        }
        // What crosses `Closed` is not open: Firn sends it again.
        if is_action || self.held.contains(&id) {
            let messages = match self.hello.call_messages {
                0 => CALL_MESSAGES_DEFAULT,
                messages => messages,
            };
            self.open.insert(command.id, (id, messages));
        }
        if self.open.len() as u64 > self.commands {
            let expected = format!("{} open commands at most", self.commands);
            return faulty("R80", &expected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::rig::{contract, hello};

    /// What the referee says of these frames after a Welcome; empty if nothing.
    fn judged(hello: Hello, frames: Vec<Received>) -> &'static str {
        let mut referee = Referee::default();
        referee.sent(&Frame::Hello(hello));
        let welcome = Received::Welcome(Welcome::default());
        referee
            .received(&welcome, Travels::Whole)
            .expect("the first frame");
        let mut judged = frames
            .iter()
            .map(|frame| referee.received(frame, Travels::Whole));
        judged
            .find_map(Result::err)
            .map_or("", |fault| fault.requirement)
    }

    fn command(id: u64, component: u32, incarnation: u64, opens: bool) -> Received {
        Received::Command(Command {
            id,
            component,
            incarnation,
            opening: opens.then(v1::Opening::default),
            ..Command::default()
        })
    }

    /// Each mistake that a proxy can make with a frame, with the requirement that it breaks.
    #[test]
    fn mistaken_frames_are_found() {
        let close = |incarnation| Received::Close(v1::Close { incarnation });
        let result = Received::CallResult(v1::CallResult::default());
        let message = Received::Message(v1::Message {
            command: 1,
            message: Some(Bytes::new()),
            end: false,
        });
        let change = Received::Change(v1::Change::default());
        let streamed = [vec![command(1, 0, 0, false)], vec![message; 17]].concat();
        let cases = [
            (
                "",
                vec![command(1, 1, 1, true), command(2, 1, 1, false), close(1)],
            ),
            ("R4", vec![Received::Welcome(Welcome::default())]),
            ("R20", vec![command(2, 1, 1, true), command(2, 1, 1, false)]),
            ("R20", vec![command(1, 99, 1, true)]),
            ("R40", vec![command(1, 1, 1, false)]),
            ("R40", vec![command(1, 1, 1, true), command(2, 1, 1, true)]),
            ("R40", vec![command(1, 1, 0, false)]),
            ("R41", vec![close(1)]),
            ("R52", vec![change]),
            ("R55", vec![command(1, 0, 1, true)]),
            ("R61", streamed),
            ("R70", vec![result]),
        ];
        for (requirement, frames) in cases {
            let shown = format!("{frames:?}");
            assert_eq!(judged(hello(contract()), frames), requirement, "{shown}");
        }
        let mut few = hello(contract());
        few.commands = 1;
        let two = vec![command(1, 0, 0, false), command(2, 0, 0, false)];
        assert_eq!(judged(few, two), "R80");
    }
}
