//! One gRPC call from the proxy, as frames: what came, half-close and reset told apart.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::mpsc;

use super::WAIT;
use super::journal::{Journal, Record};

/// What the proxy did on a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Inbound {
    Message(Bytes),
    HalfClose,
    Reset,
    /// The whole connection ended.
    Gone,
}

/// What the function does on it.
#[derive(Debug)]
enum Outbound {
    Message(Bytes),
    End { code: i32, text: String },
}

/// A call in the hands of a test. Dropping it resets the call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    inbound: mpsc::UnboundedReceiver<Inbound>,
    outbound: mpsc::UnboundedSender<Outbound>,
    seen: Vec<Inbound>,
}

impl Call {
    /// A call in two halves: for the test, and for whoever carries its frames.
    pub(super) fn new(request: Request<RecvStream>) -> (Self, Carrier) {
        let (head, body) = request.into_parts();
        let (received, inbound) = mpsc::unbounded_channel();
        let (outbound, to_send) = mpsc::unbounded_channel();
        let path = head.uri.path().to_owned();
        let carrier = Carrier {
            path: path.clone(),
            body,
            received,
            to_send,
        };
        let call = Self {
            path,
            headers: head.headers,
            inbound,
            outbound,
            seen: Vec::new(),
        };
        (call, carrier)
    }

    /// What the proxy does next.
    pub(super) async fn next(&mut self) -> Inbound {
        match tokio::time::timeout(WAIT, self.inbound.recv()).await {
            Ok(Some(inbound)) => {
                self.seen.push(inbound.clone());
                inbound
            }
            Ok(None) => panic!(
                "{}: nothing can come any more after {:?}",
                self.path, self.seen
            ),
            Err(_) => panic!(
                "{}: waited {WAIT:?}, but nothing came after {:?}",
                self.path, self.seen
            ),
        }
    }

    pub(super) fn send(&self, message: Bytes) {
        // A call that is over takes nothing; the next expectation shows it.
        let _ = self.outbound.send(Outbound::Message(message));
    }

    pub(super) fn end(&self, code: i32, text: &str) {
        let text = text.to_owned();
        let _ = self.outbound.send(Outbound::End { code, text });
    }
}

/// The half of a call that holds its stream.
pub(super) struct Carrier {
    path: String,
    body: RecvStream,
    received: mpsc::UnboundedSender<Inbound>,
    to_send: mpsc::UnboundedReceiver<Outbound>,
}

impl Carrier {
    /// Carries frames in both directions until the call is over.
    pub(super) async fn run(mut self, respond: SendResponse<Bytes>, journal: Arc<Journal>) {
        journal.add(Record::Opened(self.path.clone()));
        let mut frames = Frames::default();
        let mut sending = Sending::NotYet(respond);
        let mut reading = true;
        loop {
            tokio::select! {
                biased;
                data = self.body.data(), if reading => match data {
                    Some(Ok(data)) => {
                        // The window is given back whatever becomes of the call.
                        let _ = self.body.flow_control().release_capacity(data.len());
                        for message in frames.add(data) {
                            let _ = self.received.send(Inbound::Message(message));
                        }
                    }
                    Some(Err(error)) => return self.broken(error.is_reset(), &journal),
                    None => {
                        journal.add(Record::HalfClosed(self.path.clone()));
                        let _ = self.received.send(Inbound::HalfClose);
                        reading = false;
                    }
                },
                out = self.to_send.recv(), if !matches!(sending, Sending::Done) => match out {
                    Some(Outbound::Message(message)) => sending = sending.message(message),
                    Some(Outbound::End { code, text }) => sending = sending.end(code, &text),
                    None => {
                        sending.reset();
                        return;
                    }
                },
                reset = sending.watch(), if !reading => return self.broken(reset, &journal),
            }
            if !reading && matches!(sending, Sending::Done) {
                return;
            }
        }
    }

    fn broken(&self, reset: bool, journal: &Journal) {
        if !reset {
            let _ = self.received.send(Inbound::Gone);
            return;
        }
        journal.add(Record::Reset(self.path.clone()));
        let _ = self.received.send(Inbound::Reset);
    }
}

