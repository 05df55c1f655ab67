from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Request(_message.Message):
    __slots__ = ("id", "steps")
    ID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    id: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, id: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("set", "append", "delete", "fail", "crash", "forward", "effect", "call", "publish", "show_header", "set_header", "hang", "pad", "send", "set_timer", "cancel_timer", "set_tag")
    SET_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    CRASH_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    SHOW_HEADER_FIELD_NUMBER: _ClassVar[int]
    SET_HEADER_FIELD_NUMBER: _ClassVar[int]
    HANG_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    SET_TIMER_FIELD_NUMBER: _ClassVar[int]
    CANCEL_TIMER_FIELD_NUMBER: _ClassVar[int]
    SET_TAG_FIELD_NUMBER: _ClassVar[int]
    set: str
    append: str
    delete: Nothing
    fail: Fail
    crash: str
    forward: Target
    effect: Effect
    call: Target
    publish: Publish
    show_header: str
    set_header: Header
    hang: Nothing
    pad: int
    send: Send
    set_timer: SetTimer
    cancel_timer: str
    set_tag: SetTag
    def __init__(self, set: _Optional[str] = ..., append: _Optional[str] = ..., delete: _Optional[_Union[Nothing, _Mapping]] = ..., fail: _Optional[_Union[Fail, _Mapping]] = ..., crash: _Optional[str] = ..., forward: _Optional[_Union[Target, _Mapping]] = ..., effect: _Optional[_Union[Effect, _Mapping]] = ..., call: _Optional[_Union[Target, _Mapping]] = ..., publish: _Optional[_Union[Publish, _Mapping]] = ..., show_header: _Optional[str] = ..., set_header: _Optional[_Union[Header, _Mapping]] = ..., hang: _Optional[_Union[Nothing, _Mapping]] = ..., pad: _Optional[int] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., set_timer: _Optional[_Union[SetTimer, _Mapping]] = ..., cancel_timer: _Optional[str] = ..., set_tag: _Optional[_Union[SetTag, _Mapping]] = ...) -> None: ...

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Fail(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[str]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("value", "two")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TWO_FIELD_NUMBER: _ClassVar[int]
    value: Request
    two: Request
    def __init__(self, value: _Optional[_Union[Request, _Mapping]] = ..., two: _Optional[_Union[Request, _Mapping]] = ...) -> None: ...

class Effect(_message.Message):
    __slots__ = ("target", "wait", "delay_ms")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    target: Target
    wait: bool
    delay_ms: int
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., wait: _Optional[bool] = ..., delay_ms: _Optional[int] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("topic", "text")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    text: str
    def __init__(self, topic: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("text", "times", "pause_ms")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    text: str
    times: int
    pause_ms: int
    def __init__(self, text: _Optional[str] = ..., times: _Optional[int] = ..., pause_ms: _Optional[int] = ...) -> None: ...

class SetTimer(_message.Message):
    __slots__ = ("name", "after_ms", "repeat", "steps")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_ms: int
    repeat: bool
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, name: _Optional[str] = ..., after_ms: _Optional[int] = ..., repeat: _Optional[bool] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class SetTag(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("text", "count", "tags", "called", "headers", "pad")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CALLED_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    text: str
    count: int
    tags: _containers.ScalarMap[str, str]
    called: _containers.RepeatedCompositeFieldContainer[Called]
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    pad: bytes
    def __init__(self, text: _Optional[str] = ..., count: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., called: _Optional[_Iterable[_Union[Called, _Mapping]]] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., pad: _Optional[bytes] = ...) -> None: ...

class Called(_message.Message):
    __slots__ = ("reply", "code", "message", "details")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    reply: Reply
    code: int
    message: str
    details: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reply: _Optional[_Union[Reply, _Mapping]] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[str]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("text", "count")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    text: str
    count: int
    def __init__(self, text: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Appended(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Text(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class DataRequest(_message.Message):
    __slots__ = ("id", "steps", "consistency")
    ID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    steps: _containers.RepeatedCompositeFieldContainer[DataStep]
    consistency: int
    def __init__(self, id: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[DataStep, _Mapping]]] = ..., consistency: _Optional[int] = ...) -> None: ...

class DataStep(_message.Message):
    __slots__ = ("change", "add", "remove", "clear", "turn_on", "vote", "write", "at", "delete", "fail", "crash", "call", "hang")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    TURN_ON_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    CRASH_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    HANG_FIELD_NUMBER: _ClassVar[int]
    change: int
    add: str
    remove: str
    clear: Nothing
    turn_on: Nothing
    vote: bool
    write: Write
    at: At
    delete: Nothing
    fail: Fail
    crash: str
    call: Target
    hang: Nothing
    def __init__(self, change: _Optional[int] = ..., add: _Optional[str] = ..., remove: _Optional[str] = ..., clear: _Optional[_Union[Nothing, _Mapping]] = ..., turn_on: _Optional[_Union[Nothing, _Mapping]] = ..., vote: _Optional[bool] = ..., write: _Optional[_Union[Write, _Mapping]] = ..., at: _Optional[_Union[At, _Mapping]] = ..., delete: _Optional[_Union[Nothing, _Mapping]] = ..., fail: _Optional[_Union[Fail, _Mapping]] = ..., crash: _Optional[str] = ..., call: _Optional[_Union[Target, _Mapping]] = ..., hang: _Optional[_Union[Nothing, _Mapping]] = ...) -> None: ...

class Write(_message.Message):
    __slots__ = ("text", "clock", "custom")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    text: str
    clock: int
    custom: int
    def __init__(self, text: _Optional[str] = ..., clock: _Optional[int] = ..., custom: _Optional[int] = ...) -> None: ...

class At(_message.Message):
    __slots__ = ("key", "data_type", "step")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    key: str
    data_type: int
    step: DataStep
    def __init__(self, key: _Optional[str] = ..., data_type: _Optional[int] = ..., step: _Optional[_Union[DataStep, _Mapping]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("number", "on", "members", "text", "elements", "entries")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    number: int
    on: bool
    members: int
    text: str
    elements: _containers.RepeatedScalarFieldContainer[str]
    entries: _containers.RepeatedCompositeFieldContainer[ValueEntry]
    def __init__(self, number: _Optional[int] = ..., on: _Optional[bool] = ..., members: _Optional[int] = ..., text: _Optional[str] = ..., elements: _Optional[_Iterable[str]] = ..., entries: _Optional[_Iterable[_Union[ValueEntry, _Mapping]]] = ...) -> None: ...

class ValueEntry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: Value
    def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
