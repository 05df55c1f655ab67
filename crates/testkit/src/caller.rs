//! Callers of the methods that tests play: one request for one text, or messages both ways.
//!
//! All methods of the models of the tests take a [`Request`] and give a [`Response`].

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap};
use tonic::{Code, Status};

use crate::client::Client;
use crate::function::within;

/// The request of every method of a model.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Names the entity.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Anything.
    #[prost(string, tag = "2")]
    pub text: String,
}

/// The response of every method of a model.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// Anything.
    #[prost(string, tag = "1")]
    pub message: String,
}

/// A request with this id and text.
pub fn request(id: &str, text: &str) -> Request {
    Request {
        id: id.to_owned(),
        text: text.to_owned(),
    }
}

/// The text of a response.
///
/// # Panics
/// If it is none.
pub fn text(message: &Bytes) -> String {
    let response = Response::decode(message.clone()).expect("a response");
    response.message
}

/// Headers of text.
///
/// # Panics
/// If they are none.
pub fn headers(entries: &[(&str, &str)]) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in entries {
        let name: MetadataKey<Ascii> = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    headers
}

/// What a call that went well gave.
#[derive(Debug)]
pub struct Answered {
    /// What came before the messages.
    pub headers: MetadataMap,
    /// The messages.
    pub messages: Vec<Bytes>,
}

/// A call under way. Dropping it does not cancel it.
pub struct Call(JoinHandle<Result<Answered, Status>>);

impl Call {
    /// Calls the method at a path with one request.
    pub fn begin(client: &Client, path: &str, message: Bytes, headers: MetadataMap) -> Self {
        let (client, path) = (client.clone(), path.to_owned());
        Self(tokio::spawn(async move {
            let mut request = tonic::Request::new(futures_util::stream::iter([message]));
            *request.metadata_mut() = headers;
            let response = client.stream(&path, request).await?;
            let headers = response.metadata().clone();
            let mut messages = Vec::new();
            let mut stream = response.into_inner();
            while let Some(message) = stream.message().await? {
                messages.push(message);
            }
            Ok(Answered { headers, messages })
        }))
    }

    /// Whether the caller has its answer. Only ever asked where it cannot have one yet.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for whichever of two calls ends first: its outcome, and the other.
    ///
    /// # Panics
    /// If neither ends.
    pub async fn first(mut one: Self, mut other: Self) -> (Result<Answered, Status>, Self) {
        let first = async {
            tokio::select! {
                outcome = &mut one.0 => (outcome, other),
                outcome = &mut other.0 => (outcome, one),
            }
        };
        let (outcome, left) = within("the answer to a call", first).await;
        (outcome.expect("a task"), left)
    }

    /// Cancels it, as a client that goes away does.
    pub fn cancel(self) {
        self.0.abort();
    }

    /// Its outcome.
    ///
    /// # Errors
    /// The status of a call that failed.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn outcome(self) -> Result<Answered, Status> {
        within("the answer to a call", self.0)
            .await
            .expect("a task")
    }

    /// Everything that it answers.
    ///
    /// # Panics
    /// If it fails.
    pub async fn answered(self) -> Answered {
        self.outcome()
            .await
            .unwrap_or_else(|status| panic!("failed with {status:?}"))
    }

    /// Expects one reply with this message.
    ///
    /// # Panics
    /// If it has another.
    pub async fn replies(self, message: &str) {
        let answered = self.answered().await;
        let texts: Vec<String> = answered.messages.iter().map(text).collect();
        assert_eq!(texts, [message]);
    }

    /// Expects a failure with this status and text, and gives all of it.
    ///
    /// # Panics
    /// If it ends otherwise.
    pub async fn fails(self, code: Code, text: &str) -> Status {
        let status = self.outcome().await.expect_err("a failure");
        assert_eq!((status.code(), status.message()), (code, text));
        status
    }

    /// Expects a failure with this status and code of Firn, and gives all of it.
    ///
    /// # Panics
    /// If it ends otherwise.
    pub async fn is_refused(self, code: Code, firn_code: &str) -> Status {
        let status = self.outcome().await.expect_err("a failure");
        assert_eq!(
            (status.code(), firn_code_of(&status)),
            (code, firn_code),
            "{status:?}"
        );
        status
    }
}

/// The code of Firn that a status has; empty if it has none.
pub fn firn_code_of(status: &Status) -> &str {
    let code = status.metadata().get("firn-code");
    code.and_then(|code| code.to_str().ok()).unwrap_or_default()
}

/// A call with messages in both directions under way.
pub struct Talk {
    requests: mpsc::Sender<Bytes>,
    replies: mpsc::Receiver<Result<String, Status>>,
    task: JoinHandle<()>,
}

/// How many messages a talk holds each way.
const MESSAGES: usize = 16;

impl Talk {
    /// Calls the method at a path.
    pub fn begin(client: &Client, path: &str) -> Self {
        let (client, path) = (client.clone(), path.to_owned());
        let (requests, to_send) = mpsc::channel(MESSAGES);
        let (received, replies) = mpsc::channel(MESSAGES);
        let task = tokio::spawn(async move {
            let requests = futures_util::stream::unfold(to_send, |mut to_send| async {
                let message: Bytes = to_send.recv().await?;
                Some((message, to_send))
            });
            let mut stream = match client.stream(&path, tonic::Request::new(requests)).await {
                Ok(response) => response.into_inner(),
                Err(status) => return drop(received.send(Err(status)).await),
            };
            while let Some(item) = stream.message().await.transpose() {
                let item = item.map(|message| text(&message));
                if received.send(item).await.is_err() {
                    return;
                }
            }
        });
        Self {
            requests,
            replies,
            task,
        }
    }

    /// Sends a request.
    ///
    /// # Panics
    /// If the call has ended.
    pub async fn say(&self, request: Request) {
        let message = request.encode_to_vec().into();
        self.requests.send(message).await.expect("a call under way");
    }

    /// Says that no more requests come.
    pub fn half_close(&mut self) {
        self.requests = mpsc::channel(1).0;
    }

    /// Expects a reply with this message.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn hears(&mut self, message: &str) {
        let reply = within("a reply", self.replies.recv()).await;
        let reply = reply.expect("a reply, not the end").expect("a reply");
        assert_eq!(reply, message);
    }

    /// Expects the call to end well.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn ends(mut self) {
        let end = within("the end of a call", self.replies.recv()).await;
        assert!(end.is_none(), "{end:?}");
    }

    /// Expects the call to fail with this status and text, and gives all of it.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn fails(mut self, code: Code, text: &str) -> Status {
        let end = within("the end of a call", self.replies.recv()).await;
        let status = end.expect("a status").expect_err("a failure");
        assert_eq!((status.code(), status.message()), (code, text));
        status
    }

    /// Expects the call to fail with this status and code of Firn.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn is_refused(mut self, code: Code, firn_code: &str) {
        let end = within("the end of a call", self.replies.recv()).await;
        let status = end.expect("a status").expect_err("a failure");
        assert_eq!((status.code(), firn_code_of(&status)), (code, firn_code));
    }

    /// Cancels it, as a client that goes away does.
    pub fn cancel(&self) {
        self.task.abort();
    }
}
