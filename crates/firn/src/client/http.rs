//! A GET request to the admin port.

use bytes::Bytes;
use firn_model::code::Code;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::{not_connected, unreachable};
use crate::exit::Failure;

/// Gets the body of an answer from a path of the admin port at `address`, as it comes.
pub(crate) async fn stream(address: &str, path: &str) -> Result<Incoming, Failure> {
    let lost = |error: &dyn std::fmt::Display| unreachable(address, "--admin", error);
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| lost(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| lost(&e))?;
    // It ends with its body; what goes wrong on it shows there.
    tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address)
        .body(Empty::<Bytes>::new())
        .map_err(|error| lost(&error))?;
    let response = sender.send_request(request).await.map_err(|e| lost(&e))?;
    if response.status().is_success() {
        return Ok(response.into_body());
    }
    let is_forbidden = response.status() == hyper::StatusCode::FORBIDDEN;
    let body = response.into_body().collect().await.map_err(|e| lost(&e))?;
    let value: Value = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| lost(&format!("its answer is not from Firn ({error})")))?;
    let text = value["error"].as_str().unwrap_or("the request was refused");
    Err(match is_forbidden {
        true => Failure::new(
            Code::BackupRefused,
            text,
            "run firn store backup on the machine of Firn",
        ),
        false => Failure::new(Code::LoadFailed, text, "look at the log of that Firn"),
    })
}

/// Gets JSON from a path of the admin port at `address`.
pub(super) async fn get(address: &str, path: &str) -> Result<Value, Failure> {
    let lost = |error: &dyn std::fmt::Display| unreachable(address, "--admin", error);
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| lost(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| lost(&e))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address)
        .body(Empty::<Bytes>::new())
        .map_err(|error| lost(&error))?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        // The sender goes with this block, and with it the connection ends.
        Ok::<_, hyper::Error>((status, body))
    };
    let (result, _) = futures_util::future::join(exchange, connection).await;
    let (status, body) = result.map_err(|error| lost(&error))?;
    let value: Value = serde_json::from_slice(&body)
        .map_err(|error| lost(&format!("its answer is not from Firn ({error})")))?;
    if status.is_success() {
        return Ok(value);
    }
    let text = value["error"]
        .as_str()
        .unwrap_or("the request was refused")
        .to_owned();
    Err(match value["code"].as_str() {
        Some(code) if code == Code::FunctionUnavailable.to_string() => not_connected(text),
        Some(code) if code == Code::VersionTrimmed.to_string() => Failure::new(
            Code::VersionTrimmed,
            text,
            "ask for a later version; firn entity events shows the events that are left",
        ),
        _ => Failure::new(
            Code::BadRequestText,
            text,
            "firn describe shows what there is",
        ),
    })
}
