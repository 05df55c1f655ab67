//! A GET request to the admin port.

use bytes::Bytes;
use firn_model::code::Code;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::{not_connected, unreachable};
use crate::exit::Failure;

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
        _ => Failure::new(
            Code::BadRequestText,
            text,
            "firn describe shows what there is",
        ),
    })
}
