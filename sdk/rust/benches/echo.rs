//! The SDK's processor time for a command, beside that of a bare tonic server for a unary echo:
//! `cargo bench -p firn-sdk`. Ratios of one run count, not the numbers.
//!
//! Both serve on a thread of their own, whose processor time is read. The load has 64 in flight.

#[path = "../tests/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use firn_sdk::Function;
use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use support::contract::*;
use support::*;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response};
use tonic_prost::ProstCodec;
use tower::service_fn;

const IN_FLIGHT: usize = 64;
const CALLS: usize = 300_000;
const ROUNDS: usize = 3;
const PATH: &str = "/t.Plain/Echo";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The processor time of this thread.
fn spent() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// A thread that serves until it is told to end, and then tells its processor time.
struct Thread {
    end: oneshot::Sender<()>,
    thread: thread::JoinHandle<Duration>,
}

impl Thread {
    fn ended(self) -> Duration {
        self.end.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

fn echo_server() -> (Thread, SocketAddr) {
    let (end, ended) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let incoming = TcpListenerStream::new(listener);
            let service = service_fn(|call: http::Request<Body>| async {
                let echo = |request: Request<Ask>| async {
                    Ok(Response::new(text(&request.into_inner().text)))
                };
                let mut grpc = Grpc::new(ProstCodec::<Text, Ask>::default());
                Ok::<_, Infallible>(grpc.unary(service_fn(echo), call).await)
            });
            let served = Server::builder().serve_with_incoming(service, incoming);
            tokio::select! {
                served = served => served.unwrap(),
                _ = ended => {}
            }
        });
        spent()
    });
    (Thread { end, thread }, told.recv().unwrap())
}

async fn call_echo(channel: Channel, calls: usize) {
    let mut grpc = tonic::client::Grpc::new(channel);
    for _ in 0..calls {
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(PATH);
        let codec = ProstCodec::<Ask, Text>::default();
        grpc.unary(Request::new(ask("hello")), path, codec)
            .await
            .unwrap();
    }
}

/// Time and processor time for a call of the echo.
fn echo() -> (Duration, Duration) {
    let (server, address) = echo_server();
    let begun = Instant::now();
    runtime().block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let calls = (0..IN_FLIGHT).map(|_| call_echo(channel.clone(), CALLS / IN_FLIGHT));
        join_all(calls).await;
    });
    (begun.elapsed(), server.ended())
}

fn function(address: String) -> Thread {
    let (end, ended) = oneshot::channel();
    let thread = thread::spawn(move || {
        runtime().block_on(async {
            let function = Function::new("bench", "1").add(plain()).address(address);
            let running = function.start().unwrap();
            let _ = ended.await;
            drop(running);
        });
        spent()
    });
    Thread { end, thread }
}

/// Time and processor time for a command of the SDK.
fn sdk() -> (Duration, Duration) {
    runtime().block_on(async {
        let mut firn = FakeFirn::listen().await;
        let function = function(firn.address.clone());
        let mut connection = firn.welcome().await;
        let begun = Instant::now();
        let command = |id| In::Command(command(id, (0, 0), 0, &ask("hello")));
        let mut next = IN_FLIGHT as u64;
        connection.send((1..=next).map(command)).await;
        let mut decided = 0;
        while decided < CALLS {
            // As many as have come are replaced at once, as Firn does.
            let ready = connection.ready_decisions().await;
            decided += ready;
            let from = next + 1;
            next += ready as u64;
            connection.send((from..=next).map(command)).await;
        }
        (begun.elapsed(), function.ended())
    })
}

fn main() {
    let per_call = |spent: Duration| spent.as_secs_f64() * 1e6 / CALLS as f64;
    for _ in 0..ROUNDS {
        let (echo, echo_spent) = echo();
        let (sdk, sdk_spent) = sdk();
        println!(
            "echo {:.2} us, {:.2} us processor; sdk {:.2} us, {:.2} us processor: {:.2} times the \
             commands for each processor second",
            per_call(echo),
            per_call(echo_spent),
            per_call(sdk),
            per_call(sdk_spent),
            echo_spent.as_secs_f64() / sdk_spent.as_secs_f64(),
        );
    }
}
