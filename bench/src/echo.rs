//! The reference: a bare tonic server with one unary method, in a process of its own.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::cases::AddItem;

/// The method: what comes goes back.
pub(crate) const PATH: &str = "/bench.Echo/Echo";

/// Serves on `HOST`:`PORT`, as the cart does.
pub(crate) async fn serve() -> Result<()> {
    let server = tonic::transport::Server::builder();
    Ok(server.serve(address()?, service_fn(route)).await?)
}

/// The address that a server is told to listen on.
pub(crate) fn address() -> Result<SocketAddr> {
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    Ok(format!("{}:{}", setting("HOST")?, setting("PORT")?).parse()?)
}

async fn route(call: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    if call.uri().path() != PATH {
        return Ok(Status::unimplemented("no such method").into_http());
    }
    let echo = |request: Request<AddItem>| async { Ok(Response::new(request.into_inner())) };
    let mut grpc = Grpc::new(ProstCodec::default());
    Ok(grpc.unary(service_fn(echo), call).await)
}
