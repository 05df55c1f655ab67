//! The admin port: health for probes, and a read-only look at the contract and at entities.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while the function is connected and Firn is not stopping, else 503 |
//! | `/metrics` | [metrics] as OpenMetrics text |
//! | `/v1/contract` | the contract as JSON |
//! | `/v1/replicas` | this node among the members, and how many changed replicas are not written, or not confirmed by members |
//! | `/v1/store/backup` | everything in the store, as an export file; to callers on this machine only |
//! | `/v1/entities/{component}` | ids, `?after=ID&limit=N` |
//! | `/v1/entities/{component}/state?id=ID` | stored state; of an event sourced entity also `&at=N`; of a replicated one this node's replica |
//! | `/v1/entities/{component}/events?id=ID` | events, `&after=N&limit=N` |
//!
//! A thread of its own serves it, so it answers whatever those that serve calls wait for.
//!
//! Ids travel as a query parameter: they may hold any character, also slashes.

mod backup;
mod metrics;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use firn_model::code::Code;
use firn_model::contract::{Component, Contract, Kind};
use firn_model::id::{EntityKey, Replica};
use firn_model::payload::Payload;
use firn_model::policy::Replay;
use firn_runtime::engine::{Engine, Unfinished};
use firn_runtime::replicated::network::Membership;
use firn_store::seal::Keys;
use firn_store::{ReadError, Store};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::contract_json::{self, decoded};
use crate::store::OpenStore;
pub(crate) use metrics::Measured;
use metrics::Metrics;

/// How many ids or events one answer holds at most.
const PAGE_MAX: usize = 1000;

/// The admin port, taken and not served yet.
pub(crate) struct Admin {
    listener: TcpListener,
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    keys: Option<Arc<Keys>>,
    metrics: Arc<Metrics>,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
}

/// Says whether Firn is ready.
pub(crate) struct Ready(watch::Sender<bool>);

impl Ready {
    /// Ready or not from now on.
    pub(crate) fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    contract: watch::Receiver<Option<Arc<Contract>>>,
    store: Arc<dyn Store>,
    /// What backups are sealed with.
    keys: Option<Arc<Keys>>,
    metrics: Arc<Metrics>,
    me: Replica,
    unfinished: Unfinished,
    members: watch::Receiver<Arc<Membership>>,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl Admin {
    /// An admin port on a listener.
    pub(crate) fn new(
        listener: TcpListener,
        engine: Arc<Engine>,
        store: &OpenStore,
        keys: Option<Arc<Keys>>,
        stop: CancellationToken,
    ) -> Self {
        let metrics = Metrics::new(engine.metrics(), engine.unfinished(), store.measured());
        Self {
            listener,
            engine,
            store: store.store(),
            keys,
            metrics: Arc::new(metrics),
            ready: watch::Sender::new(false),
            stop,
        }
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        // A bound listener has an address.
        self.listener
            .local_addr()
            .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The switch of `/readyz`.
    pub(crate) fn ready(&self) -> Ready {
        Ready(self.ready.clone())
    }

    /// Answers until told to stop.
    pub(crate) async fn run(self) {
        let shared = Shared {
            contract: self.engine.contracts(),
            store: self.store,
            keys: self.keys,
            metrics: self.metrics,
            me: self.engine.replica(),
            unfinished: self.engine.unfinished(),
            members: self.engine.membership(),
            ready: self.ready.subscribe(),
            stop: self.stop.clone(),
        };
        // The engine is drained by its last owner; this port only reads.
        drop(self.engine);
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics::metrics))
            .route("/v1/contract", get(contract))
            .route("/v1/replicas", get(replicas))
            .route(crate::store_cmd::BACKUP_PATH, get(backup::backup))
            .route("/v1/entities/{component}", get(list))
            .route("/v1/entities/{component}/state", get(state))
            .route("/v1/entities/{component}/events", get(events))
            .with_state(shared);
        if let Err(error) = served_apart(self.listener, router, self.stop).await {
            error!("the admin port failed: {error}");
        }
    }
}

