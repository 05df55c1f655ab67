//! A Firn, a function that the test plays, and a client: what every sequence begins with.

use std::path::PathBuf;

use bytes::Bytes;
use firn_testkit::client::{self, Answer, Client};
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::function::declare::Declaration;
use firn_testkit::function::message::any;
use firn_testkit::function::{Function, within};
use firn_wire::dialect::{Dialect, Family};
use firn_wire::superset::Any;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap};
use tonic::{Code, Status};

/// The request of every method of the model.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
}

/// The response of every method of the model.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

/// What entities of the model keep.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kept {
    #[prost(string, tag = "1")]
    pub(crate) value: String,
}

pub(crate) fn request(id: &str, text: &str) -> Request {
    Request {
        id: id.to_owned(),
        text: text.to_owned(),
    }
}

/// A request as the function gets it.
pub(crate) fn asked(id: &str, text: &str) -> Any {
    any("model.Request", &request(id, text))
}

/// A response as the function gives it.
pub(crate) fn said(message: &str) -> Any {
    let message = message.to_owned();
    any("model.Response", &Response { message })
}

/// A state, an event or a snapshot.
pub(crate) fn kept(value: &str) -> Any {
    let value = value.to_owned();
    any("model.Kept", &Kept { value })
}

/// The model's proto text in the words of a dialect.
pub(crate) fn model(dialect: &Dialect) -> String {
    let (options, key) = match dialect.family {
        Family::Cloudstate => ("cloudstate/entity_key.proto", "(.cloudstate.entity_key)"),
        Family::AkkaServerless => (
            "akkaserverless/annotations.proto",
            "(akkaserverless.field).entity_key",
        ),
        Family::Kalix => ("kalix/annotations.proto", "(kalix.field).entity_key"),
    };
    let generated = match dialect.family {
        Family::Kalix => include_str!("generated.proto"),
        Family::Cloudstate | Family::AkkaServerless => "",
    };
    include_str!("model.proto")
        .replace("// GENERATED", generated)
        .replace("OPTIONS", options)
        .replace("ENTITY_KEY", key)
}

/// A function with every component of the model.
pub(crate) fn whole(dialect: &'static Dialect) -> Declaration {
    let declaration = Declaration::new(dialect, &model(dialect))
        .event_sourced("model.Journal", "journal")
        .event_sourced("model.JournalTwo", "journal-two")
        .action("model.Doing")
        .action("model.DoingTwo");
    if dialect.value.is_none() {
        return declaration;
    }
    declaration
        .value("model.Register", "register")
        .value("model.RegisterTwo", "register-two")
}

/// Everything that a sequence needs.
pub(crate) struct World {
    pub(crate) function: Function,
    pub(crate) firn: Firn,
    client: Client,
}

impl World {
    /// A Firn that serves this.
    pub(crate) async fn of(declaration: &Declaration) -> Self {
        Self::with(declaration, &[]).await
    }

    /// A Firn with further arguments that serves this.
    pub(crate) async fn with(declaration: &Declaration, args: &[&str]) -> Self {
        Self::beside(Function::start(declaration), args).await
    }

    /// A Firn with further arguments that serves this function.
    pub(crate) async fn beside(function: Function, args: &[&str]) -> Self {
        let firn = Firn::serving(setup(&function, args));
        Self::around(function, firn).await
    }

    /// A Firn with further arguments that may be waiting for this function.
    pub(crate) async fn waiting(function: Function, args: &[&str]) -> Self {
        let firn = Firn::start(setup(&function, args));
        Self::around(function, firn).await
    }

    async fn around(function: Function, firn: Firn) -> Self {
        let client = Client::connect(firn.clients).await;
        Self {
            function,
            firn,
            client,
        }
    }

    /// Kills Firn without a word and starts it again.
    pub(crate) async fn kill_and_start_again(&mut self) {
        self.firn.start_again();
        self.firn.wait_until_serving();
        self.client = Client::connect(self.firn.clients).await;
    }

    /// Calls a method message by message.
    pub(crate) fn talk(&self, method: &str) -> Talk {
        let (client, path) = (self.client.clone(), format!("/model.{method}"));
        let (requests, to_send) = mpsc::channel(16);
        let (received, replies) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            let request = tonic::Request::new(ReceiverStream::new(to_send));
            let mut stream = match client.stream(&path, request).await {
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
        Talk {
            requests,
            replies,
            task,
        }
    }

    /// Calls a method so that it waits behind the open command of its entity.
    ///
    /// Only with [`ONE_WAITS`]: of two commands one is then refused, so the other one waits.
    pub(crate) async fn queue(&self, method: &str, request: Request) -> Call {
        let mut first = self.call(method, request.clone());
        let mut second = self.call(method, request);
        let refused = tokio::select! {
            outcome = &mut first.0 => (outcome, second),
            outcome = &mut second.0 => (outcome, first),
        };
        let (outcome, waiting) = refused;
        let status = outcome.expect("a task").expect_err("a refusal");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        waiting
    }

    /// Sends JSON to a path.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.http("POST", path, &[("content-type", "application/json")], body)
            .await
    }