/// How far the answer has come.
enum Sending {
    NotYet(SendResponse<Bytes>),
    Headers(SendStream<Bytes>),
    Done,
}

impl Sending {
    /// Sends a message; the first takes the headers with it, as most servers do.
    fn message(self, message: Bytes) -> Self {
        let mut stream = match self {
            Self::NotYet(mut respond) => match respond.send_response(head(None), false) {
                Ok(stream) => stream,
                Err(_) => return Self::Done,
            },
            Self::Headers(stream) => stream,
            Self::Done => return Self::Done,
        };
        match stream.send_data(framed(&message), false) {
            Ok(()) => Self::Headers(stream),
            Err(_) => Self::Done,
        }
    }

    fn end(self, code: i32, text: &str) -> Self {
        // A call that was reset meanwhile takes no end.
        let _ = match self {
            Self::NotYet(mut respond) => respond
                .send_response(head(Some((code, text))), true)
                .map(drop),
            Self::Headers(mut stream) => {
                let mut trailers = HeaderMap::new();
                status(&mut trailers, code, text);
                stream.send_trailers(trailers)
            }
            Self::Done => Ok(()),
        };
        Self::Done
    }

    fn reset(self) {
        match self {
            Self::NotYet(mut respond) => respond.send_reset(Reason::INTERNAL_ERROR),
            Self::Headers(mut stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            Self::Done => {}
        }
    }

    /// Waits for the proxy to reset the call; gives whether it did, or the connection ended.
    async fn watch(&mut self) -> bool {
        let reset = match self {
            Self::NotYet(respond) => poll_fn(|cx| respond.poll_reset(cx)).await,
            Self::Headers(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            Self::Done => std::future::pending().await,
        };
        reset.is_ok()
    }
}

/// A whole call of one message each way, for those that a test does not play.
pub(super) async fn request(request: Request<RecvStream>) -> (HeaderMap, Option<Bytes>) {
    let (head, mut body) = request.into_parts();
    let mut frames = Frames::default();
    let mut messages = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        messages.extend(frames.add(data));
    }
    (head.headers, messages.into_iter().next())
}

/// Answers such a call.
pub(super) fn answer(respond: SendResponse<Bytes>, answer: Result<Bytes, (i32, &str)>) {
    let sending = Sending::NotYet(respond);
    match answer {
        Ok(message) => sending.message(message).end(0, ""),
        Err((code, text)) => sending.end(code, text),
    };
}

/// Answers a call as an HTTP server that knows no gRPC.
pub(super) fn not_found(mut respond: SendResponse<Bytes>) {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    // The proxy may have gone.
    let _ = respond.send_response(response, true);
}

/// Response headers; with a status if there is nothing else.
fn head(only: Option<(i32, &str)>) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/grpc+proto");
    headers.insert(http::header::CONTENT_TYPE, content_type);
    if let Some((code, text)) = only {
        status(headers, code, text);
    }
    response
}

fn status(headers: &mut HeaderMap, code: i32, text: &str) {
    headers.insert("grpc-status", HeaderValue::from(code));
    if !text.is_empty() {
        headers.insert(
            "grpc-message",
            HeaderValue::from_str(text).expect("plain text"),
        );
    }
}

/// A message with its length in front.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
    frame.put_slice(message);
    frame.freeze()
}

/// Messages out of data that is cut anywhere.
#[derive(Default)]
struct Frames(BytesMut);

impl Frames {
    fn add(&mut self, data: Bytes) -> VecDeque<Bytes> {
        self.0.extend_from_slice(&data);
        let mut messages = VecDeque::new();
        while self.0.len() >= 5 {
            let length = (&self.0[1..5]).get_u32() as usize;
            if self.0.len() < length + 5 {
                break;
            }
            assert_eq!(self.0[0], 0, "the proxy compresses what it sends");
            self.0.advance(5);
            messages.push_back(self.0.split_to(length).freeze());
        }
        messages
    }
}
