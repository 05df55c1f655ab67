//! Following what becomes of the functions: their contracts are served, or refused with reasons.
//!
//! A function that Firn dials and functions that dial in are two sources of the same thing. Whoever
//! is there first is who is served; the other way is closed then.

use std::sync::Arc;

use firn_link::Function;
use firn_link::v1::hub::{self, Hub};
use firn_link::watch::Event;
use firn_model::code::Code;
use firn_model::contract::{Contract, Finding};
use firn_runtime::engine::{Engine, EntityStreams, Served};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin::Ready;
use crate::exit::{CONTRACT, Failure};
use crate::settings::Mode;

/// What is told about functions.
pub(super) struct Events {
    pub(super) dialed: mpsc::Receiver<Event>,
    pub(super) dialed_in: mpsc::UnboundedReceiver<hub::Event>,
}

/// Follows what becomes of the function.
pub(super) struct Follow {
    mode: Mode,
    engine: Arc<Engine>,
    ready: Ready,
    /// The function that was dialed.
    function: Option<Function>,
    /// Those that dial in.
    hub: Arc<Hub>,
    /// Ends the search for a function to dial.
    dialing: CancellationToken,
    /// How many connections of functions that dial in there are.
    connected: usize,
    /// What was said last of a contract that was refused.
    refused: Vec<Finding>,
}

impl Follow {
    pub(super) fn new(
        mode: Mode,
        engine: Arc<Engine>,
        ready: Ready,
        hub: Arc<Hub>,
        dialing: CancellationToken,
    ) -> Self {
        Self {
            mode,
            engine,
            ready,
            function: None,
            hub,
            dialing,
            connected: 0,
            refused: Vec::new(),
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Runs until told to stop, or until a first contract was refused outside of development.
    pub(super) async fn run(
        mut self,
        mut events: Events,
        stop: &CancellationToken,
    ) -> Result<Option<Function>, Failure> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(self.function),
                Some(event) = events.dialed_in.recv() => self.dialed_in(event),
                Some(event) = events.dialed.recv() => self.take(event)?,
            }
        }
    }

    /// Takes what became of functions that dial in. A refused contract never ends Firn here: it is
    /// the newcomer that is refused, and others may be served.
    fn dialed_in(&mut self, event: hub::Event) {
        match event {
            hub::Event::Serving {
                contract,
                changed,
                served,
            } => {
                // Whoever dials in first is who is served.
                self.dialing.cancel();
                if changed {
                    warn!(code = %Code::ContractChanged, "a function came back with another contract");
                }
                self.engine.serve(Served {
                    contract: contract.clone(),
                    link: self.hub.clone(),
                    streams: EntityStreams::Shared,
                });
                self.ready.set(true);
                self.refused.clear();
                say_served(&contract);
                // The newcomer may have gone.
                let _ = served.send(());
            }
            hub::Event::Refused { findings } => self.say_refused(findings),
            hub::Event::Joined {
                process,
                connections,
            } => {
                info!(process, connections, "a function has connected");
                self.connected = connections;
                self.ready.set(true);
            }
            hub::Event::Left {
                process,
                connections,
            } => {
                info!(process, connections, "a function has gone");
                self.connected = connections;
                self.ready.set(connections > 0);
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            // In development the function often starts after Firn, or dials in itself.
            Event::Waiting { code, cause } if self.mode == Mode::Dev => {
                info!(%code, "waiting for the function: {cause}");
            }
            Event::Waiting { code, cause } => {
                warn!(%code, "waiting for the function: {cause}");
            }
            Event::Lost => {
                self.ready.set(false);
                warn!(code = %Code::FunctionUnreachable, "the connection to the function ended");
            }
            Event::Serving { function, changed } => self.serve(function, changed),
            Event::Refused { findings } => {
                let is_first = self.mode == Mode::Proxy && self.function.is_none();
                let failure = is_first.then(|| refused(&findings));
                self.say_refused(findings);
                if let Some(failure) = failure {
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Says why a contract is refused: once, for a refused function comes again and again.
    fn say_refused(&mut self, findings: Vec<Finding>) {
        if findings == self.refused {
            return;
        }
        for finding in &findings {
            error!(code = %finding.code, "the contract is refused: {finding}");
        }
        if self.mode == Mode::Dev
            && let Some(finding) = findings.first()
        {
            let code = finding.code;
            info!(
                "firn explain {code} says what to change; waiting for the function to come again"
            );
        }
        self.refused = findings;
    }

    fn serve(&mut self, function: Function, changed: bool) {
        if self.connected > 0 {
            // A function has dialed in meanwhile.
            return;
        }
        let contract = function.contract().clone();
        self.hub.close(hub::another_family(contract.family));
        if changed {
            warn!(code = %Code::ContractChanged, "the function came back with another contract");
        }
        self.engine.serve(Served {
            contract: contract.clone(),
            link: Arc::new(function.clone()),
            streams: EntityStreams::Own(function.streams_max()),
        });
        self.function = Some(function);
        self.ready.set(true);
        self.refused.clear();
        say_served(&contract);
    }
}

/// Says what is served. Last of all: whoever waits for this line may call at once.
fn say_served(contract: &Contract) {
    for warning in &contract.warnings {
        warn!(code = %warning.code, "{}", warning.text);
    }
    let components: Vec<String> = contract
        .components
        .iter()
        .map(|component| format!("{} ({})", component.service, component.kind))
        .collect();
    info!(
        family = contract.family,
        sdk = contract.info.sdk,
        "serving {}",
        components.join(", ")
    );
}

fn refused(findings: &[Finding]) -> Failure {
    let code = findings
        .first()
        .map_or(Code::DiscoveryFailed, |finding| finding.code);
    let cause = match findings {
        [only] => format!("the function's contract is refused: {}", only.text),
        all => format!(
            "the function's contract is refused for {} reasons, logged above",
            all.len()
        ),
    };
    let remedy = format!("firn explain {code} says what to change in the function");
    Failure {
        code: Some(code),
        cause,
        remedy,
        exit: CONTRACT,
    }
}
