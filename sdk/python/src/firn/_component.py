"""Components: what a function declares and how it is implemented."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, get_args, get_origin, overload

from google.protobuf import empty_pb2, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from firn import _schema
from firn._codec import Types, codec_of
from firn._context import (
    ActionContext,
    ActorContext,
    Caller,
    Context,
    EventSourcedContext,
    ReplicatedContext,
    ValueContext,
)
from firn._entity import Entity
from firn._errors import DeclarationError
from firn._method import Method
from firn.data import Data
from firn.v1 import function_pb2 as pb

C = TypeVar("C", bound=Context)
C_co = TypeVar("C_co", bound=Context, covariant=True)
S = TypeVar("S")
D = TypeVar("D", bound=Data)
Req = TypeVar("Req")
Rep = TypeVar("Rep")
Id = str | Sequence[str]
Mode = Literal["inline", "copy", "stream"]


class Consistency(IntEnum):
    """How many replicas must hold a change durably before it is answered."""

    LOCAL = 0
    """This node, in memory."""
    MAJORITY = 1
    """More than half of the members."""
    ALL = 2
    """All members."""


class Durability(IntEnum):
    """When an actor's state becomes durable."""

    COMMIT = 0
    """Before its command is answered."""
    WRITE_BEHIND = 1
    """Later: the answer does not wait. What was not written when Firn is killed is lost."""


class Declare(Protocol[C_co]):
    """Declares a handler with what `Component.handler` was given."""

    @overload
    def __call__(
        self, function: Callable[[Req, C_co], Coroutine[Any, Any, Rep]], /
    ) -> Method[Req, Rep]: ...
    @overload
    def __call__(self, function: Callable[[Req, C_co], AsyncIterator[Rep]], /) -> Method[Req, Rep]: ...
    @overload
    def __call__(self, function: Callable[[Req, C_co], Rep], /) -> Method[Req, Rep]: ...


@dataclass(eq=False, slots=True)
class Handler:
    """A method that the function handles."""

    name: str
    function: Callable[..., Any]
    request: type
    reply: type
    streams_in: bool
    streams_out: bool
    id: tuple[str, ...]
    http: str
    method: Method[Any, Any]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    empty_reply: bool
    """Whether the reply is `google.protobuf.Empty`, so that handlers may give none."""
    is_async: bool = field(init=False)
    """Whether it may wait, so that it needs a task."""
    mode: Mode = field(init=False)
    """How it works on replicated data."""

    def __post_init__(self) -> None:
        code = self.function
        while hasattr(code, "func"):  # functools.partial
            code = code.func
        if self.streams_out and not (inspect.isasyncgenfunction(code) or inspect.isgeneratorfunction(code)):
            raise DeclarationError(f"{self.name} streams replies: its handler must `yield` them")
        waits = inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)
        if self.streams_in and not waits:
            raise DeclarationError(f"{self.name} streams requests: its handler must be `async def`")
        if not self.streams_out and (inspect.isasyncgenfunction(code) or inspect.isgeneratorfunction(code)):
            raise DeclarationError(f"{self.name} has one reply: its handler must `return` it")
        self.is_async = waits or self.streams_out
        self.mode = "stream" if self.streams_out else "copy" if self.is_async else "inline"

    def encode_reply(self, reply: object) -> bytes:
        """The bytes of what a handler gave."""
        if reply is None and self.empty_reply:
            return b""
        return self.encode(reply)


