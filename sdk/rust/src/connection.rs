//! One connection to Firn: dials, introduces the function, carries frames until the end.
//!
//! All of it is one task. What comes is taken before handlers that wait get their turn, and what is
//! there to be sent goes in one batch as soon as the transport takes it (R8).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::address::Address;
#[cfg(feature = "tls")]
use crate::address::Kind;
use crate::calls::Asks;
use crate::hook::{ConnectionEvent, Finding, Hook};
use crate::session::{Session, Setup};
use crate::wire::{self, FirnBatch, FunctionBatch, FunctionFrame, firn_frame, function_frame};

/// The largest batch that is taken: well above 1 MiB (R8), for a single frame that is not in chunks.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How much Firn may send before the transport has handed it on: two of its largest batches, so that
/// it is never kept waiting (R84).
const WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// The same for the connection, which is larger for the sake of small batches: h2 ends a connection
/// whose unread frames cost too much beside their bytes. Each that is shorter than 256 bytes is counted
/// with what it lacks, up to half of this; so a window full of the smallest batches, of five bytes, is
/// not too much, however long the process stood still.
const CONNECTION_WINDOW_BYTES: u32 = 128 * WINDOW_BYTES;

/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(5);

/// How often an idle connection is probed, and how long the answer may take.
const PROBE: Duration = Duration::from_secs(20);

/// Everything that a connection needs to know.
pub(crate) struct Plan {
    pub(crate) address: Address,
    /// The authority's certificate in PEM.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS needs it"))]
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) token: Option<String>,
    pub(crate) hello: wire::Hello,
    pub(crate) components: Arc<[crate::Component]>,
    pub(crate) hook: Arc<dyn Hook>,
    pub(crate) incarnations: usize,
    pub(crate) stop_within: Duration,
    /// The connections that are served, for calls outside of commands.
    pub(crate) sessions: watch::Sender<Vec<Asks>>,
}

/// How a connection ended.
pub(crate) enum End {
    /// The function was told to stop, and has.
    Stopped,
    /// Firn ended it in order.
    Ended,
    /// It was lost, or never made.
    Lost(String),
    /// Firn does not take the function.
    Refused(Vec<Finding>),
}

/// Holds a connection until it ends. `welcomed` is told when Firn takes the function.
pub(crate) async fn hold(
    plan: &Plan,
    stop: &mut watch::Receiver<bool>,
    mut welcomed: impl FnMut(),
) -> End {
    let (batches, outgoing) = mpsc::channel(1);
    let incoming = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return End::Stopped,
        opened = open(plan, &batches, outgoing) => opened,
    };
    let (incoming, welcome) = match incoming {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    welcomed();
    plan.hook.connection(ConnectionEvent::Connected {
        firn: &welcome.firn,
        client_address: &welcome.client_address,
    });
    let setup = Setup {
        components: Arc::clone(&plan.components),
        hook: Arc::clone(&plan.hook),
        incarnations: plan.incarnations,
    };
    let session = Session::new(setup, &welcome);
    let asks = session.asks();
    plan.sessions
        .send_modify(|sessions| sessions.push(asks.clone()));
    let end = carry(plan, stop, session, batches, incoming).await;
    plan.sessions
        .send_modify(|sessions| sessions.retain(|it| !it.same_channel(&asks)));
    end
}

type Batches = mpsc::Sender<FunctionBatch>;
type Incoming = Streaming<FirnBatch>;

