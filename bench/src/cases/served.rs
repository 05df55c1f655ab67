//! A Firn with the function of this program on firn.v1, and the bare echo beside it, to be loaded.

use std::path::Path;

use anyhow::Result;
use firn_load::Watched;
use tempfile::TempDir;

use super::AddItem;
use super::turns::Side;
use crate::echo;
use crate::load::Load;
use crate::rig::{Dialer, Firn, Programs, Server};

/// A Firn and its function, which dialed it.
pub(super) struct Served {
    pub(super) firn: Firn,
    pub(super) function: Dialer,
    /// The folder of the data, if it goes with them.
    _folder: Option<TempDir>,
}

impl Served {
    /// Starts both on an empty store, with further arguments for Firn.
    pub(super) async fn start(programs: &Programs, arguments: &[&str]) -> Result<Self> {
        let folder = programs.folder()?;
        let mut served = Self::start_in(programs, folder.path(), arguments).await?;
        served._folder = Some(folder);
        Ok(served)
    }

    /// The same on a folder that may hold data.
    pub(super) async fn start_in(
        programs: &Programs,
        folder: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut firn = Firn::start_own(programs, folder, arguments);
        firn.up().await?;
        let function = Dialer::own(programs, firn.functions)?;
        firn.serving().await?;
        Ok(Self {
            firn,
            function,
            _folder: None,
        })
    }

    /// Both, loaded with calls of a method.
    pub(super) fn side(
        &self,
        name: &'static str,
        path: &'static str,
        message: fn(u64) -> AddItem,
        load: Load,
    ) -> Side {
        Side {
            name,
            server: self.firn.clients,
            path,
            message,
            load,
            processes: self.processes(),
        }
    }

    /// Both processes by their names.
    pub(super) fn processes(&self) -> Vec<Watched> {
        vec![self.firn.watched(), self.function.watched("function")]
    }

    /// Asks Firn to stop and waits until it has; the function goes as well.
    pub(super) async fn stop(self) -> Result<()> {
        self.firn.stop().await
    }
}

/// The echo, loaded with its calls.
pub(super) fn echoed(echo: &Server, load: Load) -> Side {
    Side {
        name: "echo",
        server: echo.address,
        path: echo::PATH,
        message: AddItem::to,
        load,
        processes: vec![echo.watched("echo")],
    }
}
