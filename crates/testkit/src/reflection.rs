//! The descriptors that a server serves, by gRPC reflection v1.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic::{Request, Status};

use crate::client::Client;

const PATH: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The names of all services that the server lists.
///
/// # Errors
/// The status of a call that fails.
///
/// # Panics
/// If the answer is no list.
pub async fn services(client: &Client) -> Result<Vec<String>, Status> {
    let question = Question {
        list_services: Some("*".to_owned()),
        ..Question::default()
    };
    let answer = ask(client, question).await?;
    let list = answer.services.expect("a list of services").services;
    Ok(list.into_iter().map(|service| service.name).collect())
}

/// Everything that these services are made of.
///
/// # Errors
/// The status of a call that fails.
///
/// # Panics
/// If a service is not known, or its files do not link.
pub async fn descriptors(client: &Client, services: &[String]) -> Result<DescriptorPool, Status> {
    let mut files = BTreeMap::new();
    for service in services {
        let question = Question {
            symbol: Some(service.clone()),
            ..Question::default()
        };
        let answer = ask(client, question).await?;
        for file in answer.files.unwrap_or_default().files {
            let file = FileDescriptorProto::decode(file).expect("a file descriptor");
            files.insert(file.name().to_owned(), file);
        }
    }
    let file = files.into_values().collect();
    Ok(DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file }).expect("linked files"))
}

async fn ask(client: &Client, question: Question) -> Result<Answer, Status> {
    let message = Bytes::from(question.encode_to_vec());
    let request = Request::new(futures_util::stream::iter([message]));
    let mut answers = client.stream(PATH, request).await?.into_inner();
    let answer = answers.message().await?.unwrap_or_default();
    Ok(Answer::decode(answer).expect("a reflection answer"))
}

/// `grpc.reflection.v1.ServerReflectionRequest`; one field is set.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(string, optional, tag = "4")]
    symbol: Option<String>,
    #[prost(string, optional, tag = "7")]
    list_services: Option<String>,
}

/// `grpc.reflection.v1.ServerReflectionResponse`.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "4")]
    files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    services: Option<Services>,
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}