class Component(Generic[C]):
    """The implementation of one service: what all models have in common."""

    model: typing.ClassVar[pb.Model]
    is_entity: typing.ClassVar[bool] = True

    def __init__(
        self,
        service: ServiceDescriptor | str,
        *,
        id: Id = (),
        storage: str = "",
        passivate_after: timedelta | float | None = None,
        headers: Iterable[str] = (),
    ) -> None:
        self.descriptor = None if isinstance(service, str) else service
        self.service: str = service if isinstance(service, str) else service.full_name
        self.package, _, self.name = self.service.rpartition(".")
        if self.descriptor is None and not (self.package and _schema.PASCAL_CASE.fullmatch(self.name)):
            raise DeclarationError(
                f'"{self.service}" must name a package and a service in PascalCase, like "shop.Cart"'
            )
        self.id = (id,) if isinstance(id, str) else tuple(id)
        self.storage = storage
        self.passivate_after = passivate_after
        self.headers = tuple(headers)
        self.types = Types(self.package)
        self.stored: list[type] = []
        """The types of states, events and elements."""
        self.handlers: list[Handler] = []

    # The overloads tell type checkers what kind of handler gives which method.

    @overload
    def handler(self, function: Callable[[Req, C], Coroutine[Any, Any, Rep]], /) -> Method[Req, Rep]: ...
    @overload
    def handler(self, function: Callable[[Req, C], AsyncIterator[Rep]], /) -> Method[Req, Rep]: ...
    @overload
    def handler(self, function: Callable[[Req, C], Rep], /) -> Method[Req, Rep]: ...
    @overload
    def handler(self, /, *, name: str = "", id: Id = (), http: str = "") -> Declare[C]: ...

    def handler(
        self, function: Callable[..., Any] | None = None, /, *, name: str = "", id: Id = (), http: str = ""
    ) -> Any:
        """Declares the handler of a method, named as the function in PascalCase or by `name`.

        A handler takes the request and the context, and returns the reply. A plain function (`def`)
        runs at once and must not block; an `async def` may wait. If requests are streamed it gets an
        async iterator of them; if replies are streamed it yields them.

        `id` says where the requests name their entity, if otherwise than the component. `http` gives a
        method of a service declared in code a path: `http="GET /carts/{cart_id}"`.

        What the decorator gives is a `Method`: `add_item(request)` describes a call of it.
        """
        # Types of a test or another function are in the frame that declares the handler.
        scope = dict(sys._getframe(1).f_locals)

        def declare(function: Callable[..., Any]) -> Method[Any, Any]:
            parts = (id,) if isinstance(id, str) else tuple(id)
            return self._declare(function, name, parts, http, scope)

        return declare if function is None else declare(function)

    def _declare(
        self, function: Callable[..., Any], name: str, id: tuple[str, ...], http: str, scope: dict[str, Any]
    ) -> Method[Any, Any]:
        name = name or "".join(part[:1].upper() + part[1:] for part in function.__name__.split("_"))
        if any(handler.name == name for handler in self.handlers):
            raise DeclarationError(f"{self.service}/{name} has a handler already")
        if self.descriptor is not None:
            if http:
                raise DeclarationError(f"{self.service}/{name}: its HTTP path belongs into the .proto file")
            shape = self._shape_of_contract(self.descriptor, name)
        else:
            shape = self._shape_of_function(function, name, scope)
        request, reply, streams_in, streams_out = shape
        self._check_shape(name, streams_in, streams_out)
        empty = reply is empty_pb2.Empty
        method: Method[Any, Any] = Method(self.service, name, request, None if empty else reply)
        handler = Handler(
            name=name,
            function=function,
            request=request,
            reply=reply,
            streams_in=streams_in,
            streams_out=streams_out,
            id=id,
            http=http,
            method=method,
            decode=codec_of(request).decode,
            encode=codec_of(reply).encode,
            empty_reply=empty,
        )
        self.handlers.append(handler)
        return method

    def _shape_of_contract(self, descriptor: ServiceDescriptor, name: str) -> tuple[type, type, bool, bool]:
        method: MethodDescriptor | None = descriptor.methods_by_name.get(name)
        if method is None:
            known = ", ".join(descriptor.methods_by_name)
            raise DeclarationError(f"{self.service} has no method {name}; it has {known}")
        return (
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
            method.client_streaming,
            method.server_streaming,
        )

    def _shape_of_function(
        self, function: Callable[..., Any], name: str, scope: dict[str, Any]
    ) -> tuple[type, type, bool, bool]:
        where = f"{self.service}/{name}"
        try:
            hints = typing.get_type_hints(function, localns=scope)
        except NameError as error:
            raise DeclarationError(f"{where}: {error}; declare the types before the handler") from error
        parameters = list(inspect.signature(function).parameters)
        if len(parameters) != 2 or parameters[0] not in hints or "return" not in hints:
            raise DeclarationError(
                f"{where}: a handler takes a request and a context, and its request and reply are annotated: "
                "def name(request: Request, ctx: firn.…Context) -> Reply"
            )
        request, streams_in = _streamed(hints[parameters[0]], (AsyncIterator,))
        reply, streams_out = _streamed(hints["return"], (AsyncIterator, Iterator))
        if reply is type(None):
            reply = empty_pb2.Empty
        for kind in (request, reply):
            if not (isinstance(kind, type) and (issubclass(kind, Message) or _schema.is_declared(kind))):
                raise DeclarationError(f"{where}: {kind!r} is not a dataclass, a pydantic model or a message")
            if not issubclass(kind, Message):
                codec_of(kind)
        return request, reply, streams_in, streams_out

    def _check_shape(self, name: str, streams_in: bool, streams_out: bool) -> None:
        # R14
        if streams_in or streams_out:
            raise DeclarationError(
                f"{self.service}/{name} is streamed; methods of this kind of entity have one request and "
                "one reply: use an action or a replicated entity"
            )

    def _register(self, kind: type) -> str:
        """Takes in a type that is stored; gives its full name."""
        if self.descriptor is not None and not issubclass(kind, Message):
            raise DeclarationError(
                f"{self.service} comes from a .proto file: {kind.__name__} must be a message of one as well"
            )
        self.stored.append(kind)
        return self.types.register(kind)

    # What the models say.

    def _context(self, caller: Caller, command: pb.Command, entity: Entity, handler: Handler) -> Context:
        raise NotImplementedError

    def _open(self, entity: Entity, opening: pb.Opening) -> None:
        raise NotImplementedError

    def _options(self, component: pb.Component) -> None:
        """Fills in the options of the model."""

    def new_state(self) -> Any:
        """The state of an entity that has none."""
        raise NotImplementedError

    def new_data(self) -> Data:
        """The data of an entity that has none."""
        raise NotImplementedError

    def check_state(self, state: object) -> None:
        """Fails if something cannot be the state."""
        raise NotImplementedError

    def fold(self, state: Any, event: object) -> Any:
        """The state after an event."""
        raise NotImplementedError

    @property
    def snapshot_every(self) -> int:
        """After how many events a snapshot is due; 0 for never."""
        return 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service}>"