/// Dials, says Hello, and hears Welcome or Refusal.
async fn open(
    plan: &Plan,
    batches: &Batches,
    outgoing: mpsc::Receiver<FunctionBatch>,
) -> Result<(Incoming, wire::Welcome), End> {
    let lost = |error: &dyn std::error::Error| End::Lost(with_causes(error));
    let endpoint = endpoint(plan).map_err(|error| lost(&error))?;
    let channel = endpoint.connect().await.map_err(|error| lost(&error))?;
    let hello = FunctionFrame {
        frame: Some(function_frame::Frame::Hello(plan.hello.clone())),
    };
    let hello = FunctionBatch {
        frames: vec![hello],
    };
    // R2: it is on its way before anything of Firn is waited for.
    batches
        .try_send(hello)
        .map_err(|_| End::Lost("the connection was closed before it was used".to_owned()))?;
    let mut request = Request::new(ReceiverStream::new(outgoing));
    if let Some(token) = &plan.token {
        let bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| End::Lost("the token cannot be sent in a header".to_owned()))?;
        request.metadata_mut().insert("authorization", bearer); // R3
    }
    let mut incoming = connect(channel, request).await.map_err(refused)?;
    let first = incoming.message().await.map_err(refused)?;
    let first = first.and_then(|batch| batch.frames.into_iter().next()?.frame);
    match first {
        Some(firn_frame::Frame::Welcome(welcome)) => Ok((incoming, welcome)),
        Some(firn_frame::Frame::Refusal(refusal)) => {
            let findings = refusal.findings.into_iter().map(Finding::from);
            Err(End::Refused(findings.collect()))
        }
        _ => Err(End::Lost("Firn sent no Welcome".to_owned())),
    }
}

async fn connect(
    channel: Channel,
    request: Request<ReceiverStream<FunctionBatch>>,
) -> Result<Incoming, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(BATCH_BYTES);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(with_causes(&error)))?;
    let path = http::uri::PathAndQuery::from_static("/firn.v1.Functions/Connect");
    let response = grpc.streaming(request, path, ProstCodec::default()).await?;
    Ok(response.into_inner())
}

fn endpoint(plan: &Plan) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(plan.address.text().to_owned())?
        .connect_timeout(DIAL)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    #[cfg(feature = "tls")]
    if plan.address.kind == Kind::Tls {
        use tonic::transport::{Certificate, ClientTlsConfig};
        let tls = match &plan.authority {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        return endpoint.tls_config(tls);
    }
    Ok(endpoint)
}

/// A call that ended with a status and a code was refused; any other was lost.
fn refused(status: Status) -> End {
    let code = status.metadata().get("firn-code");
    let code = code.and_then(|code| code.to_str().ok());
    match code {
        Some(code) => End::Refused(vec![Finding {
            code: code.to_owned(),
            text: status.message().to_owned(),
            remedy: String::new(),
            service: String::new(),
            location: String::new(),
        }]),
        None => End::Lost(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// Carries frames until the end.
async fn carry(
    plan: &Plan,
    stop: &mut watch::Receiver<bool>,
    mut session: Session,
    batches: Batches,
    mut incoming: Incoming,
) -> End {
    let mut ends_at: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop), if ends_at.is_none() => {
                session.say_goodbye(); // R90
                ends_at = Some(Instant::now() + plan.stop_within);
            }
            () = sleep_until(ends_at.unwrap_or_else(Instant::now)), if ends_at.is_some() => {
                return End::Stopped;
            }
            room = room(&batches), if session.has_output() => room.send(session.batch()),
            batch = incoming.message() => match batch {
                Ok(Some(batch)) => {
                    let now = Instant::now();
                    for frame in batch.frames {
                        // R6: a frame of an unknown kind is none.
                        let Some(frame) = frame.frame else { continue };
                        if let Err(broken) = session.on_frame(frame, now) {
                            return End::Lost(broken.to_string());
                        }
                    }
                    session.run_ready_handlers();
                }
                Ok(None) if ends_at.is_some() => return End::Stopped,
                Ok(None) => return End::Ended,
                Err(_) if ends_at.is_some() && session.is_over() => return End::Stopped,
                Err(status) => return refused(status),
            },
            () = session.run_handlers() => {}
        }
    }
}

/// Room for a batch.
async fn room(batches: &Batches) -> mpsc::Permit<'_, FunctionBatch> {
    match batches.reserve().await {
        Ok(room) => room,
        // The transport is gone; the other direction tells how.
        Err(_) => std::future::pending().await,
    }
}

/// An error with all of its causes: the outermost of a transport says little.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
