//! Checking a data folder, and repairing what can be.

use std::path::Path;

use super::error::OpenError;
use super::table::TableError;
use super::{Config, Embedded, Fatal};
use crate::ReadError;
use crate::check::{Checked, Told};
use crate::rows::check::Check;

/// Checks everything in a data folder: the log while the folder is opened, then every row. What is
/// found goes to `tell`; with `is_repairing`, what can be repaired is. No Firn may have the folder
/// open.
///
/// # Errors
/// See [`OpenError`]: the folder cannot be opened at all, or not be read or written to the end.
pub fn check(
    path: &Path,
    config: Config,
    is_repairing: bool,
    mut tell: impl FnMut(Told),
    on_fatal: impl Fn(&Fatal) + Send + Sync + 'static,
) -> Result<Checked, OpenError> {
    let store = Embedded::open(path, config, on_fatal)?;
    // The rows then hold all that the log does, and nobody else changes them.
    store.close();
    let table = &store.shared.table;
    let rows = table.view();
    let repair = |changes| table.write(changes).map_err(TableError::into);
    let in_rows = |error: ReadError| OpenError::from_rows(error, path.join("rows"));
    let checked = Check::new(&rows, is_repairing, &mut tell).run(repair);
    let checked = checked.map_err(in_rows)?;
    let persisted = table.persist();
    persisted.map_err(|error| OpenError::from_table(error, path.join("rows")))?;
    Ok(checked)
}
