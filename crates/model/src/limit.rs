//! Bounds that several crates share, each with its reason.

use std::time::Duration;

/// How many forwards and effects may follow from one request before it is refused.
///
/// Deep enough for any chain a person designs, shallow enough that a cycle ends within milliseconds.
pub const HOPS_MAX: u32 = 16;

/// The longest id of an entity in its stored form, in bytes.
///
/// It is a part of the key of everything that is stored of the entity, and databases take keys of some
/// two thousand bytes; whoever needs more names the entity by a hash.
pub const ID_BYTES_MAX: usize = 1024;

/// The largest message taken from a client or a function unless configured, in bytes.
///
/// The SDKs of the served families accept and send up to 12 MiB.
pub const MESSAGE_BYTES_MAX: usize = 12 * 1024 * 1024;

/// How long a command that was sent may take before its caller gets DEADLINE_EXCEEDED.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands that may wait for one entity; more are refused with RESOURCE_EXHAUSTED.
///
/// An entity serves one command after the other, so a longer queue only makes every caller in it
/// late.
pub const MAILBOX_COMMANDS_MAX: usize = 256;

/// Commands of one entity that may be with the function or wait for their commit at once, where its
/// component pipelines.
///
/// Enough to keep a function busy while a flush is under way, few enough that what is lost with its
/// connection is soon done again. It bounds the uncommitted commits of an entity too.
pub const PIPELINED_COMMANDS_MAX: usize = 64;

const _: () = assert!(
    PIPELINED_COMMANDS_MAX < MAILBOX_COMMANDS_MAX,
    "the mailbox takes back what is lost"
);

/// How long an entity may be idle before it leaves memory, unless its component says otherwise.
pub const PASSIVATE_AFTER: Duration = Duration::from_secs(30);

/// How long a half-closed stream may stay open on the function's side before it is reset.
pub const STREAM_GRACE: Duration = Duration::from_secs(1);

/// How long a tombstone refuses changes when the function names no time of its own.
pub const DELETE_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many replicated maps may be inside of each other, the outermost one counted.
///
/// Far deeper than anyone nests data by hand, and shallow enough for a protobuf decoder, which stops
/// at a hundred messages and meets three for each map.
pub const MAP_DEPTH_MAX: usize = 16;

/// How many timers one decision may set or cancel.
///
/// More than a person names, few enough that a commit stays small.
pub const TIMERS_MAX: usize = 64;

/// How many effects one decision of firn.v1 may cause. Each is kept until it was delivered, and each
/// delivery is a task; whoever needs more lets an effect cause them.
pub const EFFECTS_MAX: usize = 1024;

/// The longest name of a timer, in bytes: it is for people, and stands in the store as it is.
pub const TIMER_NAME_BYTES_MAX: usize = 256;

/// The longest delay of an effect or a timer: ten years. What is longer is a mistake in a unit.
pub const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The shortest interval of a timer that repeats. Each time costs a commit and a command.
pub const TIMER_REPEAT_MIN: Duration = Duration::from_millis(10);

/// How many tags an actor may have: they are kept and sent with its state each time.
pub const TAGS_MAX: usize = 64;

/// How long the name and the text of a tag may be, each, in bytes.
pub const TAG_BYTES_MAX: usize = 1024;
