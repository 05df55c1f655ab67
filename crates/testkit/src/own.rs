//! A function of Firn's own protocol, firn.v1, that the test plays frame by frame.
//!
//! A [`Connection`] dials a function port and sends exactly what the test says. [`message`] has the
//! frames in few words, [`declare`] contracts from a few lines of proto.
//!
//! # How it works
//! Batches are sent and taken as bytes, so that a test may send what is none. Frames that come in
//! pieces are put together, and counted.

pub mod declare;
pub mod message;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use firn_wire::v1::chunk::{Assembler, Taken, Transfer};
use firn_wire::v1::message::firn_frame::Frame;
use firn_wire::v1::message::{
    CallResult, Command, Contract, FirnBatch, FirnFrame, FunctionBatch, FunctionFrame, Notice,
    Welcome, function_frame,
};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::caller::{firn_code_of, headers};
use crate::client::Client;
use crate::function::within;
use crate::own::message::Framed;

/// The path of the protocol's one method.
pub const CONNECT: &str = "/firn.v1.Functions/Connect";

/// The largest frame that the played function takes.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Where and how a function dials.
#[derive(Debug, Clone)]
pub enum Dial {
    /// Plain text over TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
    /// TLS over TCP, to whoever shows this certificate for `localhost`.
    Tls {
        /// The port.
        address: SocketAddr,
        /// The certificate, in PEM.
        certificate: PathBuf,
    },
}

impl Dial {
    /// Opens an HTTP/2 connection.
    ///
    /// # Errors
    /// Whatever the other side did not like.
    pub async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let dial = self.clone();
        let connector = tower::service_fn(move |_| {
            let dial = dial.clone();
            async move { dial.socket().await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
    }

    async fn socket(&self) -> std::io::Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tls {
                address,
                certificate,
            } => {
                let mut roots = RootCertStore::empty();
                let trusted = CertificateDer::from_pem_file(certificate).expect("a certificate");
                roots.add(trusted).expect("a certificate to trust");
                let mut config = ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                config.alpn_protocols = vec![b"h2".to_vec()];
                let name = ServerName::try_from("localhost").expect("a name");
                let socket = TcpStream::connect(address).await?;
                let connector = TlsConnector::from(Arc::new(config));
                Box::new(connector.connect(name, socket).await?)
            }
        })
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// One connection of a function. Dropping it ends it without a word.
pub struct Connection {
    outgoing: mpsc::UnboundedSender<Bytes>,
    incoming: Streaming<Bytes>,
    waiting: VecDeque<FirnFrame>,
    assembler: Assembler,
    pieces: usize,
    transfers: u64,
    /// What Firn granted; empty before.
    pub welcome: Welcome,
}

impl Connection {
    /// Calls `Connect` with these headers, and sends nothing yet.
    ///
    /// # Errors
    /// The status of a call that ends at once.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open(dial: &Dial, headers: MetadataMap) -> Result<Self, Status> {
        let channel = dial.channel().await.expect("a connection");
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let batches = futures_util::stream::unfold(to_send, |mut to_send| async {
            let batch: Bytes = to_send.recv().await?;
            Some((batch, to_send))
        });
        let mut request = tonic::Request::new(batches);
        *request.metadata_mut() = headers;
        let client = Client::over(channel);
        let call = client.stream(CONNECT, request);
        Ok(Self {
            outgoing,
            incoming: within("the head of a call", call).await?.into_inner(),
            waiting: VecDeque::new(),
            assembler: Assembler::new(FRAME_BYTES_MAX),
            pieces: 0,
            transfers: 0,
            welcome: Welcome::default(),
        })
    }

    /// Dials, and is taken with this contract.
    ///
    /// # Panics
    /// If it is not taken.
    pub async fn joined(dial: &Dial, contract: &Contract) -> Self {
        Self::joined_with(dial, message::hello(contract)).await
    }

    /// Dials, and is taken with this Hello.
    ///
    /// # Panics
    /// If it is not taken.
    pub async fn joined_with(dial: &Dial, hello: firn_wire::v1::message::Hello) -> Self {
        let opened = Self::open(dial, headers(&[])).await;
        let mut connection = opened.expect("a call that goes on");
        connection.send(function_frame::Frame::Hello(hello));
        match connection.next().await {
            Frame::Welcome(welcome) => connection.welcome = welcome,
            other => panic!("expected a Welcome, got {other:?}"),
        }
        connection
    }

    /// Sends a frame, in a batch of its own.
    pub fn send(&self, frame: impl Framed<function_frame::Frame>) {
        self.send_all([frame.framed()]);
    }

