//! How a call begins: its token, its Hello, and what Firn answers.

use std::sync::Arc;

use firn_model::code::Code;
use firn_model::contract::Finding;
use firn_wire::v1::message::firn_frame::Frame as Out;
use firn_wire::v1::message::function_frame::Frame as In;
use firn_wire::v1::message::notice::Severity;
use firn_wire::v1::message::{FirnBatch, FirnFrame, FunctionBatch, Hello, Refusal, Welcome};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::ending::{EndOnDrop, Ending};
use super::outgoing::Running;
use super::reader::{Reader, next_batch};
use super::status::{add_code, illegal};
use super::{Carrier, Config, HELLO_WAIT, Shared};
use crate::v1::hub::Joined;
use crate::v1::session::{Limits, shown};

/// The minor version of the protocol that is spoken here.
const MINOR: u32 = 0;

/// Frames above this many bytes travel in pieces: large enough that few do, small enough that a
/// piece is written in well under a millisecond.
const CHUNK_BYTES: u32 = 64 * 1024;

/// How many commands may be open on a connection unless the function says otherwise.
const COMMANDS_DEFAULT: u32 = 1024;

/// How many messages of a streamed call may be under way, each way, unless the function says
/// otherwise.
const CALL_MESSAGES_DEFAULT: u32 = 16;

/// The largest frame that a function takes unless it says otherwise, in bytes.
const FRAME_BYTES_DEFAULT: usize = 16 << 20;

/// How many calls a function may have open on a connection.
const CALLS_MAX: u32 = 1024;

/// What comes of a Hello.
pub(super) enum Begun {
    Serving(Box<FirnBatch>, Running),
    Refused(Box<FirnBatch>, Status),
    Failed(Status),
}

/// Whether the call has the token, if one is needed (R3).
pub(super) fn check_token<T>(
    token: Option<&str>,
    request: &tonic::Request<T>,
) -> Result<(), Status> {
    let Some(token) = token else {
        return Ok(());
    };
    let sent = request.metadata().get("authorization");
    let sent = sent.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match sent {
        Some(sent) if is_equal(sent, token.as_bytes()) => Ok(()),
        _ => {
            let mut status = Status::unauthenticated("the token is missing or wrong");
            add_code(&mut status, Code::TokenRefused);
            Err(status)
        }
    }
}

/// Compares in a time that does not depend on where two texts of one length differ.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |differs, (a, b)| differs | (a ^ b))
            == 0
}

/// Waits for the Hello and joins.
pub(super) async fn begin(
    shared: Arc<Shared>,
    carrier: Carrier,
    mut batches: Streaming<FunctionBatch>,
) -> Begun {
    let first = tokio::time::timeout(HELLO_WAIT, next_batch(&mut batches)).await;
    let mut frames = match first {
        Ok(Ok(Some(batch))) => batch.frames.into_iter(),
        Ok(Ok(None)) => return Begun::Failed(illegal("the call ended before a Hello")),
        Ok(Err(status)) => return Begun::Failed(status),
        Err(_) => return Begun::Failed(illegal("no Hello came in time")),
    };
    let Some(In::Hello(hello)) = frames.next().and_then(|frame| frame.frame) else {
        return Begun::Failed(illegal("the first frame is no Hello"));
    };
    let limits = limits(&hello, &shared.config);
    let welcome = welcome(&shared.config);
    let Joined { connection, served } = match shared.hub.join(hello, limits).await {
        Ok(joined) => joined,
        Err(findings) => return refusal(&findings),
    };
    for warning in shared.hub.warnings() {
        connection.lock().tell(&warning, Severity::Warning, 0);
    }
    let ending = Arc::new(Ending::new(shared.hub.clone(), connection));
    let end = EndOnDrop(ending.clone());
    if let Some(served) = served {
        // Whoever serves may have stopped; then the end of the port is near.
        let _ = served.await;
    }
    let reader = Reader {
        end: EndOnDrop(ending),
        overdue: carrier.overdue,
    };
    let rest = FunctionBatch {
        frames: frames.collect(),
    };
    let reading = shared.hub.tasks.spawn(reader.run(rest, batches));
    let running = Running {
        end,
        let_others: false,
        _reader: AbortOnDropHandle::new(reading),
    };
    Begun::Serving(Box::new(batch(Out::Welcome(welcome))), running)
}

fn limits(hello: &Hello, config: &Config) -> Limits {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    Limits {
        chunk_bytes: CHUNK_BYTES as usize,
        frame_bytes: config.frame_bytes_max,
        frame_bytes_theirs: match hello.frame_bytes {
            0 => FRAME_BYTES_DEFAULT,
            said => usize::try_from(said).unwrap_or(usize::MAX),
        },
        commands: or(hello.commands, COMMANDS_DEFAULT).into(),
        request_messages: or(hello.call_messages, CALL_MESSAGES_DEFAULT) as usize,
        reply_messages: CALL_MESSAGES_DEFAULT,
        calls: CALLS_MAX,
    }
}

fn welcome(config: &Config) -> Welcome {
    Welcome {
        // No function can speak less than the lowest (R5).
        minor: MINOR,
        firn: config.version.to_owned(),
        calls: CALLS_MAX,
        call_messages: CALL_MESSAGES_DEFAULT,
        frame_bytes: config.frame_bytes_max as u64,
        chunk_bytes: CHUNK_BYTES,
        client_address: config.client_address.clone(),
    }
}

fn refusal(findings: &[Finding]) -> Begun {
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let mut status = Status::failed_precondition(texts.join("; "));
    if let Some(first) = findings.first() {
        add_code(&mut status, first.code);
    }
    let refusal = Refusal {
        findings: findings.iter().map(shown).collect(),
    };
    Begun::Refused(Box::new(batch(Out::Refusal(refusal))), status)
}

fn batch(frame: Out) -> FirnBatch {
    FirnBatch {
        frames: vec![FirnFrame { frame: Some(frame) }],
    }
}