def _streamed(hint: Any, kinds: tuple[Any, ...]) -> tuple[Any, bool]:
    origin = get_origin(hint)
    if isinstance(origin, type) and any(issubclass(origin, kind) for kind in kinds):
        return get_args(hint)[0], True
    return hint, False


class Action(Component[ActionContext]):
    """Stateless code. Commands run side by side; requests and replies may be streamed."""

    model = pb.MODEL_ACTION
    is_entity = False

    def __init__(self, service: ServiceDescriptor | str, *, headers: Iterable[str] = ()) -> None:
        """`service` is a service of a generated file, or the full name of one declared by its handlers.

        `headers` are those of a caller that reach the handlers; `"*"` for all.
        """
        super().__init__(service, headers=headers)

    def _check_shape(self, name: str, streams_in: bool, streams_out: bool) -> None:
        pass


class _StateComponent(Component[C], Generic[C, S]):
    """What value entities, event sourced entities and actors have in common: a state."""

    def __init__(
        self,
        service: ServiceDescriptor | str,
        *,
        id: Id,
        state: type[S],
        empty: Callable[[], S] | None,
        storage: str,
        passivate_after: timedelta | float | None,
        headers: Iterable[str],
    ) -> None:
        super().__init__(
            service, id=id, storage=storage, passivate_after=passivate_after, headers=headers
        )
        self.state_type = state
        self.state_name = self._register(state)
        self._empty: Callable[[], S] = empty or state
        if empty is None:
            try:
                state()
            except (TypeError, ValueError) as error:
                raise DeclarationError(
                    f"{self.service}: {state.__name__} has fields without defaults, so the state of an "
                    f"entity that has none is unknown: give them defaults, or say empty=lambda: …"
                ) from error

    def new_state(self) -> S:
        """The state of an entity that has none."""
        return self._empty()

    def check_state(self, state: object) -> None:
        """Fails if something cannot be the state."""
        if not isinstance(state, self.state_type):
            raise TypeError(
                f"the state of {self.service} is a {self.state_type.__name__}, not {type(state).__name__}"
            )

    def _options(self, component: pb.Component) -> None:
        component.state = self.state_name


