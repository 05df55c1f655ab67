import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_UNSPECIFIED: _ClassVar[Model]
    MODEL_ACTION: _ClassVar[Model]
    MODEL_VALUE: _ClassVar[Model]
    MODEL_EVENT_SOURCED: _ClassVar[Model]
    MODEL_REPLICATED: _ClassVar[Model]
    MODEL_ACTOR: _ClassVar[Model]

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_COMMIT: _ClassVar[Durability]
    DURABILITY_WRITE_BEHIND: _ClassVar[Durability]

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_GROW_COUNTER: _ClassVar[DataType]
    DATA_TYPE_COUNTER: _ClassVar[DataType]
    DATA_TYPE_GROW_SET: _ClassVar[DataType]
    DATA_TYPE_SET: _ClassVar[DataType]
    DATA_TYPE_FLAG: _ClassVar[DataType]
    DATA_TYPE_REGISTER: _ClassVar[DataType]
    DATA_TYPE_MAP: _ClassVar[DataType]
    DATA_TYPE_VOTE: _ClassVar[DataType]
    DATA_TYPE_COUNTER_MAP: _ClassVar[DataType]
    DATA_TYPE_REGISTER_MAP: _ClassVar[DataType]
    DATA_TYPE_MULTI_MAP: _ClassVar[DataType]

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_LOCAL: _ClassVar[Consistency]
    CONSISTENCY_MAJORITY: _ClassVar[Consistency]
    CONSISTENCY_ALL: _ClassVar[Consistency]
MODEL_UNSPECIFIED: Model
MODEL_ACTION: Model
MODEL_VALUE: Model
MODEL_EVENT_SOURCED: Model
MODEL_REPLICATED: Model
MODEL_ACTOR: Model
DURABILITY_COMMIT: Durability
DURABILITY_WRITE_BEHIND: Durability
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_GROW_COUNTER: DataType
DATA_TYPE_COUNTER: DataType
DATA_TYPE_GROW_SET: DataType
DATA_TYPE_SET: DataType
DATA_TYPE_FLAG: DataType
DATA_TYPE_REGISTER: DataType
DATA_TYPE_MAP: DataType
DATA_TYPE_VOTE: DataType
DATA_TYPE_COUNTER_MAP: DataType
DATA_TYPE_REGISTER_MAP: DataType
DATA_TYPE_MULTI_MAP: DataType
CONSISTENCY_LOCAL: Consistency
CONSISTENCY_MAJORITY: Consistency
CONSISTENCY_ALL: Consistency

