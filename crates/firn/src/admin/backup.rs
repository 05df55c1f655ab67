//! Backups: everything in the store, as it is at one moment, while Firn goes on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use firn_model::code::Code;
use firn_store::archive::Dump;
use firn_store::archive::file::Encoder;
use firn_store::seal::Keys;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{Refused, Shared};

/// How many frames may wait for a slow caller: each is about a megabyte before it is compressed.
const FRAMES_MAX: usize = 2;

/// Sends everything in the store, to a caller on this machine.
pub(super) async fn backup(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    State(shared): State<Shared>,
) -> Result<Response, Refused> {
    if let Err(code) = check(peer) {
        warn!(%code, %peer, "a backup was refused");
        let text = code.title().to_owned();
        return Err(Refused(StatusCode::FORBIDDEN, text));
    }
    let dump = shared.store.dump().await?;
    let (frames, receiver) = mpsc::channel(FRAMES_MAX);
    let runtime = Handle::current();
    // A dump may block where it reads.
    tokio::task::spawn_blocking(move || send(&runtime, dump, shared.keys, &frames));
    let body = stream::unfold(receiver, |mut frames| async {
        let frame = frames.recv().await?;
        Some((frame, frames))
    });
    Ok(Body::from_stream(body).into_response())
}

/// The port asks nobody who they are, so it gives away nothing to other machines.
fn check(peer: SocketAddr) -> Result<(), Code> {
    match peer.ip().to_canonical().is_loopback() {
        true => Ok(()),
        false => Err(Code::BackupRefused),
    }
}

fn send(
    runtime: &Handle,
    dump: Box<dyn Dump>,
    keys: Option<Arc<Keys>>,
    frames: &mpsc::Sender<io::Result<Bytes>>,
) {
    match encode(runtime, dump, keys, frames) {
        Ok(Some(rows)) => info!(rows, "a backup was taken"),
        Ok(None) => warn!("the caller of a backup has gone"),
        Err(cause) => {
            error!(code = %Code::LoadFailed, "a backup failed: {cause}");
            // The body is then cut off, which its caller notices.
            let _ = frames.blocking_send(Err(cause));
        }
    }
}

/// Sends all frames; gives the number of rows, or nothing if the caller has gone.
fn encode(
    runtime: &Handle,
    mut dump: Box<dyn Dump>,
    keys: Option<Arc<Keys>>,
    frames: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<Option<u64>> {
    let (mut encoder, header) = Encoder::new(keys)?;
    let mut next = header;
    loop {
        if frames.blocking_send(Ok(next)).is_err() {
            return Ok(None);
        }
        let rows = runtime.block_on(dump.next()).map_err(io::Error::other)?;
        if rows.is_empty() {
            break;
        }
        next = encoder.rows(&rows)?;
    }
    let count = encoder.count();
    let sent = frames.blocking_send(Ok(encoder.end()));
    Ok(sent.ok().map(|()| count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_callers_on_this_machine_get_a_backup() {
        let check = |peer: &str| check(peer.parse().unwrap());
        assert_eq!(check("127.0.0.1:1"), Ok(()));
        assert_eq!(check("[::1]:1"), Ok(()));
        assert_eq!(check("[::ffff:127.0.0.1]:1"), Ok(()));
        for other in ["10.0.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(check(other), Err(Code::BackupRefused));
        }
    }
}
