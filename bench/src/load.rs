//! Load: unary gRPC calls over HTTP/2, a fixed number of them in flight.
//!
//! It stands on `h2` itself, so that it costs little beside what it measures; what it costs is told
//! with each run. Closed loop: the next call begins when the last was answered, so a slow server is
//! asked less, and the times say nothing about how long a caller waits who does not wait its turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::rig::processor_time;

/// A connection on which calls are made.
#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    server: SocketAddr,
}

impl Client {
    /// Connects; the connection lives as long as the client and its clones.
    pub(crate) async fn connect(server: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(socket).await?;
        // It ends with the last sender.
        tokio::spawn(connection);
        Ok(Self { sender, server })
    }

    /// One unary call; its answer is counted, not read.
    pub(crate) async fn call(&self, path: &str, message: &impl Message) -> Result<()> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.server.to_string())
            .path_and_query(path)
            .build()?;
        self.send(uri, framed(message)).await
    }

    async fn send(&self, uri: Uri, frame: Bytes) -> Result<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(frame, true)?;
        let (head, mut body) = response.await?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return succeeded(&head.headers);
        }
        while let Some(data) = body.data().await {
            let _ = body.flow_control().release_capacity(data?.len());
        }
        succeeded(&body.trailers().await?.context("no trailers")?)
    }
}

/// A message with its length in front.
fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    message
        .encode(&mut frame)
        .expect("a buffer that grows takes every message");
    frame.freeze()
}

fn succeeded(headers: &HeaderMap) -> Result<()> {
    let text = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    ensure!(
        text("grpc-status") == "0",
        "status {}: {}",
        text("grpc-status"),
        text("grpc-message")
    );
    Ok(())
}

/// How a server is loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Over so many connections.
    pub(crate) connections: usize,
    /// So many calls at once, on all connections together.
    pub(crate) in_flight: usize,
    /// Before anything is counted.
    pub(crate) warm: Duration,
    /// While it is counted.
    pub(crate) measured: Duration,
}

/// What came of a load.
pub(crate) struct Outcome {
    /// Calls in a second.
    pub(crate) rate: f64,
    /// How long each took, in milliseconds, in order of length.
    times: Vec<f64>,
    /// The processor time for each call of the processes that were asked about, in microseconds.
    pub(crate) processor_us: Vec<f64>,
    /// The same for this process, which makes the load.
    pub(crate) own_processor_us: f64,
}

impl Outcome {
    /// The time that this part of the calls, of 1, took at most, in milliseconds.
    pub(crate) fn time_ms(&self, part: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let index = (last as f64 * part).round() as usize;
        self.times.get(index).copied().unwrap_or_default()
    }
}

/// Phases of a load, as its callers see them.
const WARM: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// Loads a server with calls of a method; `message` makes the message of each call by its number.
///
/// # Errors
/// The first call that fails ends the load.
pub(crate) async fn run<M: Message + 'static>(
    server: SocketAddr,
    path: &'static str,
    message: fn(u64) -> M,
    load: Load,
    processes: &[u32],
) -> Result<Outcome> {
    let phase = Arc::new(AtomicU8::new(WARM));
    let number = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..load.connections {
        clients.push(Client::connect(server).await?);
    }
    let uri: Uri = format!("http://{server}{path}").parse()?;
    let mut callers = JoinSet::new();
    for index in 0..load.in_flight {
        let client = clients[index % clients.len()].clone();
        let (phase, number, uri) = (phase.clone(), number.clone(), uri.clone());
        callers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let frame = framed(&message(number.fetch_add(1, Ordering::Relaxed)));
                let start = Instant::now();
                client.send(uri.clone(), frame).await?;
                match phase.load(Ordering::Relaxed) {
                    WARM => {}
                    MEASURED => times.push(start.elapsed().as_secs_f64() * 1e3),
                    _ => return anyhow::Ok(times),
                }
            }
        });
    }
    let used = || -> Result<Vec<f64>> {
        let own = [std::process::id()];
        let all = processes.iter().chain(&own);
        all.map(|it| Ok(processor_time(*it)?.as_secs_f64()))
            .collect()
    };
    pause(load.warm, &mut callers).await?;
    phase.store(MEASURED, Ordering::Relaxed);
    let (start, before) = (Instant::now(), used()?);
    pause(load.measured, &mut callers).await?;
    phase.store(OVER, Ordering::Relaxed);
    let (elapsed, after) = (start.elapsed(), used()?);
    let mut times = Vec::new();
    while let Some(ended) = callers.join_next().await {
        times.extend(ended??);
    }
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    let mut processor_us: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) * 1e6 / count)
        .collect();
    Ok(Outcome {
        rate: count / elapsed.as_secs_f64(),
        times,
        own_processor_us: processor_us.pop().unwrap_or_default(),
        processor_us,
    })
}

/// Lets the callers work; one that ends has failed.
async fn pause(time: Duration, callers: &mut JoinSet<Result<Vec<f64>>>) -> Result<()> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        Some(ended) = callers.join_next() => {
            ended??;
            bail!("a caller ended before its time")
        }
    }
}

/// Makes each of these calls once, so many at once.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn each<M: Message + 'static>(
    client: &Client,
    path: &'static str,
    messages: impl Iterator<Item = M>,
    in_flight: usize,
) -> Result<()> {
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    for message in messages {
        while calls.len() >= in_flight {
            calls.join_next().await.context("a call")???;
        }
        let client = client.clone();
        calls.spawn(async move { client.call(path, &message).await });
    }
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok(())
}
