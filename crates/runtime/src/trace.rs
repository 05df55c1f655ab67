//! By which forwards and effects a request came about, for whoever has to find a wrong one.

use std::fmt;
use std::sync::Arc;

use firn_model::contract::Method;

/// How one request led to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Forward,
    Effect,
}

/// The methods before, the latest first. Empty for a client's call, and for an effect that an earlier
/// run left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Option<Arc<Hop>>);

#[derive(Debug)]
struct Hop {
    way: Way,
    method: Arc<Method>,
    before: Trace,
}

impl Trace {
    /// The trace of what this method causes.
    pub(crate) fn then(&self, way: Way, method: &Arc<Method>) -> Self {
        Self(Some(Arc::new(Hop {
            way,
            method: method.clone(),
            before: self.clone(),
        })))
    }
}

/// One line for each hop.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut trace = self;
        while let Some(hop) = &trace.0 {
            let way = match hop.way {
                Way::Forward => "forwarded from",
                Way::Effect => "side-effect of",
            };
            write!(f, "\n  {way} {}", hop.method.path())?;
            trace = &hop.before;
        }
        Ok(())
    }
}
