//! What all requests share: the settings, the backend, and the routes of its contract.

use std::sync::{Arc, PoisonError, RwLock};

use firn_model::contract::Contract;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::backend::Backend;
use crate::config::Config;
use crate::rules::{self, RouteTable};

/// Shared by every request of one port.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) backend: Arc<dyn Backend>,
    /// Cancelled when the edge was told to stop.
    pub(crate) draining: CancellationToken,
    routes: RwLock<Option<Arc<Routes>>>,
}

/// A contract and what the edge made of it.
pub(crate) struct Routes {
    pub(crate) contract: Arc<Contract>,
    pub(crate) table: RouteTable,
}

impl State {
    pub(crate) fn new(config: Config, backend: Arc<dyn Backend>) -> Self {
        Self {
            config,
            backend,
            draining: CancellationToken::new(),
            routes: RwLock::new(None),
        }
    }

    /// The routes of the contract served now; `None` until there is one.
    ///
    /// Built again when the backend shows another contract, by whichever request notices first; two
    /// that notice at once both build, which is cheap and rare.
    pub(crate) fn routes(&self) -> Option<Arc<Routes>> {
        let contract = self.backend.contract()?;
        {
            let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(routes) = &*known
                && Arc::ptr_eq(&routes.contract, &contract)
            {
                return Some(Arc::clone(routes));
            }
        }
        // The binary has refused contracts with findings, unless it chose to serve what it can.
        let (table, findings) = rules::compile_all(&contract);
        for finding in findings {
            warn!(%finding, "an HTTP rule is not served");
        }
        let routes = Arc::new(Routes { contract, table });
        let mut known = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(&routes));
        Some(routes)
    }
}