/// Serves on a thread of its own until told to stop: health is told whatever the threads wait for that
/// serve calls.
async fn served_apart(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = listener.into_std()?;
    let (ended, end) = oneshot::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await
        })
    };
    let thread = thread::Builder::new().name("firn-admin".to_owned());
    thread.spawn(move || {
        let _ = ended.send(serve());
    })?;
    end.await.map_err(io::Error::other)?
}

/// A refusal of the admin port.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut refusal = json!({ "error": self.1 });
        // Others are mistakes in the request.
        let code = match self.0 {
            StatusCode::SERVICE_UNAVAILABLE => Some(Code::FunctionUnavailable),
            StatusCode::GONE => Some(Code::VersionTrimmed),
            _ => None,
        };
        if let Some(code) = code {
            refusal["code"] = code.to_string().into();
        }
        (self.0, Json(refusal)).into_response()
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl Shared {
    fn is_ready(&self) -> bool {
        *self.ready.borrow() && !self.stop.is_cancelled()
    }

    fn contract(&self) -> Result<Arc<Contract>, Refused> {
        let contract = self.contract.borrow().clone();
        contract.ok_or_else(|| {
            let text = "the function is not connected yet".to_owned();
            Refused(StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }

    /// The entity component of this service or storage name.
    fn component(&self, name: &str) -> Result<(Arc<Contract>, Arc<Component>), Refused> {
        let contract = self.contract()?;
        let entities = || {
            contract
                .components
                .iter()
                .filter(|component| component.kind.is_entity())
        };
        let found = entities()
            .find(|component| &*component.service == name || component.storage.as_str() == name)
            .cloned();
        match found {
            Some(component) => Ok((contract, component)),
            None => {
                let known: Vec<&str> = entities().map(|component| &*component.service).collect();
                let text = format!(
                    "no entity component {name}; there are: {}",
                    known.join(", ")
                );
                Err(Refused(StatusCode::NOT_FOUND, text))
            }
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn contract(State(shared): State<Shared>) -> Result<Json<Value>, Refused> {
    Ok(Json(contract_json::contract(&*shared.contract()?)))
}

async fn replicas(State(shared): State<Shared>) -> Json<Value> {
    let membership = shared.members.borrow().clone();
    let members: Vec<String> = membership.members.iter().map(ToString::to_string).collect();
    Json(json!({
        "node": shared.me.node.to_string(),
        "incarnation": shared.me.incarnation.0,
        "members": members,
        "unwritten": shared.unfinished.unwritten(),
        "unconfirmed": shared.unfinished.unconfirmed(),
    }))
}

#[derive(Deserialize)]
struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(shared): State<Shared>,
    Path(component): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refused> {
    let (_, component) = shared.component(&component)?;
    let limit = query.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let ids = shared
        .store
        .list(&component.storage, query.after.as_deref(), limit)
        .await?;
    Ok(Json(json!({ "ids": ids, "more": ids.len() == limit })))
}

#[derive(Deserialize)]
struct StateQuery {
    id: String,
    at: Option<u64>,
}

async fn state(
    State(shared): State<Shared>,
    Path(component): Path<String>,
    Query(query): Query<StateQuery>,
) -> Result<Json<Value>, Refused> {
    let (contract, component) = shared.component(&component)?;
    if query.at.is_some() && component.kind != Kind::EventSourced {
        let text = format!("{} keeps its last state only", component.service);
        return Err(Refused(StatusCode::BAD_REQUEST, text));
    }
    let key = EntityKey::new(component.storage.clone(), query.id.as_str());
    if component.kind == Kind::Replicated {
        return replica(&shared, &contract, &component, &key).await;
    }
    let mut entity = shared.store.load(&key, Replay::FromSnapshot).await?;
    let nothing =
        entity.state.is_none() && entity.last_event == 0 && entity.deleted_until.is_none();
    if nothing {
        return Err(no_entity(&component, &query.id));
    }
    let at = query.at.unwrap_or(entity.last_event).min(entity.last_event);
    if entity
        .snapshot
        .as_ref()
        .is_some_and(|snapshot| snapshot.sequence > at)
    {
        entity = shared.store.load(&key, Replay::AllEvents).await?;
        if let Some(snapshot) = &entity.snapshot {
            return Err(trimmed(&component, &query.id, at, snapshot.sequence));
        }
    }
    let events: Vec<Value> = entity
        .events
        .iter()
        .filter(|event| event.sequence <= at)
        .map(|event| contract_json::event(&contract, event))
        .collect();
    let is_actor = component.kind == Kind::Actor;
    // An actor may have tags and no state.
    let is_one = |state: &&Payload| !is_actor || !state.type_url.is_empty();
    let state = entity.state.as_ref().filter(is_one);
    Ok(Json(json!({
        "component": &*component.service,
        "id": query.id,
        "kind": component.kind.to_string(),
        "state": state.map(|state| decoded(&contract, state)),
        "tags": is_actor.then_some(&entity.tags),
        "snapshot": entity.snapshot.as_ref().map(|snapshot| json!({
            "sequence": snapshot.sequence,
            "state": decoded(&contract, &snapshot.payload),
        })),
        "events": events,
        "sequence": at,
        "lastSequence": entity.last_event,
        "deletedUntilMs": entity.deleted_until.map(|until| until.0),
    })))
}

/// Events are gone that a version needs. Snapshots before the last are not kept.
fn trimmed(component: &Component, id: &str, at: u64, oldest: u64) -> Refused {
    let text = format!(
        "version {at} of {id} of {} was trimmed; the oldest that is left is {oldest}",
        component.service
    );
    Refused(StatusCode::GONE, text)
}

fn no_entity(component: &Component, id: &str) -> Refused {
    let text = format!("no entity {id} of {}", component.service);
    Refused(StatusCode::NOT_FOUND, text)
}

/// What this node's replica holds, as far as it is written.
async fn replica(
    shared: &Shared,
    contract: &Contract,
    component: &Component,
    key: &EntityKey,
) -> Result<Json<Value>, Refused> {
    let stored = shared.store.load_replica(shared.me.node, key).await?;
    let stored = stored.ok_or_else(|| no_entity(component, &key.id))?;
    let state = firn_crdt::State::decode(&stored)
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let members = shared.members.borrow().members.clone();
    let value = state.value(shared.me.node, &members);
    Ok(Json(json!({
        "component": &*component.service,
        "id": &*key.id,
        "kind": component.kind.to_string(),
        "type": value.as_ref().map(|value| value.data_type().to_string()),
        "state": value.map(|value| contract_json::replicated(contract, &value)),
        "deleted": state.is_deleted(),
        "node": shared.me.node.to_string(),
    })))
}

#[derive(Deserialize)]
struct EventsQuery {
    id: String,
    after: Option<u64>,
    limit: Option<usize>,
}

async fn events(
    State(shared): State<Shared>,
    Path(component): Path<String>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Value>, Refused> {
    let (contract, component) = shared.component(&component)?;
    if component.kind != Kind::EventSourced {
        let text = format!(
            "{} is a {} and has no events",
            component.service, component.kind
        );
        return Err(Refused(StatusCode::BAD_REQUEST, text));
    }
    let key = EntityKey::new(component.storage.clone(), query.id);
    let limit = query.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let events = shared
        .store
        .events(&key, query.after.unwrap_or(0), limit)
        .await?;
    let more = events.len() == limit;
    let first = events.first().map_or(0, |first| first.sequence);
    let trimmed = (first > query.after.unwrap_or(0) + 1).then(|| first - 1);
    let events: Vec<Value> = events
        .iter()
        .map(|event| contract_json::event(&contract, event))
        .collect();
    let answer = json!({ "events": events, "more": more, "trimmed": trimmed });
    Ok(Json(answer))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    /// The only thread of the test's runtime asks, and waits for the answer.
    #[tokio::test]
    async fn health_is_told_while_those_who_serve_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/healthz", get(|| async { "ok\n" }));
        let stop = CancellationToken::new();
        let served = tokio::spawn(served_apart(listener, router, stop.clone()));
        tokio::task::yield_now().await;
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
        stop.cancel();
        served.await.unwrap().unwrap();
    }
}
