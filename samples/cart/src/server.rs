//! The gRPC server: the handshake, and one stream per active cart.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use firn_wire::dialect::KALIX;
use firn_wire::superset::component::ComponentSettings;
use firn_wire::superset::event_sourced_stream_out::Message as Out;
use firn_wire::superset::{
    Component, EntitySettings, EventSourcedStreamIn, EventSourcedStreamOut, Failure, ProxyInfo,
    ServiceInfo, Spec, UserFunctionError,
};
use futures_util::stream::{Stream, try_unfold};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::entity::Entity;

/// Serves until the listener fails.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(address: SocketAddr) -> Result<(), tonic::transport::Error> {
    let server = tonic::transport::Server::builder();
    server.serve(address, service_fn(route)).await
}

/// One call, by its path.
async fn route(call: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let path = call.uri().path();
    Ok(if path == KALIX.discovery.discover {
        unary(call, |_: ProxyInfo| spec()).await
    } else if path == KALIX.discovery.report_error {
        let report =
            |error: UserFunctionError| eprintln!("cart: the proxy says: {}", error.message);
        unary(call, report).await
    } else if KALIX.discovery.health_check == Some(path)
        || KALIX.discovery.proxy_terminated == Some(path)
    {
        unary(call, |()| ()).await
    } else if path == KALIX.event_sourced.handle {
        let handle = |call: Request<_>| async { Ok(Response::new(stream(call.into_inner()))) };
        let mut grpc = Grpc::new(ProstCodec::default());
        grpc.streaming(service_fn(handle), call).await
    } else {
        Status::unimplemented(format!("no method {path}")).into_http()
    })
}

/// A call with one request and one answer.
async fn unary<Question, Answer>(
    call: http::Request<Body>,
    answer: impl Fn(Question) -> Answer,
) -> http::Response<Body>
where
    Question: prost::Message + Default + 'static,
    Answer: prost::Message + 'static,
{
    let answer = |question: Request<Question>| {
        let answer = answer(question.into_inner());
        async { Ok(Response::new(answer)) }
    };
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.unary(service_fn(answer), call).await
}

/// What this function declares.
fn spec() -> Spec {
    Spec {
        proto: Bytes::from_static(crate::DESCRIPTORS),
        components: vec![Component {
            component_type: KALIX.event_sourced.component_type.into(),
            service_name: "shop.Cart".into(),
            component_settings: Some(ComponentSettings::Entity(EntitySettings {
                entity_type: "cart".into(),
                ..EntitySettings::default()
            })),
        }],
        service_info: Some(ServiceInfo {
            service_name: "cart".into(),
            service_version: env!("CARGO_PKG_VERSION").into(),
            service_runtime: "rust".into(),
            support_library_name: "none".into(),
            protocol_major_version: KALIX.announced.major,
            protocol_minor_version: KALIX.announced.minor,
            ..ServiceInfo::default()
        }),
    }
}

/// The stream of one cart: answers as long as the proxy sends, ends when it does.
fn stream(
    messages: Streaming<EventSourcedStreamIn>,
) -> impl Stream<Item = Result<EventSourcedStreamOut, Status>> + Send {
    let start = Some((messages, Entity::default()));
    try_unfold(start, |alive| async {
        let Some((mut messages, mut entity)) = alive else {
            return Ok(None);
        };
        while let Some(message) = messages.message().await? {
            match entity.on(message) {
                Ok(None) => {}
                Ok(Some(answer)) => return Ok(Some((answer, Some((messages, entity))))),
                Err(broken) => return Ok(Some((failure(broken.to_string()), None))),
            }
        }
        Ok(None)
    })
}

/// The failure of a whole stream: without the number of a command.
fn failure(description: String) -> EventSourcedStreamOut {
    let failure = Failure {
        description,
        ..Failure::default()
    };
    EventSourcedStreamOut {
        message: Some(Out::Failure(failure)),
    }
}

#[cfg(test)]
mod tests {
    use firn_wire::contract::read;
    use prost::Message as _;

    use super::*;

    #[test]
    fn declaration_is_a_contract_without_findings() {
        let declared = read(&KALIX, spec().encode_to_vec().into()).unwrap();
        assert_eq!(declared.contract.warnings, []);
        for method in ["AddItem", "RemoveItem", "GetCart", "Checkout"] {
            let path = format!("/shop.Cart/{method}");
            assert!(declared.contract.method(&path).is_some(), "{path}");
        }
    }
}
