//! Stable codes of everything that Firn refuses or reports: `FIRN-nnnn`, each with a page.
//!
//! The thousands tell the place: 1 the command line and its configuration, 2 a function's contract,
//! 3 a call, 5 the store. A number is never reused. `docs/errors/FIRN-nnnn.md` says for each what it
//! means and what to do; a test of the binary holds the pages against this list.

use std::fmt;

/// A stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// A flag, environment variable or file value is not valid.
    BadSetting = 1001,
    /// The configuration file holds a name that is not a setting.
    UnknownSetting = 1002,
    /// The configuration file cannot be read.
    ConfigUnreadable = 1003,
    /// An address to listen on is already in use.
    PortTaken = 1004,
    /// The command of the function cannot be started.
    CommandNotStarted = 1005,
    /// No Firn answers at the address that a client command was given.
    ServerUnreachable = 1006,
    /// The request given on the command line is not valid for its method.
    BadRequestText = 1007,
    /// An address to listen on cannot be bound.
    ListenFailed = 1008,
    /// The files of a new project cannot be written.
    ProjectUnwritable = 1009,
    /// The set-up of a project failed.
    SetUpFailed = 1010,
    /// The function that Firn started has ended.
    FunctionEnded = 1011,
    /// The file for a report cannot be written.
    ReportUnwritable = 1012,
    /// The function cannot be reached yet.
    FunctionUnreachable = 2001,
    /// The function answered the discovery call with an error or with rubbish.
    DiscoveryFailed = 2002,
    /// The function's descriptors cannot be linked.
    DescriptorsUnlinkable = 2003,
    /// A component names a service that its descriptors do not hold.
    ServiceUndeclared = 2004,
    /// A component has a type that Firn does not know.
    ComponentTypeUnknown = 2005,
    /// A method of an entity has no key field.
    KeyMissing = 2006,
    /// A method of an entity is streaming.
    StreamingEntity = 2007,
    /// An HTTP rule is not legal.
    HttpRuleIllegal = 2008,
    /// Two HTTP rules have the same verb and template.
    HttpRuleTwice = 2009,
    /// Two components would share their storage.
    StorageNameTwice = 2010,
    /// The function speaks a protocol version that Firn does not serve.
    ProtocolVersion = 2011,
    /// The function declares no component.
    NothingDeclared = 2012,
    /// Two components declare the same service.
    ServiceTwice = 2013,
    /// A declared component is not served by this version of Firn.
    NotServedYet = 2014,
    /// A method declares both a key field and a key generator.
    KeyAndGenerator = 2015,
    /// The SDK has a known defect that affects this component.
    SdkDefect = 2016,
    /// Declared eventing is not served by this version of Firn.
    EventingNotServed = 2017,
    /// The function speaks none of the known protocol families.
    FamilyUnknown = 2018,
    /// The function came back with another contract.
    ContractChanged = 2019,
    /// A key field has a type that cannot name an entity.
    KeyType = 2020,
    /// A component lists a method that its service does not have.
    MethodUndeclared = 2021,
    /// A component has an option of another state model, or lacks one that it needs.
    OptionMisplaced = 2022,
    /// A component names a state or event that its descriptors do not hold.
    MessageUndeclared = 2023,
    /// Another connected function declares the same service or storage otherwise.
    ContractTaken = 2024,
    /// The function's token is missing or wrong.
    TokenRefused = 2025,
    /// What the settings say is kept of a component does not fit it.
    RetentionUnfit = 2026,
    /// No such service or method.
    MethodUnknown = 3001,
    /// The request does not parse where Firn must read it.
    PayloadMalformed = 3002,
    /// The JSON body is not valid for the request type.
    JsonMalformed = 3003,
    /// The entity id is empty.
    IdEmpty = 3004,
    /// A message is above the size limit.
    MessageTooLarge = 3005,
    /// No HTTP rule matches the path.
    PathUnknown = 3006,
    /// The path exists, but not with this verb.
    VerbUnknown = 3007,
    /// The content type is not served.
    ContentType = 3008,
    /// A path variable or query parameter is not valid.
    ParameterMalformed = 3009,
    /// The method declares an access rule that Firn does not enforce.
    AccessRuleUnenforced = 3010,
    /// Idempotency keys work on unary commands to entities only.
    IdempotencyKeyRefused = 3011,
    /// The idempotency key was used with another request.
    IdempotencyKeyReused = 3012,
    /// Too many forwards or effects followed from one request.
    HopLimit = 3013,
    /// Too many commands wait for this entity.
    MailboxFull = 3014,
    /// The deadline passed before the command was sent.
    DeadlinePassedQueued = 3015,
    /// The function did not answer in time.
    CommandTimeout = 3016,
    /// No stream to the function became free in time.
    StreamsExhausted = 3017,
    /// The function is not connected.
    FunctionUnavailable = 3018,
    /// Firn is shutting down.
    ShuttingDown = 3019,
    /// A forward or effect names an unknown method.
    TargetUnknown = 3020,
    /// The function broke its protocol.
    ProtocolViolated = 3021,
    /// The function replied with another type than declared.
    ReplyType = 3022,
    /// The entity was deleted and accepts no changes.
    EntityDeleted = 3023,
    /// The function gave no reply.
    NoReply = 3024,
    /// The function failed or ended the entity's stream.
    FunctionFailed = 3025,
    /// The compression of a message is not supported.
    EncodingUnsupported = 3026,
    /// A request header is not valid.
    HeaderMalformed = 3027,
    /// The function changed a replicated entity in a way that cannot be.
    ChangeInvalid = 3028,
    /// Too few replicas confirmed a change in time.
    ChangeNotConfirmed = 3029,
    /// The caller of a streamed command took its messages too slowly.
    CallerTooSlow = 3030,
    /// The function answered a command that is not open.
    DecisionUnexpected = 3031,
    /// The function answered the commands of an entity out of their order.
    DecisionOutOfOrder = 3032,
    /// The function decided on another version of an entity than Firn has.
    DecisionVersion = 3033,
    /// The function changed an entity in a way that its contract does not allow.
    MutationUnfit = 3034,
    /// A message for a topic, and no broker is set up.
    NoBroker = 3035,
    /// The function sent more messages of a streamed call than it may.
    CreditExceeded = 3036,
    /// A call of the function would wait for itself.
    CallCircle = 3037,
    /// The function has more calls open than it may.
    CallsExceeded = 3038,
    /// A frame, of the function or for it, is above the size limit.
    FrameTooLarge = 3039,
    /// The function sent what is no frame, or not allowed there.
    FrameIllegal = 3040,
    /// The entity id is too long.
    IdTooLong = 3041,
    /// Another process has the data folder open.
    DataFolderLocked = 5001,
    /// The data folder was written by a newer Firn.
    FormatNewer = 5002,
    /// A stored record is damaged.
    RecordDamaged = 5003,
    /// A write or flush of the store failed.
    FlushFailed = 5004,
    /// The store setting names no known backend.
    StoreUnknown = 5005,
    /// A commit was refused: another owner has the slot.
    CommitRefused = 5006,
    /// The outcome of a commit is not known.
    CommitUnknown = 5007,
    /// An entity could not be loaded.
    LoadFailed = 5008,
    /// The data folder cannot be created, read or written.
    DataFolderUnusable = 5009,
    /// The URL of a database is not valid.
    DatabaseUrl = 5010,
    /// The database does not answer, or fails.
    DatabaseUnreachable = 5011,
    /// The database refuses the log-in.
    DatabaseLogin = 5012,
    /// The database gives no connection as secure as it was asked for.
    DatabaseInsecure = 5013,
    /// The database is too old, or set up in a way that cannot hold a store.
    DatabaseUnfit = 5014,
    /// The schema of the database was made by a newer Firn.
    SchemaNewer = 5015,
    /// The schema of the database is missing or older, and may not be changed.
    SchemaOlder = 5016,
    /// The schema of the database could not be made or changed.
    MigrationFailed = 5017,
    /// The database takes no writes.
    DatabaseReadOnly = 5018,
    /// Another Firn has the slots.
    SlotsTaken = 5019,
    /// Another Firn has taken the slots of this one.
    SlotsLost = 5020,
    /// The store did not write a commit.
    CommitNotWritten = 5021,
    /// Whether this Firn still owns the slot of an entity is not known.
    OwnerUnsure = 5022,
    /// The store is sealed, and a key that it uses was not given.
    KeyNotGiven = 5030,
    /// The store is sealed with another key than the one given under its id.
    KeyWrong = 5031,
    /// Keys were given, and the store holds data that is not sealed.
    StoreUnsealed = 5032,
    /// An export file is damaged, cut off, or no export file.
    ArchiveDamaged = 5033,
    /// An export file was written by a newer Firn.
    ArchiveNewer = 5034,
    /// An export file cannot be read or written.
    ArchiveUnusable = 5035,
    /// The store to be filled is not empty.
    StoreNotEmpty = 5036,
    /// The store was not filled to the end.
    RestoreUnfinished = 5037,
    /// The store holds what does not fit together.
    StoreFaulty = 5038,
    /// A backup was asked for from another machine.
    BackupRefused = 5039,
    /// The version of an entity that was asked for was trimmed.
    VersionTrimmed = 5050,
}

