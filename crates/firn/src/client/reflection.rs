//! The methods of a server, found by gRPC server reflection.

use bytes::Bytes;
use firn_edge::reflection::{Answer, Request, Response, Wanted};
use firn_model::code::Code;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::call::Raw;
use super::not_connected;
use crate::exit::Failure;

/// Finds a method with everything its types need.
pub(super) async fn method(
    channel: Channel,
    service: &str,
    method: &str,
) -> Result<MethodDescriptor, Failure> {
    let files = match ask(
        channel.clone(),
        Wanted::FileContainingSymbol(service.to_owned()),
    )
    .await?
    {
        Some(Answer::Files(found)) => found.files,
        _ => Vec::new(),
    };
    let mut set = FileDescriptorSet::default();
    for file in files {
        set.file
            .push(FileDescriptorProto::decode(Bytes::from(file)).map_err(broken)?);
    }
    let pool = DescriptorPool::from_file_descriptor_set(set).map_err(broken)?;
    let Some(found) = pool.get_service_by_name(service) else {
        return Err(unknown_service(channel, service).await);
    };
    found
        .methods()
        .find(|candidate| candidate.name() == method)
        .ok_or_else(|| {
            let names: Vec<String> = found
                .methods()
                .map(|method| method.name().to_owned())
                .collect();
            unknown(format!(
                "{service} has no method {method}; it has {}",
                names.join(", ")
            ))
        })
}

async fn unknown_service(channel: Channel, service: &str) -> Failure {
    let services = match ask(channel, Wanted::ListServices(String::new())).await {
        Ok(Some(Answer::Services(list))) => list.services,
        _ => Vec::new(),
    };
    let names: Vec<String> = services
        .into_iter()
        .map(|service| service.name)
        .filter(|name| !name.starts_with("grpc."))
        .collect();
    match names.as_slice() {
        [] => not_connected("the function is not connected yet".to_owned()),
        names => unknown(format!(
            "there is no service {service}; there are {}",
            names.join(", ")
        )),
    }
}

fn unknown(text: String) -> Failure {
    Failure::new(
        Code::MethodUnknown,
        text,
        "firn describe shows what there is",
    )
}

fn broken(error: impl std::fmt::Display) -> Failure {
    let text = format!("the server's reflection cannot be read: {error}");
    Failure::new(
        Code::ServerUnreachable,
        text,
        "check that --server is the client port of Firn",
    )
}

async fn ask(channel: Channel, wanted: Wanted) -> Result<Option<Answer>, Failure> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(broken)?;
    let request = Request {
        host: String::new(),
        wanted: Some(wanted),
    };
    let messages = futures_util::stream::iter([Bytes::from(request.encode_to_vec())]);
    let path =
        PathAndQuery::from_static("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let mut answers = grpc
        .streaming(tonic::Request::new(messages), path, Raw)
        .await
        .map_err(broken)?
        .into_inner();
    let answer = answers.message().await.map_err(broken)?;
    let response = Response::decode(answer.unwrap_or_default()).map_err(broken)?;
    Ok(response.answer)
}
