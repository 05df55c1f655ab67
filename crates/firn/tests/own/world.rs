//! A Firn, functions that the test plays, and a client: what every sequence begins with.

use std::path::PathBuf;

use bytes::Bytes;
use firn_testkit::caller::{Call, Request, Talk, request};
use firn_testkit::client::{self, Answer, Client};
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::function::message::any;
use firn_testkit::function::within;
use firn_testkit::own::declare::{action, contract, event_sourced, replicated, value};
use firn_testkit::own::{Connection, Dial};
use firn_wire::superset::Any;
use firn_wire::v1::message::{Command, Component, Contract, DataType, Opening};
use prost::Message;
use tonic::metadata::MetadataMap;

/// The name and text of the model's proto file.
pub(crate) const MODEL: (&str, &str) = ("model.proto", include_str!("model.proto"));

/// Another file with a service of its own.
pub(crate) const OTHER: (&str, &str) = ("other.proto", include_str!("other.proto"));

/// What entities of the model keep.
#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(string, tag = "1")]
    value: String,
}

/// A state, an event or a snapshot.
pub(crate) fn kept(value: &str) -> Any {
    let value = value.to_owned();
    any("model.Kept", &Kept { value })
}

/// The value entity of the model, at place 0.
pub(crate) fn register() -> Component {
    value("model.Register", &["Process", "Other"], "model.Kept")
}

/// The event sourced entity of the model, at place 1.
pub(crate) fn journal() -> Component {
    event_sourced("model.Journal", &["Process"], "model.Kept")
}

/// The action of the model, at place 2.
pub(crate) fn doing() -> Component {
    action("model.Doing", &["Unary", "In", "Out", "Both"])
}

/// The replicated entity of the model, at place 3.
pub(crate) fn count() -> Component {
    replicated("model.Count", &["Process", "Watch"], DataType::Counter)
}

/// The places of the components of [`whole`].
pub(crate) const REGISTER: u32 = 0;
pub(crate) const JOURNAL: u32 = 1;
pub(crate) const DOING: u32 = 2;
pub(crate) const COUNT: u32 = 3;

/// A function with a component of each kind.
pub(crate) fn whole() -> Contract {
    contract(&[MODEL], vec![register(), journal(), doing(), count()])
}

/// A function of these components of the model.
pub(crate) fn of(components: Vec<Component>) -> Contract {
    contract(&[MODEL], components)
}

/// A function that shares nothing with the model.
pub(crate) fn other() -> Contract {
    let register = value("other.Register", &["Process"], "other.Response");
    contract(&[OTHER], vec![register])
}

/// A command of the first method, as the function gets it: without headers, and with no word about
/// the time that is left.
pub(crate) fn command(id: u64, component: u32, incarnation: u64, request: &Request) -> Command {
    Command {
        id,
        component,
        incarnation,
        message: request.encode_to_vec().into(),
        ..Command::default()
    }
}

/// The first command of an incarnation.
pub(crate) fn opening(
    id: u64,
    component: u32,
    incarnation: u64,
    request: &Request,
    opening: Opening,
) -> Command {
    Command {
        opening: Some(opening),
        ..command(id, component, incarnation, request)
    }
}

/// A Firn for functions of firn.v1, and a client.
pub(crate) struct World {
    pub(crate) firn: Firn,
    client: Client,
}

impl World {
    /// A Firn that nobody has joined yet.
    pub(crate) async fn alone() -> Self {
        Self::alone_with(&[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn alone_with(args: &[&str]) -> Self {
        let firn = Firn::start(setup(args));
        let client = Client::connect(firn.clients).await;
        Self { firn, client }
    }

    /// A Firn that serves a function with every component of the model.
    pub(crate) async fn serving() -> (Self, Connection) {
        Self::serving_with(&whole(), &[]).await
    }

    /// A Firn with further arguments that serves a function.
    pub(crate) async fn serving_with(contract: &Contract, args: &[&str]) -> (Self, Connection) {
        let mut world = Self::alone_with(args).await;
        let function = world.join(contract).await;
        (world, function)
    }

    /// Lets a process of a function join.
    pub(crate) async fn join(&mut self, contract: &Contract) -> Connection {
        let function = Connection::joined(&self.firn.dial(), contract).await;
        self.firn.wait_until_serving();
        function
    }

    /// Kills Firn without a word and starts it again; the function joins.
    pub(crate) async fn kill_and_start_again(&mut self, contract: &Contract) -> Connection {
        self.firn.start_again();
        self.client = Client::connect(self.firn.clients).await;
        self.join(contract).await
    }

    /// Where functions dial in.
    pub(crate) fn dial(&self) -> Dial {
        self.firn.dial()
    }

    /// Calls a method, `Service/Method` of the model.
    pub(crate) fn call(&self, method: &str, id: &str, text: &str) -> Call {
        self.call_with(method, id, text, MetadataMap::new())
    }

    /// Calls a method with headers.
    pub(crate) fn call_with(
        &self,
        method: &str,
        id: &str,
        text: &str,
        headers: MetadataMap,
    ) -> Call {
        let message = request(id, text).encode_to_vec();
        self.call_bytes(&format!("/model.{method}"), message, headers)
    }

    /// Calls a path with any request.
    pub(crate) fn call_bytes(
        &self,
        path: &str,
        message: impl Into<Bytes>,
        headers: MetadataMap,
    ) -> Call {
        Call::begin(&self.client, path, message.into(), headers)
    }

    /// Calls a method message by message.
    pub(crate) fn talk(&self, method: &str) -> Talk {
        Talk::begin(&self.client, &format!("/model.{method}"))
    }

    /// Sends JSON to a path.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        let request = http::Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_owned()))
            .expect("a request");
        let answer = client::http(self.firn.clients, request);
        within("an HTTP answer", answer).await.expect("an answer")
    }
}

/// How Firn is started.
pub(crate) fn setup(args: &[&str]) -> Setup {
    let family = ["--family", "firn"];
    let args = family.iter().chain(args);
    Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_firn")),
        // Nobody: it does not dial.
        function: ([127, 0, 0, 1], 1).into(),
        args: args.map(|&arg| arg.to_owned()).collect(),
    }
}