    /// Sends an HTTP request.
    pub(crate) async fn http(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = http::Request::builder().method(verb).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let host = self.firn.clients.to_string();
        let request = request
            .header("host", host)
            .body(Bytes::from(body.to_owned()))
            .expect("a request");
        let answer = client::http(self.firn.clients, request);
        within("an HTTP answer", answer).await.expect("an answer")
    }

    /// A client of the public port.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Calls a method, `Service/Method` of the model.
    pub(crate) fn call(&self, method: &str, request: Request) -> Call {
        self.call_with(method, request, MetadataMap::new())
    }

    /// Calls a method with headers.
    pub(crate) fn call_with(&self, method: &str, request: Request, headers: MetadataMap) -> Call {
        let (client, path) = (self.client.clone(), format!("/model.{method}"));
        Call(tokio::spawn(async move {
            let message = Bytes::from(request.encode_to_vec());
            let mut request = tonic::Request::new(tokio_stream::once(message));
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
}

/// Arguments that let one command wait for each entity.
pub(crate) const ONE_WAITS: &[&str] = &["--mailbox", "1"];

/// Headers of text.
pub(crate) fn headers(entries: &[(&str, &str)]) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in entries {
        let name: MetadataKey<Ascii> = name.parse().expect("a name");
        headers.append(name, value.parse().expect("a value"));
    }
    headers
}

/// How Firn is started beside a function.
pub(crate) fn setup(function: &Function, args: &[&str]) -> Setup {
    Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_firn")),
        function: function.address(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    }
}

/// What a call that went well gave.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) headers: MetadataMap,
    pub(crate) messages: Vec<Bytes>,
}

/// The text of a response.
pub(crate) fn text(message: &Bytes) -> String {
    let response = Response::decode(message.clone()).expect("a response");
    response.message
}

/// A call with messages in both directions under way.
pub(crate) struct Talk {
    requests: mpsc::Sender<Bytes>,
    replies: mpsc::Receiver<Result<String, Status>>,
    task: JoinHandle<()>,
}

impl Talk {
    /// Sends a request.
    pub(crate) async fn say(&self, request: Request) {
        let message = request.encode_to_vec().into();
        self.requests.send(message).await.expect("a call under way");
    }

    /// Says that no more requests come.
    pub(crate) fn half_close(&mut self) {
        self.requests = mpsc::channel(1).0;
    }

    /// Expects a reply with this message.
    pub(crate) async fn hears(&mut self, message: &str) {
        let reply = within("a reply", self.replies.recv()).await;
        let reply = reply.expect("a reply, not the end").expect("a reply");
        assert_eq!(reply, message);
    }

    /// Expects the call to end well.
    pub(crate) async fn ends(mut self) {
        let end = within("the end of a call", self.replies.recv()).await;
        assert!(end.is_none(), "{end:?}");
    }

    /// Expects the call to fail with this status and text.
    pub(crate) async fn fails(mut self, code: Code, text: &str) {
        let end = within("the end of a call", self.replies.recv()).await;
        let status = end.expect("a status").expect_err("a failure");
        assert_eq!((status.code(), status.message()), (code, text));
    }

    /// Cancels it, as a client that goes away does.
    pub(crate) fn cancel(&self) {
        self.task.abort();
    }
}

/// A call under way. Dropping it does not cancel it.
pub(crate) struct Call(JoinHandle<Result<Answered, Status>>);

impl Call {
    /// Whether the caller has its answer. Only ever asked where it cannot have one yet.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Cancels it, as a client that goes away does.
    pub(crate) fn cancel(self) {
        self.0.abort();
    }

    /// Its outcome.
    pub(crate) async fn outcome(self) -> Result<Answered, Status> {
        within("the answer to a call", self.0)
            .await
            .expect("a task")
    }

    /// Everything that it answers.
    pub(crate) async fn answered(self) -> Answered {
        self.outcome()
            .await
            .unwrap_or_else(|status| panic!("failed with {status:?}"))
    }

    /// Expects one reply with this message.
    pub(crate) async fn replies(self, message: &str) {
        let answered = self.answered().await;
        let texts: Vec<String> = answered.messages.iter().map(text).collect();
        assert_eq!(texts, [message]);
    }

    /// Expects a failure with this status and text, and gives all of it.
    pub(crate) async fn fails(self, code: Code, text: &str) -> Status {
        let status = self.outcome().await.expect_err("a failure");
        assert_eq!((status.code(), status.message()), (code, text));
        status
    }
}
