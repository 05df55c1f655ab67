//! The stream of a replicated entity.
//!
//! # How it works
//! Replicated data is laid out in three ways, and one of them comes with and without streamed
//! commands: [`States`], [`Old`], [`OldUnary`] and [`New`], all of them a [`Layout`]. What they share
//! is below them: `data` reads and writes each single type of data, `reply` what a function answers.
//! A layout itself only knows which number stands for which type, and so its maps.
//!
//! # Invariants
//! - A change that cannot be understood fails its command, not the stream: it is an [`InvalidDelta`]
//!   within the answer, never a [`Violation`].
//! - Maps are read to [`MAP_DEPTH_MAX`] and no deeper.
//!
//! [`InvalidDelta`]: firn_model::replicated::InvalidDelta
//! [`MAP_DEPTH_MAX`]: firn_model::limit::MAP_DEPTH_MAX

use firn_model::replicated::{CancelAnswer, DataType, Delta, Reply, StreamedMessage};
use prost::Message;

use super::Violation;
use super::instance::{Command, Instance, StreamFailure};

mod data;
mod new;
mod old;
mod reply;
mod states;

pub use self::new::New;
pub use self::old::{Old, OldUnary};
pub use self::states::States;

/// How replicated data is laid out on one stream, and what is known of the function there.
pub trait Layout: Default + Send + 'static {
    /// What is sent to the function.
    type In: Message + Default + 'static;
    /// What comes from it.
    type Out: Message + Default + 'static;

    /// The first message of a stream; the value is a change from the empty one.
    ///
    /// # Errors
    /// [`NoCounterpart`] if the layout cannot say it.
    fn init(
        &mut self,
        instance: Instance<'_>,
        value: Option<Delta>,
    ) -> Result<Self::In, NoCounterpart>;

    /// A change that came from elsewhere; from the empty value if the function has none.
    ///
    /// # Errors
    /// [`NoCounterpart`] if the layout cannot say it.
    fn delta(&mut self, delta: Delta) -> Result<Self::In, NoCounterpart>;

    /// The entity was deleted elsewhere.
    fn delete(&self) -> Self::In;

    /// A command; only Cloudstate's may be streamed.
    fn command(&self, command: Command<'_>, streaming: Streaming) -> Self::In;

    /// The caller of a streamed command has gone; `None` if the layout has no such commands.
    fn stream_cancelled(&self, entity_id: &str, id: i64) -> Option<Self::In>;

    /// Reads one message of the function.
    ///
    /// # Errors
    /// Any [`Violation`] that concerns replicated entities.
    fn read(&mut self, out: Self::Out) -> Result<Out, Violation>;
}

/// Whether the caller of a command takes a stream of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Streaming {
    Unary,
    Streamed,
}

/// One message from the stream of a replicated entity.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// The answer to a command.
    Reply(Reply),
    /// A further message of a streamed command.
    Streamed(StreamedMessage),
    /// The answer to a cancellation.
    CancelAnswer(CancelAnswer),
    /// A failure beside the replies.
    Failure(StreamFailure),
}

/// A value is of a type that the function's protocol does not have: the entity was written by a
/// function of another family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {0} is kept, which the function's protocol does not have")]
pub struct NoCounterpart(pub DataType);
