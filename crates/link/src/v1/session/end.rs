//! How incarnations and connections end.

use firn_model::code::Code;
use firn_runtime::link::End;
use firn_wire::v1::message as wire;
use firn_wire::v1::message::firn_frame::Frame as Out;

use super::said::illegal;
use super::{Broken, LOOK_EVERY, LOOKS_UNTIL_CLOSED, Life, Open, Phase, Session, Todo};
use crate::v1::outbox::Subject;

impl Session {
    /// The function wants to go (R90).
    pub(super) fn leave(&mut self, todo: &mut Vec<Todo>) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Leaving;
        todo.push(Todo::Leave);
        let all: Vec<u64> = self.instances.keys().copied().collect();
        for incarnation in all {
            self.release_if_leaving(incarnation);
        }
        self.end_if_left();
    }

    /// Lets go of an incarnation that has nothing to do, on a connection that is to end.
    pub(super) fn release_if_leaving(&mut self, incarnation: u64) {
        if self.phase != Phase::Leaving {
            return;
        }
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        if !instance.open.is_empty() {
            return;
        }
        if let Some(sink) = instance.stop_serving() {
            sink.end(End::Released);
            self.close(incarnation);
        }
    }

    /// Ends a connection that was to end, once nothing is open on it.
    pub(super) fn end_if_left(&mut self) {
        let nothing_is_open =
            self.instances.is_empty() && self.commands.is_empty() && self.calls_open == 0;
        if self.phase == Phase::Leaving && nothing_is_open {
            self.phase = Phase::Over;
            self.out.end();
        }
    }

    /// Looks whether the function has let go of what was closed.
    ///
    /// # Errors
    /// [`Broken`] if it has not, for so long that it never will (R41).
    pub(crate) fn look(&mut self) -> Result<(), Broken> {
        self.looks += 1;
        self.forget_closed();
        match self.closing.front() {
            Some((since, incarnation)) if self.looks - since > LOOKS_UNTIL_CLOSED => {
                let waited = LOOK_EVERY * LOOKS_UNTIL_CLOSED;
                let text = format!(
                    "incarnation {incarnation} was closed, and the function has not let go of it for \
                     {} seconds",
                    waited.as_secs()
                );
                Err(illegal(text))
            }
            _ => Ok(()),
        }
    }

    /// Forgets the oldest of the closed incarnations that the function has let go of.
    pub(super) fn forget_closed(&mut self) {
        while let Some((_, incarnation)) = self.closing.front()
            && !self.instances.contains_key(incarnation)
        {
            self.closing.pop_front();
        }
    }

    /// The connection ended: everything that is open ends with it.
    pub(crate) fn end(&mut self, cause: &str) {
        self.phase = Phase::Over;
        self.out.end();
        for (_, instance) in self.instances.drain() {
            match instance.life {
                Life::Serving(sink) => sink.end(End::Terminated {
                    cause: cause.to_owned(),
                }),
                Life::Closing(sink) => sink.end(End::Completed),
                Life::Over => {}
            }
        }
        self.waiting.clear();
        for (_, open) in self.commands.drain() {
            if let Open::Action { replies, .. } = open {
                replies.lost();
            }
        }
    }

    /// Says that Firn is to end (R91). Everything goes on until it does.
    pub(crate) fn goodbye(&mut self) {
        self.out
            .push(Subject::Connection, Out::Goodbye(wire::Goodbye {}));
    }

    /// Ends the connection behind what is to be sent yet: Firn ends.
    pub(crate) fn finish(&mut self) {
        self.phase = Phase::Over;
        self.out.end();
    }

    /// The function broke the rules for one entity: its incarnation ends.
    pub(super) fn broke(&mut self, incarnation: u64, command: u64, code: Code, text: String) {
        self.notice(code, text.clone(), command);
        self.end_broken(incarnation, code, text);
    }

    pub(super) fn end_broken(&mut self, incarnation: u64, code: Code, cause: String) {
        let cause = format!("the function's decision is refused: {cause}");
        self.end_instance(incarnation, End::Unfit { code, cause });
    }

    pub(super) fn end_instance(&mut self, incarnation: u64, end: End) {
        if let Some(instance) = self.instances.get_mut(&incarnation)
            && let Some(sink) = instance.stop_serving()
        {
            sink.end(end);
            self.close(incarnation);
        }
    }
}
