//! The store on a real server, which all tests here share unless they break it.

mod check;
mod faults;
mod leases;
mod migrations;
mod opening;
mod rest;
mod restore;
mod retention;
mod rotate;

use std::sync::{LazyLock, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use firn_model::payload::Payload;
use firn_testkit::postgres::Postgres as Server;
use firn_testkit::process::PATIENCE;
use futures_util::FutureExt;

use super::*;
use crate::commit::{Change, Outcome};
use crate::suite::{self, Backend};

/// The server that tests share; it ends with the last of them.
fn server() -> Arc<Server> {
    static SHARED: LazyLock<StdMutex<Weak<Server>>> = LazyLock::new(StdMutex::default);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

/// A URL of the server's. A connection may take as long as a test waits for anything: what is tried is
/// not how long a machine may stand still.
fn url(text: &str) -> Url {
    let more = if text.contains('?') { '&' } else { '?' };
    let patient = format!("{text}{more}connect_timeout={}", PATIENCE.as_secs());
    Url::parse(&patient).expect("a URL")
}

/// The usual way to use it; reads may take as long as connections.
fn patient(text: &str) -> Config {
    Config {
        read_time: PATIENCE,
        ..Config::new(url(text))
    }
}

/// A store in a schema of its own, without a lease.
async fn fresh(server: &Server) -> Postgres {
    open(&server.fresh()).await
}

async fn open(text: &str) -> Postgres {
    reading_for(PATIENCE, text).await
}

/// A store that is called unavailable when a read was tried for this time.
async fn reading_for(read_time: Duration, text: &str) -> Postgres {
    let config = Config {
        writers: 2,
        read_time,
        ..patient(text)
    };
    let opened = Postgres::open(config, |_| {}).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

fn key(id: &str) -> EntityKey {
    EntityKey::new(StorageName::new("log"), id)
}

fn payload(text: &str) -> Payload {
    Payload::new("test.Text", text.to_owned().into_bytes())
}

/// The commit that appends one event, whose number is the slot's sequence.
fn append(key: &EntityKey, head: Head) -> Commit {
    let sequence = head.sequence.next();
    let mut commit = Commit::empty(key.slot(), head.epoch, sequence, Timestamp(1));
    commit.key = Some(key.clone());
    commit.change = Some(Change::Append {
        first: sequence.0,
        events: vec![payload(&sequence.to_string())],
        snapshot: None,
        deleted_until: None,
    });
    commit
}

async fn commit_one(store: &Postgres, commit: Commit) -> Outcome {
    let mut outcomes = store.commit(vec![commit]).await;
    outcomes.pop().expect("an outcome").outcome
}

async fn numbers(store: &Postgres, key: &EntityKey) -> Vec<u64> {
    let entity = store.load(key, Replay::AllEvents).await;
    let entity = entity.unwrap_or_else(|error| panic!("{error}"));
    entity.events.iter().map(|event| event.sequence).collect()
}

/// The names of the owners that there are, in order.
async fn owners(session: &Session) -> Vec<String> {
    let asked = "SELECT owner FROM firn_owners ORDER BY owner";
    let rows = session.client().query(asked, &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until an owner has begun its lease: what a start does before it takes slots is done.
async fn has_begun(session: &Session, owner: &str) {
    while !owners(session).await.iter().any(|name| name == owner) {
        sleep(Duration::from_millis(10)).await;
    }
}

/// A schema of its own for each case.
struct InPostgres {
    url: String,
    clock: Clock,
    keys: Option<Arc<Keys>>,
}

impl Backend for InPostgres {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        async {
            let config = Config {
                clock: self.clock.clone(),
                writers: 2,
                keys: self.keys.clone(),
                ..patient(&self.url)
            };
            let store = Postgres::open(config, |_| {}).await;
            let store: Box<dyn Store> = Box::new(store.expect("it can be opened"));
            store
        }
        .boxed()
    }

    fn keeps(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    let server = server();
    let fresh = |clock| InPostgres {
        url: server.fresh(),
        clock,
        keys: None,
    };
    suite::run(fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_database_conforms() {
    let server = server();
    let keys = Keys::parse("one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let keys = Arc::new(keys.expect("a key"));
    let fresh = |clock| InPostgres {
        url: server.fresh(),
        clock,
        keys: Some(keys.clone()),
    };
    suite::run(fresh).await;
}