    /// Sends frames in one batch.
    pub fn send_all(&self, frames: impl IntoIterator<Item = function_frame::Frame>) {
        let frames = frames
            .into_iter()
            .map(|frame| FunctionFrame { frame: Some(frame) });
        let batch = FunctionBatch {
            frames: frames.collect(),
        };
        self.send_bytes(batch.encode_to_vec());
    }

    /// Sends bytes where a batch is expected.
    pub fn send_bytes(&self, bytes: impl Into<Bytes>) {
        // Where the call has ended already, that is what the test sees next.
        let _ = self.outgoing.send(bytes.into());
    }

    /// A frame in pieces of at most `size` bytes, about `subject`.
    pub fn cut(
        &mut self,
        frame: impl Framed<function_frame::Frame>,
        subject: u64,
        size: usize,
    ) -> Vec<function_frame::Frame> {
        let frame = FunctionFrame {
            frame: Some(frame.framed()),
        };
        self.transfers += 1;
        let encoded = Bytes::from(frame.encode_to_vec());
        let mut transfer = Transfer::new(self.transfers, subject, encoded, size);
        let mut pieces = Vec::new();
        loop {
            let chunk = transfer.next_chunk();
            let last = chunk.last;
            pieces.push(function_frame::Frame::Chunk(chunk));
            if last {
                return pieces;
            }
        }
    }

    /// Sends nothing any more, and still takes what comes.
    pub fn half_close(&mut self) {
        self.outgoing = mpsc::unbounded_channel().0;
    }

    /// How many pieces have come so far.
    pub fn pieces(&self) -> usize {
        self.pieces
    }

    /// The next whole frame, or the end.
    ///
    /// # Errors
    /// The status with which the call ended.
    pub async fn frame(&mut self) -> Result<Option<Frame>, Status> {
        loop {
            let Some(frame) = self.waiting.pop_front() else {
                let Some(batch) = within("a batch", self.incoming.message()).await? else {
                    return Ok(None);
                };
                self.waiting = FirnBatch::decode(batch).expect("a batch").frames.into();
                continue;
            };
            let Some(Frame::Chunk(chunk)) = frame.frame else {
                return Ok(frame.frame);
            };
            self.pieces += 1;
            assert!(chunk.data.len() <= self.welcome.chunk_bytes as usize);
            match self.assembler.take(chunk).expect("a piece") {
                Taken::Part => {}
                Taken::Frame(bytes) => {
                    let frame = FirnFrame::decode(bytes).expect("a frame");
                    return Ok(frame.frame);
                }
                Taken::TooLarge { subject, .. } => panic!("the frame about {subject} is too large"),
            }
        }
    }

    /// The next whole frame.
    ///
    /// # Panics
    /// If there is none.
    pub async fn next(&mut self) -> Frame {
        let frame = self.frame().await.expect("a frame, not a failure");
        frame.expect("a frame, not the end")
    }

    /// Expects exactly this next. What a command's caller has left is looked at, and not compared.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn expect(&mut self, frame: impl Framed<Frame>) {
        let mut next = self.next().await;
        if let Frame::Command(command) = &mut next {
            assert!(command.timeout_ms <= 60_000, "{command:?}");
            command.timeout_ms = 0;
        }
        assert_eq!(next, frame.framed());
    }

    /// Expects some command next.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn command(&mut self) -> Command {
        match self.next().await {
            Frame::Command(command) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    /// Expects a notice with this code about this command next.
    ///
    /// # Panics
    /// If something else comes, or the notice says nothing to a person.
    pub async fn notice(&mut self, code: &str, command: u64) -> Notice {
        match self.next().await {
            Frame::Notice(notice) => {
                let finding = notice.finding.as_ref().expect("a finding");
                assert_eq!((finding.code.as_str(), notice.command), (code, command));
                assert!(!finding.text.is_empty() && !finding.remedy.is_empty());
                notice
            }
            other => panic!("expected a notice with {code}, got {other:?}"),
        }
    }

    /// Expects the result of a call next.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn call_result(&mut self) -> CallResult {
        match self.next().await {
            Frame::CallResult(result) => result,
            other => panic!("expected the result of a call, got {other:?}"),
        }
    }

    /// Expects the call to end well.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn ends(mut self) {
        let end = self.frame().await;
        assert!(matches!(end, Ok(None)), "{end:?}");
    }

    /// Expects the call to end with this status and code of Firn, and gives all of it.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn is_refused(mut self, code: Code, firn_code: &str) -> Status {
        let status = self.frame().await.expect_err("a failure");
        assert_eq!(
            (status.code(), firn_code_of(&status)),
            (code, firn_code),
            "{status:?}"
        );
        status
    }
}
