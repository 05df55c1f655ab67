//! The rules of an entity stream: which answer belongs to which command.
//!
//! Pure. The stream's two halves share it: sending takes a number, receiving checks it.

use firn_runtime::link::{End, StreamEvent};
use firn_wire::convert::Violation;
use firn_wire::convert::instance::Out;

/// What is open on a stream.
#[derive(Debug, Default)]
pub(crate) struct Session {
    last_id: i64,
    command: Option<i64>,
    snapshot: Option<i64>,
}

impl Session {
    /// The number of the next command: 1, 2, 3… on each stream.
    pub(crate) fn begin_command(&mut self) -> i64 {
        self.last_id += 1;
        self.command = Some(self.last_id);
        self.last_id
    }

    /// The number of a request for a snapshot.
    pub(crate) fn begin_snapshot(&mut self) -> i64 {
        self.last_id += 1;
        self.snapshot = Some(self.last_id);
        self.last_id
    }

    /// What a message of the function means.
    pub(crate) fn receive(&mut self, message: Result<Out, Violation>) -> StreamEvent {
        match message {
            Err(violation) => StreamEvent::Ended(End::WrongMessage {
                cause: violation.to_string(),
            }),
            Ok(Out::Reply(reply)) if self.command == Some(reply.command_id) => {
                self.command = None;
                StreamEvent::Decided(reply.decision)
            }
            Ok(Out::Reply(reply)) => wrong_reply("reply", reply.command_id, self.command),
            Ok(Out::Snapshot(snapshot)) if self.snapshot == Some(snapshot.request_id) => {
                self.snapshot = None;
                StreamEvent::Snapshot(snapshot.snapshot)
            }
            Ok(Out::Snapshot(snapshot)) => {
                wrong_reply("snapshot reply", snapshot.request_id, self.snapshot)
            }
            Ok(Out::Failure(failure)) => match failure.command_id {
                Some(id) if self.command == Some(id) => {
                    self.command = None;
                    StreamEvent::CommandFailed(failure.failure)
                }
                _ => StreamEvent::Ended(End::Failed(failure.failure)),
            },
        }
    }
}

fn wrong_reply(what: &str, id: i64, open: Option<i64>) -> StreamEvent {
    let expected = open.map_or_else(|| "none is open".to_owned(), |id| format!("{id} is open"));
    StreamEvent::Ended(End::WrongReply {
        cause: format!("{what} to {id}, but {expected}"),
    })
}

#[cfg(test)]
mod tests {
    use firn_model::decision::{Answer, Decision, Failure, Mutation};
    use firn_wire::convert::instance::{Reply, Snapshot, StreamFailure};

    use super::*;

    fn decision() -> Decision {
        Decision {
            answer: Answer::Nothing,
            mutation: Mutation::Nothing,
            effects: Vec::new(),
            timers: Vec::new(),
        }
    }

    fn reply(command_id: i64) -> Result<Out, Violation> {
        Ok(Out::Reply(Reply {
            command_id,
            decision: decision(),
            snapshot_dropped: false,
        }))
    }

    fn failure(command_id: Option<i64>) -> Result<Out, Violation> {
        Ok(Out::Failure(StreamFailure {
            command_id,
            failure: broken(),
        }))
    }

    fn broken() -> Failure {
        Failure {
            text: "broken".into(),
            code: None,
            details: Vec::new(),
            restart: false,
        }
    }

    #[test]
    fn commands_count_from_one_on_each_stream() {
        let mut session = Session::default();
        assert_eq!([session.begin_command(), session.begin_command()], [1, 2]);
        assert_eq!(Session::default().begin_command(), 1);
    }

    #[test]
    fn reply_to_the_open_command_is_a_decision() {
        let mut session = Session::default();
        session.begin_command();
        assert_eq!(session.receive(reply(1)), StreamEvent::Decided(decision()));
    }

    #[test]
    fn reply_to_anything_else_ends_the_stream() {
        let check = |commands: usize, id: i64| {
            let mut session = Session::default();
            for _ in 0..commands {
                session.begin_command();
            }
            let event = session.receive(reply(id));
            assert!(
                matches!(event, StreamEvent::Ended(End::WrongReply { .. })),
                "{event:?}"
            );
        };
        check(0, 1);
        check(1, 2);
        check(1, 0);
    }

    #[test]
    fn a_second_reply_to_a_command_ends_the_stream() {
        let mut session = Session::default();
        session.begin_command();
        session.receive(reply(1));
        let event = session.receive(reply(1));
        assert!(
            matches!(event, StreamEvent::Ended(End::WrongReply { .. })),
            "{event:?}"
        );
    }

    #[test]
    fn failure_is_of_the_open_command_or_of_the_instance() {
        let mut session = Session::default();
        session.begin_command();
        assert_eq!(
            session.receive(failure(Some(1))),
            StreamEvent::CommandFailed(broken())
        );
        for id in [None, Some(1), Some(7)] {
            let ended = StreamEvent::Ended(End::Failed(broken()));
            assert_eq!(session.receive(failure(id)), ended);
        }
    }

    #[test]
    fn snapshot_answers_its_own_request() {
        let mut session = Session::default();
        let request_id = session.begin_snapshot();
        let snapshot = |request_id| {
            Ok(Out::Snapshot(Snapshot {
                request_id,
                snapshot: None,
            }))
        };
        assert_eq!(
            session.receive(snapshot(request_id)),
            StreamEvent::Snapshot(None)
        );
        let event = session.receive(snapshot(request_id));
        assert!(
            matches!(event, StreamEvent::Ended(End::WrongReply { .. })),
            "{event:?}"
        );
    }

    #[test]
    fn message_without_content_ends_the_stream() {
        let event = Session::default().receive(Err(Violation::NoContent));
        assert!(
            matches!(event, StreamEvent::Ended(End::WrongMessage { .. })),
            "{event:?}"
        );
    }
}
