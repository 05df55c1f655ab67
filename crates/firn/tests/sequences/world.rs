//! A Firn, a function that the test plays, and a client: what every sequence begins with.

use std::path::PathBuf;

use bytes::Bytes;
use firn_testkit::caller::Response;
pub(crate) use firn_testkit::caller::{Call, Request, Talk, headers, request, text};
use firn_testkit::client::{self, Answer, Client};
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::function::declare::Declaration;
use firn_testkit::function::message::any;
use firn_testkit::function::{Function, within};
use firn_wire::dialect::{Dialect, Family};
use firn_wire::superset::Any;
use prost::Message;
use tonic::Code;
use tonic::metadata::MetadataMap;

/// What entities of the model keep.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kept {
    #[prost(string, tag = "1")]
    pub(crate) value: String,
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

    /// A Firn with so many files, as `ulimit` takes it, that serves this.
    pub(crate) async fn with_files(declaration: &Declaration, ulimit: &str) -> Self {
        let function = Function::start(declaration);
        let mut firn = Firn::limited(setup(&function, &[]), ulimit);
        firn.wait_until_serving();
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
        Talk::begin(&self.client, &format!("/model.{method}"))
    }

    /// Calls a method so that it waits behind the open command of its entity.
    ///
    /// Only with [`ONE_WAITS`]: of two commands one is then refused, so the other one waits.
    pub(crate) async fn queue(&self, method: &str, request: Request) -> Call {
        let first = self.call(method, request.clone());
        let second = self.call(method, request);
        let (outcome, waiting) = Call::first(first, second).await;
        let status = outcome.expect_err("a refusal");
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
        let message = request.encode_to_vec().into();
        Call::begin(&self.client, &format!("/model.{method}"), message, headers)
    }
}

/// Arguments that let one command wait for each entity.
pub(crate) const ONE_WAITS: &[&str] = &["--mailbox", "1"];

/// How Firn is started beside a function.
pub(crate) fn setup(function: &Function, args: &[&str]) -> Setup {
    Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_firn")),
        function: function.address(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    }
}
