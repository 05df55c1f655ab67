//! Calls of an action.

use bytes::Bytes;
use prost::Message as _;

use super::rig::Log;
use crate::families::convert;
use crate::families::dialect::{Dialect, Kind};
use crate::families::wire::{ActionCommand, ActionResponse};
use crate::fault::Fault;
use crate::oracle::{self, Asked, Circumstances};
use crate::proto::model::{Request, Step, step};
use crate::proto::v1::{Decision, Metadata};
use crate::proxy::client::{Call, Came, Client, End};
use crate::record::Record;
use crate::service::{Service, streams};
use crate::{kit, show};

/// A call under way.
pub(crate) struct Action {
    dialect: Dialect,
    method: &'static str,
    headers: Metadata,
    call: Call,
    log: Log,
}

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum Said {
    Response(Decision),
    End(End),
}

impl Action {
    pub(super) async fn begin(
        client: &Client,
        dialect: Dialect,
        method: &'static str,
        headers: Metadata,
        log: Log,
    ) -> Self {
        let path = dialect.action(streams(method));
        log.put(format!("kit: {path} of {method}"));
        let mut action = Self {
            dialect,
            method,
            headers,
            call: client.begin(&path, &[]),
            log,
        };
        if streams(method).0 {
            // It names the method, and brings no request.
            let first = action.command(None);
            action.put(&first).await;
        }
        action
    }

    fn command(&self, request: Option<&Request>) -> ActionCommand {
        let asked = request.map(|request| Asked::Steps(request.clone()));
        let payload = asked.map(|asked| convert::request(self.dialect, &asked));
        let is_later = request.is_some() && streams(self.method).0;
        if is_later {
            return ActionCommand {
                payload,
                ..ActionCommand::default()
            };
        }
        ActionCommand {
            service_name: self.dialect.service(Service::Action),
            name: self.method.to_owned(),
            payload,
            metadata: (self.dialect.has_metadata()).then(|| convert::to_metadata(&self.headers)),
        }
    }

    async fn put(&mut self, command: &ActionCommand) {
        self.call.send(Bytes::from(command.encode_to_vec())).await;
    }

    /// Sends a request. That of a call whose requests are no stream is its only one.
    pub(crate) async fn send(&mut self, steps: Vec<step::Step>) {
        self.log.put(show::short(&format!("kit: {steps:?}")));
        let command = self.command(Some(&kit::request("", steps)));
        self.put(&command).await;
        if !streams(self.method).0 {
            self.call.half_close();
        }
    }

    /// Ends the requests.
    pub(crate) fn end(&mut self) {
        self.log.put("kit: no more requests".into());
        self.call.half_close();
    }

    /// What comes next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Said, Fault> {
        loop {
            match self.call.next().await {
                Came::Headers(_) => {}
                Came::End(end) => {
                    self.log
                        .put(format!("function: the end, status {}", end.status));
                    return Ok(Said::End(end));
                }
                Came::Message(message) => {
                    let response = ActionResponse::decode(message);
                    let response = response.map_err(|error| {
                        Fault::new("F60", "an ActionResponse", error.to_string())
                    })?;
                    self.log
                        .put(show::short(&format!("function: {response:?}")));
                    return convert::response(self.dialect, &response).map(Said::Response);
                }
            }
        }
    }

    /// The requirement that its shape is about.
    fn requirement(&self) -> &'static str {
        match streams(self.method) {
            (false, false) => "F60",
            (true, false) => "F61",
            (false, true) => "F62",
            (true, true) => "F63",
        }
    }

    /// The next response.
    pub(crate) async fn response(&mut self) -> Result<Decision, Fault> {
        match self.next().await? {
            Said::Response(decision) => Ok(decision),
            Said::End(end) => {
                let came = format!("the end: status {} {:?}", end.status, end.message);
                Err(Fault::new(self.requirement(), "a response", came))
            }
        }
    }

    /// The end, without an error.
    pub(crate) async fn ended(&mut self, requirement: &'static str) -> Result<(), Fault> {
        match self.next().await? {
            Said::End(end) if end.status == 0 => Ok(()),
            Said::End(end) => {
                let came = format!("status {} {:?}", end.status, end.message);
                Err(Fault::new(requirement, "an end without an error", came))
            }
            Said::Response(decision) => {
                let came = show::decision(&decision);
                Err(Fault::new(requirement, "the end", came))
            }
        }
    }

    /// Holds a response against the steps that it is for.
    pub(crate) fn judge(&self, steps: &[step::Step], decision: &Decision) -> Result<(), Fault> {
        let steps = steps.iter().map(|step| Step {
            step: Some(step.clone()),
        });
        let request = Request {
            id: String::new(),
            steps: steps.collect(),
        };
        let with = Circumstances {
            entity_id: "",
            called: &[],
            headers: &self.headers,
        };
        let record = Record::new(Service::Action);
        oracle::check(&record, &Asked::Steps(request), &with, decision)
            .map_err(|fault| convert::fault(fault, Kind::Action))
    }
}
