//! `firn store backup`: an export of the store of a running Firn, through its admin port.

use std::path::Path;
use std::sync::Arc;

use firn_model::code::Code;
use firn_store::archive::file as archive;
use firn_store::seal::Keys;
use http_body_util::BodyExt;

use super::Progress;
use super::file::{NewFile, failed};
use crate::client::http;
use crate::exit::Failure;

/// Where the admin port gives a backup.
pub(crate) const PATH: &str = "/v1/store/backup";

/// Runs the command.
pub(super) async fn run(
    address: &str,
    path: &Path,
    keys: Option<Arc<Keys>>,
) -> Result<(), Failure> {
    let mut file = NewFile::create(path)?;
    let mut body = http::stream(address, PATH).await?;
    let progress = Progress::of("backed up", "bytes", 0);
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| cut(address, &error))?;
        if let Ok(bytes) = frame.into_data() {
            file.write(&bytes)?;
            received += bytes.len() as u64;
            progress.tell(received);
        }
    }
    // Without the keys of a sealed file its checksums say that it is whole.
    let summary = match keys {
        Some(keys) => archive::verify(file.written()?, Some(keys)),
        None => archive::verify_checksums(file.written()?),
    };
    summary.map_err(|error| failed(path, error))?;
    let bytes = file.finish()?;
    println!("backed up to {} ({bytes} bytes)", path.display());
    Ok(())
}

fn cut(address: &str, error: &hyper::Error) -> Failure {
    Failure::new(
        Code::ArchiveDamaged,
        format!("the backup from {address} is cut off: {error}"),
        "look at the log of that Firn, then repeat the backup",
    )
}