class ValueEntity(_StateComponent[ValueContext[S], S], Generic[S]):
    """An entity whose state is replaced as a whole."""

    model = pb.MODEL_VALUE

    def __init__(
        self,
        service: ServiceDescriptor | str,
        *,
        state: type[S],
        id: Id = (),
        empty: Callable[[], S] | None = None,
        storage: str = "",
        passivate_after: timedelta | float | None = None,
        headers: Iterable[str] = (),
    ) -> None:
        """`service` is a service of a generated file, or the full name of one declared by its handlers.

        - `state`: the type of the state.
        - `id`: the field of the requests that names the entity; nested with dots, several for an id of
          several parts.
        - `empty`: makes the state of an entity that has none; otherwise `state()`.
        - `storage`: the name under which the data is kept; the service's by default.
        - `passivate_after`: how long an entity may be idle in memory, in seconds if it is a number.
        - `headers`: those of a caller that reach the handlers; `"*"` for all.
        """
        super().__init__(
            service,
            id=id,
            state=state,
            empty=empty,
            storage=storage,
            passivate_after=passivate_after,
            headers=headers,
        )

    def _context(self, caller: Caller, command: pb.Command, entity: Entity, handler: Handler) -> Context:
        return ValueContext(caller, command, entity)

    def _open(self, entity: Entity, opening: pb.Opening) -> None:
        # R50
        if opening.WhichOneof("state") == "value":
            entity.packed = (opening.value.type_url, opening.value.value)
            entity.state = self.types.unpack(*entity.packed)


class Actor(_StateComponent[ActorContext[S], S], Generic[S]):
    """An entity with a state, tags and timers."""

    model = pb.MODEL_ACTOR

    def __init__(
        self,
        service: ServiceDescriptor | str,
        *,
        state: type[S],
        id: Id = (),
        empty: Callable[[], S] | None = None,
        durability: Durability = Durability.COMMIT,
        storage: str = "",
        passivate_after: timedelta | float | None = None,
        headers: Iterable[str] = (),
    ) -> None:
        """`durability` says when the state becomes durable; the rest is as for `ValueEntity`."""
        super().__init__(
            service,
            id=id,
            state=state,
            empty=empty,
            storage=storage,
            passivate_after=passivate_after,
            headers=headers,
        )
        self.durability = durability

    def _context(self, caller: Caller, command: pb.Command, entity: Entity, handler: Handler) -> Context:
        return ActorContext(caller, command, entity)

    def _open(self, entity: Entity, opening: pb.Opening) -> None:
        actor = opening.actor
        if actor.HasField("state"):
            entity.packed = (actor.state.type_url, actor.state.value)
            entity.state = self.types.unpack(*entity.packed)
        entity.tags = dict(actor.tags)

    def _options(self, component: pb.Component) -> None:
        super()._options(component)
        component.durability = cast(Any, int(self.durability))