class FunctionBatch(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[FunctionFrame]
    def __init__(self, frames: _Optional[_Iterable[_Union[FunctionFrame, _Mapping]]] = ...) -> None: ...

class FirnBatch(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[FirnFrame]
    def __init__(self, frames: _Optional[_Iterable[_Union[FirnFrame, _Mapping]]] = ...) -> None: ...

class FunctionFrame(_message.Message):
    __slots__ = ("hello", "decision", "reply", "credit", "chunk", "closed", "call", "cancel", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    decision: Decision
    reply: Reply
    credit: Credit
    chunk: Chunk
    closed: Closed
    call: Call
    cancel: Cancel
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., closed: _Optional[_Union[Closed, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class FirnFrame(_message.Message):
    __slots__ = ("welcome", "refusal", "command", "message", "cancel", "change", "close", "credit", "chunk", "call_result", "notice", "goodbye")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    CALL_RESULT_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    refusal: Refusal
    command: Command
    message: Message
    cancel: Cancel
    change: Change
    close: Close
    credit: Credit
    chunk: Chunk
    call_result: CallResult
    notice: Notice
    goodbye: Goodbye
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., change: _Optional[_Union[Change, _Mapping]] = ..., close: _Optional[_Union[Close, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., call_result: _Optional[_Union[CallResult, _Mapping]] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("minor", "info", "contract", "commands", "call_messages", "frame_bytes")
    MINOR_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    CALL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    minor: int
    info: Info
    contract: Contract
    commands: int
    call_messages: int
    frame_bytes: int
    def __init__(self, minor: _Optional[int] = ..., info: _Optional[_Union[Info, _Mapping]] = ..., contract: _Optional[_Union[Contract, _Mapping]] = ..., commands: _Optional[int] = ..., call_messages: _Optional[int] = ..., frame_bytes: _Optional[int] = ...) -> None: ...

class Info(_message.Message):
    __slots__ = ("name", "version", "runtime", "sdk", "process")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    SDK_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    runtime: str
    sdk: str
    process: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., runtime: _Optional[str] = ..., sdk: _Optional[str] = ..., process: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("minor", "firn", "calls", "call_messages", "frame_bytes", "chunk_bytes", "client_address")
    MINOR_FIELD_NUMBER: _ClassVar[int]
    FIRN_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    CALL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    minor: int
    firn: str
    calls: int
    call_messages: int
    frame_bytes: int
    chunk_bytes: int
    client_address: str
    def __init__(self, minor: _Optional[int] = ..., firn: _Optional[str] = ..., calls: _Optional[int] = ..., call_messages: _Optional[int] = ..., frame_bytes: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., client_address: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("findings",)
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("code", "text", "remedy", "service", "location")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    remedy: str
    service: str
    location: str
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ..., remedy: _Optional[str] = ..., service: _Optional[str] = ..., location: _Optional[str] = ...) -> None: ...

class Contract(_message.Message):
    __slots__ = ("descriptors", "components")
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    descriptors: bytes
    components: _containers.RepeatedCompositeFieldContainer[Component]
    def __init__(self, descriptors: _Optional[bytes] = ..., components: _Optional[_Iterable[_Union[Component, _Mapping]]] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("service", "model", "methods", "id", "storage", "passivate_after", "headers", "events", "state", "snapshot_every", "data", "consistency", "durability")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    PASSIVATE_AFTER_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_EVERY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    service: str
    model: Model
    methods: _containers.RepeatedCompositeFieldContainer[Method]
    id: _containers.RepeatedScalarFieldContainer[str]
    storage: str
    passivate_after: _duration_pb2.Duration
    headers: _containers.RepeatedScalarFieldContainer[str]
    events: _containers.RepeatedScalarFieldContainer[str]
    state: str
    snapshot_every: int
    data: DataType
    consistency: Consistency
    durability: Durability
    def __init__(self, service: _Optional[str] = ..., model: _Optional[_Union[Model, str]] = ..., methods: _Optional[_Iterable[_Union[Method, _Mapping]]] = ..., id: _Optional[_Iterable[str]] = ..., storage: _Optional[str] = ..., passivate_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., headers: _Optional[_Iterable[str]] = ..., events: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., snapshot_every: _Optional[int] = ..., data: _Optional[_Union[DataType, str]] = ..., consistency: _Optional[_Union[Consistency, str]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class Method(_message.Message):
    __slots__ = ("name", "id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., id: _Optional[_Iterable[str]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "component", "method", "incarnation", "opening", "message", "metadata", "timeout_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    OPENING_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    component: int
    method: int
    incarnation: int
    opening: Opening
    message: bytes
    metadata: Metadata
    timeout_ms: int
    def __init__(self, id: _Optional[int] = ..., component: _Optional[int] = ..., method: _Optional[int] = ..., incarnation: _Optional[int] = ..., opening: _Optional[_Union[Opening, _Mapping]] = ..., message: _Optional[bytes] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class Opening(_message.Message):
    __slots__ = ("entity_id", "version", "value", "history", "data", "actor")
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    entity_id: str
    version: int
    value: _any_pb2.Any
    history: History
    data: Delta
    actor: Actor
    def __init__(self, entity_id: _Optional[str] = ..., version: _Optional[int] = ..., value: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., history: _Optional[_Union[History, _Mapping]] = ..., data: _Optional[_Union[Delta, _Mapping]] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("snapshot", "snapshot_version", "events")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    snapshot: _any_pb2.Any
    snapshot_version: int
    events: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, snapshot: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., snapshot_version: _Optional[int] = ..., events: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class Actor(_message.Message):
    __slots__ = ("state", "tags")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    state: _any_pb2.Any
    tags: _containers.ScalarMap[str, str]
    def __init__(self, state: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("command", "message", "end")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    command: int
    message: bytes
    end: bool
    def __init__(self, command: _Optional[int] = ..., message: _Optional[bytes] = ..., end: _Optional[bool] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class Metadata(_message.Message):
    __slots__ = ("entries",)
    class Entry(_message.Message):
        __slots__ = ("key", "text", "binary")
        KEY_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        BINARY_FIELD_NUMBER: _ClassVar[int]
        key: str
        text: str
        binary: bytes
        def __init__(self, key: _Optional[str] = ..., text: _Optional[str] = ..., binary: _Optional[bytes] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Metadata.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[Metadata.Entry, _Mapping]]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("command", "reply", "forward", "failure", "metadata", "mutation", "effects", "timers", "version")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    MUTATION_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    TIMERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    command: int
    reply: bytes
    forward: Target
    failure: Failure
    metadata: Metadata
    mutation: Mutation
    effects: _containers.RepeatedCompositeFieldContainer[Effect]
    timers: _containers.RepeatedCompositeFieldContainer[Timer]
    version: int
    def __init__(self, command: _Optional[int] = ..., reply: _Optional[bytes] = ..., forward: _Optional[_Union[Target, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ..., mutation: _Optional[_Union[Mutation, _Mapping]] = ..., effects: _Optional[_Iterable[_Union[Effect, _Mapping]]] = ..., timers: _Optional[_Iterable[_Union[Timer, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("command", "message", "metadata", "effects")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    command: int
    message: bytes
    metadata: Metadata
    effects: _containers.RepeatedCompositeFieldContainer[Effect]
    def __init__(self, command: _Optional[int] = ..., message: _Optional[bytes] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ..., effects: _Optional[_Iterable[_Union[Effect, _Mapping]]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("service", "method", "message", "metadata")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    service: str
    method: str
    message: bytes
    metadata: Metadata
    def __init__(self, service: _Optional[str] = ..., method: _Optional[str] = ..., message: _Optional[bytes] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class Mutation(_message.Message):
    __slots__ = ("set", "delete", "append", "update", "actor")
    SET_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    set: _any_pb2.Any
    delete: Delete
    append: Append
    update: Update
    actor: Actor
    def __init__(self, set: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ..., append: _Optional[_Union[Append, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ...) -> None: ...

class Delete(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Append(_message.Message):
    __slots__ = ("events", "snapshot")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    snapshot: _any_pb2.Any
    def __init__(self, events: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., snapshot: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("delta", "consistency")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    delta: Delta
    consistency: Consistency
    def __init__(self, delta: _Optional[_Union[Delta, _Mapping]] = ..., consistency: _Optional[_Union[Consistency, str]] = ...) -> None: ...

class Effect(_message.Message):
    __slots__ = ("call", "publish")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    call: CallEffect
    publish: Publish
    def __init__(self, call: _Optional[_Union[CallEffect, _Mapping]] = ..., publish: _Optional[_Union[Publish, _Mapping]] = ...) -> None: ...

class CallEffect(_message.Message):
    __slots__ = ("target", "wait", "delay")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    target: Target
    wait: bool
    delay: _duration_pb2.Duration
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., wait: _Optional[bool] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("topic", "message", "metadata")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    topic: str
    message: _any_pb2.Any
    metadata: Metadata
    def __init__(self, topic: _Optional[str] = ..., message: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ...) -> None: ...

class Timer(_message.Message):
    __slots__ = ("name", "set", "cancel")
    class Schedule(_message.Message):
        __slots__ = ("after", "method", "message", "repeat")
        AFTER_FIELD_NUMBER: _ClassVar[int]
        METHOD_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        REPEAT_FIELD_NUMBER: _ClassVar[int]
        after: _duration_pb2.Duration
        method: str
        message: bytes
        repeat: bool
        def __init__(self, after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., method: _Optional[str] = ..., message: _Optional[bytes] = ..., repeat: _Optional[bool] = ...) -> None: ...
    class Unset(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    set: Timer.Schedule
    cancel: Timer.Unset
    def __init__(self, name: _Optional[str] = ..., set: _Optional[_Union[Timer.Schedule, _Mapping]] = ..., cancel: _Optional[_Union[Timer.Unset, _Mapping]] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("incarnation",)
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    def __init__(self, incarnation: _Optional[int] = ...) -> None: ...

class Closed(_message.Message):
    __slots__ = ("incarnation",)
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    def __init__(self, incarnation: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("incarnation", "delta", "deleted")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    delta: Delta
    deleted: Delete
    def __init__(self, incarnation: _Optional[int] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., deleted: _Optional[_Union[Delete, _Mapping]] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "command", "target", "timeout_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    command: int
    target: Target
    timeout_ms: int
    def __init__(self, id: _Optional[int] = ..., command: _Optional[int] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class CallResult(_message.Message):
    __slots__ = ("id", "reply", "failure", "metadata")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    id: int
    reply: bytes
    failure: Failure
    metadata: Metadata
    def __init__(self, id: _Optional[int] = ..., reply: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("command", "amount")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    command: int
    amount: int
    def __init__(self, command: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("transfer", "data", "last", "subject")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    transfer: int
    data: bytes
    last: bool
    subject: int
    def __init__(self, transfer: _Optional[int] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., subject: _Optional[int] = ...) -> None: ...

class Notice(_message.Message):
    __slots__ = ("finding", "severity", "command")
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Notice.Severity]
        SEVERITY_WARNING: _ClassVar[Notice.Severity]
        SEVERITY_ERROR: _ClassVar[Notice.Severity]
    SEVERITY_UNSPECIFIED: Notice.Severity
    SEVERITY_WARNING: Notice.Severity
    SEVERITY_ERROR: Notice.Severity
    FINDING_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    finding: Finding
    severity: Notice.Severity
    command: int
    def __init__(self, finding: _Optional[_Union[Finding, _Mapping]] = ..., severity: _Optional[_Union[Notice.Severity, str]] = ..., command: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Delta(_message.Message):
    __slots__ = ("grow_counter", "counter", "grow_set", "set", "flag", "register", "map", "vote", "counter_map", "register_map", "multi_map")
    GROW_COUNTER_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    GROW_SET_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    COUNTER_MAP_FIELD_NUMBER: _ClassVar[int]
    REGISTER_MAP_FIELD_NUMBER: _ClassVar[int]
    MULTI_MAP_FIELD_NUMBER: _ClassVar[int]
    grow_counter: int
    counter: int
    grow_set: Elements
    set: SetDelta
    flag: bool
    register: Write
    map: MapDelta
    vote: Votes
    counter_map: CounterMapDelta
    register_map: RegisterMapDelta
    multi_map: MultiMapDelta
    def __init__(self, grow_counter: _Optional[int] = ..., counter: _Optional[int] = ..., grow_set: _Optional[_Union[Elements, _Mapping]] = ..., set: _Optional[_Union[SetDelta, _Mapping]] = ..., flag: _Optional[bool] = ..., register: _Optional[_Union[Write, _Mapping]] = ..., map: _Optional[_Union[MapDelta, _Mapping]] = ..., vote: _Optional[_Union[Votes, _Mapping]] = ..., counter_map: _Optional[_Union[CounterMapDelta, _Mapping]] = ..., register_map: _Optional[_Union[RegisterMapDelta, _Mapping]] = ..., multi_map: _Optional[_Union[MultiMapDelta, _Mapping]] = ...) -> None: ...

class Elements(_message.Message):
    __slots__ = ("elements",)
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    elements: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, elements: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class SetDelta(_message.Message):
    __slots__ = ("cleared", "removed", "added")
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    cleared: bool
    removed: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    added: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, cleared: _Optional[bool] = ..., removed: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., added: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class Write(_message.Message):
    __slots__ = ("value", "clock", "custom")
    class Clock(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CLOCK_DEFAULT: _ClassVar[Write.Clock]
        CLOCK_REVERSE: _ClassVar[Write.Clock]
        CLOCK_CUSTOM: _ClassVar[Write.Clock]
        CLOCK_CUSTOM_AUTO_INCREMENT: _ClassVar[Write.Clock]
    CLOCK_DEFAULT: Write.Clock
    CLOCK_REVERSE: Write.Clock
    CLOCK_CUSTOM: Write.Clock
    CLOCK_CUSTOM_AUTO_INCREMENT: Write.Clock
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    value: _any_pb2.Any
    clock: Write.Clock
    custom: int
    def __init__(self, value: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., clock: _Optional[_Union[Write.Clock, str]] = ..., custom: _Optional[int] = ...) -> None: ...

class MapDelta(_message.Message):
    __slots__ = ("cleared", "removed", "updated", "added")
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    cleared: bool
    removed: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    updated: _containers.RepeatedCompositeFieldContainer[MapEntry]
    added: _containers.RepeatedCompositeFieldContainer[MapEntry]
    def __init__(self, cleared: _Optional[bool] = ..., removed: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., updated: _Optional[_Iterable[_Union[MapEntry, _Mapping]]] = ..., added: _Optional[_Iterable[_Union[MapEntry, _Mapping]]] = ...) -> None: ...

class MapEntry(_message.Message):
    __slots__ = ("key", "delta")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    key: _any_pb2.Any
    delta: Delta
    def __init__(self, key: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ...) -> None: ...

class Votes(_message.Message):
    __slots__ = ("own", "yes", "members")
    OWN_FIELD_NUMBER: _ClassVar[int]
    YES_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    own: bool
    yes: int
    members: int
    def __init__(self, own: _Optional[bool] = ..., yes: _Optional[int] = ..., members: _Optional[int] = ...) -> None: ...

class CounterMapDelta(_message.Message):
    __slots__ = ("cleared", "removed", "updated")
    class Entry(_message.Message):
        __slots__ = ("key", "change")
        KEY_FIELD_NUMBER: _ClassVar[int]
        CHANGE_FIELD_NUMBER: _ClassVar[int]
        key: _any_pb2.Any
        change: int
        def __init__(self, key: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., change: _Optional[int] = ...) -> None: ...
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    cleared: bool
    removed: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    updated: _containers.RepeatedCompositeFieldContainer[CounterMapDelta.Entry]
    def __init__(self, cleared: _Optional[bool] = ..., removed: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., updated: _Optional[_Iterable[_Union[CounterMapDelta.Entry, _Mapping]]] = ...) -> None: ...

class RegisterMapDelta(_message.Message):
    __slots__ = ("cleared", "removed", "updated")
    class Entry(_message.Message):
        __slots__ = ("key", "write")
        KEY_FIELD_NUMBER: _ClassVar[int]
        WRITE_FIELD_NUMBER: _ClassVar[int]
        key: _any_pb2.Any
        write: Write
        def __init__(self, key: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., write: _Optional[_Union[Write, _Mapping]] = ...) -> None: ...
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    cleared: bool
    removed: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    updated: _containers.RepeatedCompositeFieldContainer[RegisterMapDelta.Entry]
    def __init__(self, cleared: _Optional[bool] = ..., removed: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., updated: _Optional[_Iterable[_Union[RegisterMapDelta.Entry, _Mapping]]] = ...) -> None: ...

class MultiMapDelta(_message.Message):
    __slots__ = ("cleared", "removed", "updated")
    class Entry(_message.Message):
        __slots__ = ("key", "change")
        KEY_FIELD_NUMBER: _ClassVar[int]
        CHANGE_FIELD_NUMBER: _ClassVar[int]
        key: _any_pb2.Any
        change: SetDelta
        def __init__(self, key: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., change: _Optional[_Union[SetDelta, _Mapping]] = ...) -> None: ...
    CLEARED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    cleared: bool
    removed: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    updated: _containers.RepeatedCompositeFieldContainer[MultiMapDelta.Entry]
    def __init__(self, cleared: _Optional[bool] = ..., removed: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., updated: _Optional[_Iterable[_Union[MultiMapDelta.Entry, _Mapping]]] = ...) -> None: ...