impl Code {
    /// Every code, by number.
    pub const ALL: &[Self] = &[
        Self::BadSetting,
        Self::UnknownSetting,
        Self::ConfigUnreadable,
        Self::PortTaken,
        Self::CommandNotStarted,
        Self::ServerUnreachable,
        Self::BadRequestText,
        Self::ListenFailed,
        Self::ProjectUnwritable,
        Self::SetUpFailed,
        Self::FunctionEnded,
        Self::ReportUnwritable,
        Self::FunctionUnreachable,
        Self::DiscoveryFailed,
        Self::DescriptorsUnlinkable,
        Self::ServiceUndeclared,
        Self::ComponentTypeUnknown,
        Self::KeyMissing,
        Self::StreamingEntity,
        Self::HttpRuleIllegal,
        Self::HttpRuleTwice,
        Self::StorageNameTwice,
        Self::ProtocolVersion,
        Self::NothingDeclared,
        Self::ServiceTwice,
        Self::NotServedYet,
        Self::KeyAndGenerator,
        Self::SdkDefect,
        Self::EventingNotServed,
        Self::FamilyUnknown,
        Self::ContractChanged,
        Self::KeyType,
        Self::MethodUndeclared,
        Self::OptionMisplaced,
        Self::MessageUndeclared,
        Self::ContractTaken,
        Self::TokenRefused,
        Self::RetentionUnfit,
        Self::MethodUnknown,
        Self::PayloadMalformed,
        Self::JsonMalformed,
        Self::IdEmpty,
        Self::MessageTooLarge,
        Self::PathUnknown,
        Self::VerbUnknown,
        Self::ContentType,
        Self::ParameterMalformed,
        Self::AccessRuleUnenforced,
        Self::IdempotencyKeyRefused,
        Self::IdempotencyKeyReused,
        Self::HopLimit,
        Self::MailboxFull,
        Self::DeadlinePassedQueued,
        Self::CommandTimeout,
        Self::StreamsExhausted,
        Self::FunctionUnavailable,
        Self::ShuttingDown,
        Self::TargetUnknown,
        Self::ProtocolViolated,
        Self::ReplyType,
        Self::EntityDeleted,
        Self::NoReply,
        Self::FunctionFailed,
        Self::EncodingUnsupported,
        Self::HeaderMalformed,
        Self::ChangeInvalid,
        Self::ChangeNotConfirmed,
        Self::CallerTooSlow,
        Self::DecisionUnexpected,
        Self::DecisionOutOfOrder,
        Self::DecisionVersion,
        Self::MutationUnfit,
        Self::NoBroker,
        Self::CreditExceeded,
        Self::CallCircle,
        Self::CallsExceeded,
        Self::FrameTooLarge,
        Self::FrameIllegal,
        Self::IdTooLong,
        Self::DataFolderLocked,
        Self::FormatNewer,
        Self::RecordDamaged,
        Self::FlushFailed,
        Self::StoreUnknown,
        Self::CommitRefused,
        Self::CommitUnknown,
        Self::LoadFailed,
        Self::DataFolderUnusable,
        Self::DatabaseUrl,
        Self::DatabaseUnreachable,
        Self::DatabaseLogin,
        Self::DatabaseInsecure,
        Self::DatabaseUnfit,
        Self::SchemaNewer,
        Self::SchemaOlder,
        Self::MigrationFailed,
        Self::DatabaseReadOnly,
        Self::SlotsTaken,
        Self::SlotsLost,
        Self::CommitNotWritten,
        Self::OwnerUnsure,
        Self::KeyNotGiven,
        Self::KeyWrong,
        Self::StoreUnsealed,
        Self::ArchiveDamaged,
        Self::ArchiveNewer,
        Self::ArchiveUnusable,
        Self::StoreNotEmpty,
        Self::RestoreUnfinished,
        Self::StoreFaulty,
        Self::BackupRefused,
        Self::VersionTrimmed,
    ];