class EventSourcedEntity(_StateComponent[EventSourcedContext[S], S], Generic[S]):
    """An entity whose state is what its events add up to."""

    model = pb.MODEL_EVENT_SOURCED

    def __init__(
        self,
        service: ServiceDescriptor | str,
        *,
        state: type[S],
        id: Id = (),
        events: Iterable[type] = (),
        apply: Callable[[S, Any], S] | None = None,
        empty: Callable[[], S] | None = None,
        snapshot_every: int = 0,
        storage: str = "",
        passivate_after: timedelta | float | None = None,
        headers: Iterable[str] = (),
    ) -> None:
        """Events are folded by `apply`, or by a function for each type of event; see `event`.

        - `events`: the types of the events that `apply` folds.
        - `apply`: the state after an event, `apply(state, event) -> state`.
        - `empty`: makes the state before the first event; otherwise `state()`.
        - `snapshot_every`: after how many events the state is stored beside them; 0 for never.
        - The rest is as for `ValueEntity`.
        """
        super().__init__(
            service,
            id=id,
            state=state,
            empty=empty,
            storage=storage,
            passivate_after=passivate_after,
            headers=headers,
        )
        if snapshot_every < 0:
            raise DeclarationError(f"{self.service}: snapshot_every must not be negative")
        self._snapshot_every = snapshot_every
        self._folds: dict[type, Callable[[S, Any], S]] = {}
        self.event_names: list[str] = []
        kinds = tuple(events)
        if bool(kinds) != (apply is not None):
            raise DeclarationError(
                f"{self.service}: apply and events belong together; or declare a function for each event "
                "with .event"
            )
        for kind in kinds:
            assert apply is not None
            self._add_event(kind, apply)

    def event(self, function: Callable[[S, Req], S]) -> Callable[[S, Req], S]:
        """Declares how one type of event changes the state: `def added(state: Cart, event: Added) -> Cart`.

        It may change the state it is given and return that, or return another.
        """
        scope = dict(sys._getframe(1).f_locals)
        try:
            hints = typing.get_type_hints(function, localns=scope)
        except NameError as error:
            raise DeclarationError(
                f"{self.service}: {error}; declare the types of events before their functions"
            ) from error
        parameters = list(inspect.signature(function).parameters)
        if len(parameters) != 2 or parameters[1] not in hints:
            raise DeclarationError(
                f"{self.service}: {function.__name__} must take a state and an event with its type: "
                "def name(state: State, event: Event) -> State"
            )
        self._add_event(hints[parameters[1]], function)
        return function

    def _add_event(self, kind: type, fold: Callable[[S, Any], S]) -> None:
        if kind in self._folds:
            raise DeclarationError(f"{self.service}: {kind.__name__} is folded already")
        self._folds[kind] = fold
        self.event_names.append(self._register(kind))

    def fold(self, state: Any, event: object) -> S:
        """The state after an event."""
        fold = self._folds.get(event.__class__)
        if fold is None:
            raise TypeError(
                f"{type(event).__name__} is not declared as an event of {self.service}: add it with .event"
            )
        after = fold(state, event)
        if not isinstance(after, self.state_type):
            raise TypeError(
                f"the function that folds {type(event).__name__} must return a {self.state_type.__name__}, "
                f"not {type(after).__name__}"
            )
        return after

    @property
    def snapshot_every(self) -> int:
        """After how many events a snapshot is due; 0 for never."""
        return self._snapshot_every

    def _context(self, caller: Caller, command: pb.Command, entity: Entity, handler: Handler) -> Context:
        return EventSourcedContext(caller, command, entity)

    def _open(self, entity: Entity, opening: pb.Opening) -> None:
        # R51
        history, unpack = opening.history, self.types.unpack
        if history.HasField("snapshot"):
            state = unpack(history.snapshot.type_url, history.snapshot.value)
        else:
            state = self.new_state()
        for event in history.events:
            state = self.fold(state, unpack(event.type_url, event.value))
        entity.state = state

    def _options(self, component: pb.Component) -> None:
        if not self.event_names:
            raise DeclarationError(f"{self.service} has no events: declare each with .event")
        super()._options(component)
        component.events.extend(self.event_names)
        component.snapshot_every = self._snapshot_every


class ReplicatedEntity(Component[ReplicatedContext[D]], Generic[D]):
    """An entity of which every node that is asked has a replica; all agree in the end."""

    model = pb.MODEL_REPLICATED

    def __init__(
        self,
        service: ServiceDescriptor | str,
        *,
        data: type[D],
        id: Id = (),
        consistency: Consistency = Consistency.LOCAL,
        storage: str = "",
        passivate_after: timedelta | float | None = None,
        headers: Iterable[str] = (),
    ) -> None:
        """Methods have one request, and one reply or a stream of them.

        - `data`: the type of the data, with its keys and elements: `CounterMap[Player]`; see `firn.data`.
        - `consistency`: how many replicas must hold a change before it is answered.
        - The rest is as for `ValueEntity`.
        """
        super().__init__(
            service, id=id, storage=storage, passivate_after=passivate_after, headers=headers
        )
        self.data_type: type[D] = get_origin(data) or data
        if not (isinstance(self.data_type, type) and hasattr(self.data_type, "TYPE")):
            raise DeclarationError(f"{self.service}: {data!r} is not one of the types of firn.data")
        self.consistency = consistency
        for kind in get_args(data):
            if isinstance(kind, type) and (issubclass(kind, Message) or _schema.is_declared(kind)):
                self._register(kind)

    def new_data(self) -> D:
        """The data of an entity that has none."""
        return self.data_type(self.types)

    def _check_shape(self, name: str, streams_in: bool, streams_out: bool) -> None:
        # R14
        if streams_in:
            raise DeclarationError(
                f"{self.service}/{name} streams requests; methods of replicated entities have one: use an action"
            )

    def _context(self, caller: Caller, command: pb.Command, entity: Entity, handler: Handler) -> Context:
        return ReplicatedContext(caller, command, entity, handler.mode)

    def _open(self, entity: Entity, opening: pb.Opening) -> None:
        # R52
        entity.data = self.new_data()
        if opening.WhichOneof("state") == "data":
            entity.data._apply(opening.data)

    def _options(self, component: pb.Component) -> None:
        component.data = self.data_type.TYPE
        component.consistency = cast(Any, int(self.consistency))