    /// The number, without the prefix.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The code with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }

    /// What it means, in one line: lower case, no full stop.
    pub fn title(self) -> &'static str {
        match self {
            Self::BadSetting => "a flag, environment variable or file value is not valid",
            Self::UnknownSetting => "the configuration file holds a name that is not a setting",
            Self::ConfigUnreadable => "the configuration file cannot be read",
            Self::PortTaken => "an address to listen on is already in use",
            Self::CommandNotStarted => "the command of the function cannot be started",
            Self::ServerUnreachable => {
                "no Firn answers at the address that a client command was given"
            }
            Self::BadRequestText => {
                "the request given on the command line is not valid for its method"
            }
            Self::ListenFailed => "an address to listen on cannot be bound",
            Self::ProjectUnwritable => "the files of a new project cannot be written",
            Self::SetUpFailed => "the set-up of a project failed",
            Self::FunctionEnded => "the function that Firn started has ended",
            Self::ReportUnwritable => "the file for a report cannot be written",
            Self::FunctionUnreachable => "the function cannot be reached yet",
            Self::DiscoveryFailed => {
                "the function answered the discovery call with an error or with rubbish"
            }
            Self::DescriptorsUnlinkable => "the function's descriptors cannot be linked",
            Self::ServiceUndeclared => {
                "a component names a service that its descriptors do not hold"
            }
            Self::ComponentTypeUnknown => "a component has a type that Firn does not know",
            Self::KeyMissing => "a method of an entity has no key field",
            Self::StreamingEntity => "a method of an entity is streaming",
            Self::HttpRuleIllegal => "an HTTP rule is not legal",
            Self::HttpRuleTwice => "two HTTP rules have the same verb and template",
            Self::StorageNameTwice => "two components would share their storage",
            Self::ProtocolVersion => {
                "the function speaks a protocol version that Firn does not serve"
            }
            Self::NothingDeclared => "the function declares no component",
            Self::ServiceTwice => "two components declare the same service",
            Self::NotServedYet => "a declared component is not served by this version of Firn",
            Self::KeyAndGenerator => "a method declares both a key field and a key generator",
            Self::SdkDefect => "the SDK has a known defect that affects this component",
            Self::EventingNotServed => "declared eventing is not served by this version of Firn",
            Self::FamilyUnknown => "the function speaks none of the known protocol families",
            Self::ContractChanged => "the function came back with another contract",
            Self::KeyType => "a key field has a type that cannot name an entity",
            Self::MethodUndeclared => "a component lists a method that its service does not have",
            Self::OptionMisplaced => {
                "a component has an option of another state model, or lacks one that it needs"
            }
            Self::MessageUndeclared => {
                "a component names a state or event that its descriptors do not hold"
            }
            Self::ContractTaken => {
                "another connected function declares the same service or storage otherwise"
            }
            Self::TokenRefused => "the function's token is missing or wrong",
            Self::RetentionUnfit => "what is to be kept of a component does not fit it",
            Self::MethodUnknown => "no such service or method",
            Self::PayloadMalformed => "the request does not parse where Firn must read it",
            Self::JsonMalformed => "the JSON body is not valid for the request type",
            Self::IdEmpty => "the entity id is empty",
            Self::MessageTooLarge => "a message is above the size limit",
            Self::PathUnknown => "no HTTP rule matches the path",
            Self::VerbUnknown => "the path exists, but not with this verb",
            Self::ContentType => "the content type is not served",
            Self::ParameterMalformed => "a path variable or query parameter is not valid",
            Self::AccessRuleUnenforced => {
                "the method declares an access rule that Firn does not enforce"
            }
            Self::IdempotencyKeyRefused => {
                "idempotency keys work on unary commands to entities only"
            }
            Self::IdempotencyKeyReused => "the idempotency key was used with another request",
            Self::HopLimit => "too many forwards or effects followed from one request",
            Self::MailboxFull => "too many commands wait for this entity",
            Self::DeadlinePassedQueued => "the deadline passed before the command was sent",
            Self::CommandTimeout => "the function did not answer in time",
            Self::StreamsExhausted => "no stream to the function became free in time",
            Self::FunctionUnavailable => "the function is not connected",
            Self::ShuttingDown => "Firn is shutting down",
            Self::TargetUnknown => "a forward or effect names an unknown method",
            Self::ProtocolViolated => "the function broke its protocol",
            Self::ReplyType => "the function replied with another type than declared",
            Self::EntityDeleted => "the entity was deleted and accepts no changes",
            Self::NoReply => "the function gave no reply",
            Self::FunctionFailed => "the function failed or ended the entity's stream",
            Self::EncodingUnsupported => "the compression of a message is not supported",
            Self::HeaderMalformed => "a request header is not valid",
            Self::ChangeInvalid => {
                "the function changed a replicated entity in a way that cannot be"
            }
            Self::ChangeNotConfirmed => "too few replicas confirmed a change in time",
            Self::CallerTooSlow => "the caller of a streamed command took its messages too slowly",
            Self::DecisionUnexpected => "the function answered a command that is not open",
            Self::DecisionOutOfOrder => {
                "the function answered the commands of an entity out of their order"
            }
            Self::DecisionVersion => {
                "the function decided on another version of an entity than Firn has"
            }
            Self::MutationUnfit => {
                "the function changed an entity in a way that its contract does not allow"
            }
            Self::NoBroker => "a message for a topic, and no broker is set up",
            Self::CreditExceeded => {
                "the function sent more messages of a streamed call than it may"
            }
            Self::CallCircle => "a call of the function would wait for itself",
            Self::CallsExceeded => "the function has more calls open than it may",
            Self::FrameTooLarge => "a frame is above the size limit",
            Self::FrameIllegal => "the function sent what is no frame, or not allowed there",
            Self::IdTooLong => "the entity id is too long",
            Self::DataFolderLocked => "another process has the data folder open",
            Self::FormatNewer => "the data folder was written by a newer Firn",
            Self::RecordDamaged => "a stored record is damaged",
            Self::FlushFailed => "a write or flush of the store failed",
            Self::StoreUnknown => "the store setting names no known backend",
            Self::CommitRefused => "a commit was refused: another owner has the slot",
            Self::CommitUnknown => "the outcome of a commit is not known",
            Self::LoadFailed => "an entity could not be loaded",
            Self::DataFolderUnusable => "the data folder cannot be created, read or written",
            Self::DatabaseUrl => "the URL of a database is not valid",
            Self::DatabaseUnreachable => "the database does not answer, or fails",
            Self::DatabaseLogin => "the database refuses the log-in",
            Self::DatabaseInsecure => {
                "the database gives no connection as secure as it was asked for"
            }
            Self::DatabaseUnfit => {
                "the database is too old, or set up in a way that cannot hold a store"
            }
            Self::SchemaNewer => "the schema of the database was made by a newer Firn",
            Self::SchemaOlder => {
                "the schema of the database is missing or older, and may not be changed"
            }
            Self::MigrationFailed => "the schema of the database could not be made or changed",
            Self::DatabaseReadOnly => "the database takes no writes",
            Self::SlotsTaken => "another Firn has the slots",
            Self::SlotsLost => "another Firn has taken the slots of this one",
            Self::CommitNotWritten => "the store did not write a commit",
            Self::OwnerUnsure => "whether this Firn still owns an entity is not known",
            Self::KeyNotGiven => "the store is sealed, and a key that it uses was not given",
            Self::KeyWrong => {
                "the store is sealed with another key than the one given under its id"
            }
            Self::StoreUnsealed => "keys were given, and the store holds data that is not sealed",
            Self::ArchiveDamaged => "an export file is damaged, cut off, or no export file",
            Self::ArchiveNewer => "an export file was written by a newer Firn",
            Self::ArchiveUnusable => "an export file cannot be read or written",
            Self::StoreNotEmpty => "the store to be filled is not empty",
            Self::RestoreUnfinished => "the store was not filled to the end",
            Self::StoreFaulty => "the store holds what does not fit together",
            Self::BackupRefused => "a backup was asked for from another machine",
            Self::VersionTrimmed => "the version of an entity that was asked for was trimmed",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FIRN-{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_name_their_codes() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(*code));
            assert_eq!(code.to_string(), format!("FIRN-{}", code.number()));
        }
    }
}
