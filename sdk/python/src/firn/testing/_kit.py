"""The kit: one entity or action in memory, behind a Firn that keeps its state.

The kit has a session of the SDK, and speaks firn.v1 with it as Firn does, frame by frame. So what is
tested is what runs. After every command it also checks what only shows later in earnest: that the state
in memory is the one that would be rebuilt from what is stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from firn._codec import codec_of
from firn._component import Component, Handler
from firn._contract import contract_of
from firn._entity import Entity, open_entity
from firn._errors import Code, Failure, failure_of
from firn._metadata import Metadata, metadata_of
from firn._method import Method, Target
from firn._session import Limits, Session
from firn.data import Data
from firn.v1 import function_pb2 as pb

Rep = TypeVar("Rep")
Req = TypeVar("Req")
LIMITS = Limits(commands=1024, call_messages=16, frame_bytes=1 << 30, incarnations=1 << 30)
WELCOME = pb.Welcome(calls=1024, call_messages=1 << 20)


@dataclass(frozen=True)
class Effect:
    """An effect that a decision asks for."""

    call: Target[Any] | None
    """The method that is called; none if a message is published."""
    wait: bool = False
    after: timedelta = timedelta()
    topic: str = ""
    """The topic, if a message is published."""
    message: Any = None
    """The message for the topic."""


@dataclass(frozen=True)
class Timer:
    """A timer that a decision sets, or cancels if `call` is none."""

    name: str
    call: Target[Any] | None = None
    after: timedelta = timedelta()
    repeat: bool = False


@dataclass
class Result(Generic[Rep]):
    """What came of a command."""

    failure: Failure | None = None
    """The failure, if the command was refused."""
    events: list[Any] = field(default_factory=list)
    """The events that were appended."""
    snapshot: Any = None
    """The snapshot that was stored, if one was due."""
    deleted: bool = False
    """Whether the entity was deleted."""
    changed: bool = False
    """Whether anything of the entity was changed."""
    forward: Target[Any] | None = None
    """The method that answers instead."""
    effects: list[Effect] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    metadata: Metadata = field(default_factory=Metadata)
    """The headers of the reply."""
    _reply: Any = None

    @property
    def reply(self) -> Rep:
        """The reply; raises the failure if there was one."""
        if self.failure is not None:
            raise self.failure
        if self.forward is not None:
            raise AssertionError(f"the command was forwarded to {self.forward.service}/{self.forward.method}")
        return self._reply  # type: ignore[no-any-return]


class Stream(Generic[Rep]):
    """A streamed call, as its caller has it."""

    def __init__(self, kit: Kit, number: int, handler: Handler) -> None:
        self._kit = kit
        self._number = number
        self._handler = handler
        self._replies: deque[pb.Reply] = deque()
        self._decision: pb.Decision | None = None

    def send(self, request: object) -> None:
        """Sends a request, where requests are streamed."""
        encode: Callable[[Any], bytes] = codec_of(self._handler.request).encode
        message = encode(request)
        self._kit._send(pb.Message(command=self._number, message=message))

    def end(self) -> None:
        """Ends the requests."""
        self._kit._send(pb.Message(command=self._number, end=True))

    async def next(self) -> Rep:
        """The next reply; raises `StopAsyncIteration` at the end, or the failure that ended the call."""
        while not self._replies:
            if self._decision is not None:
                if self._decision.WhichOneof("answer") == "failure":
                    raise failure_of(self._decision.failure)
                raise StopAsyncIteration
            await self._kit._frame()
        reply = self._replies.popleft()
        return codec_of(self._handler.reply).decode(reply.message)  # type: ignore[no-any-return]

    def __aiter__(self) -> Stream[Rep]:
        return self

    async def __anext__(self) -> Rep:
        return await self.next()

    def cancel(self) -> None:
        """Says that the caller has gone."""
        self._kit._send(pb.Cancel(id=self._number))

    async def result(self) -> Result[Rep]:
        """Waits for the end of the call, and gives what came of it."""
        while self._decision is None:
            await self._kit._frame()
        return self._kit._result(self._handler, self._decision)


class Kit:
    """One entity, or an action, in memory.

    ```
    kit = Kit(counter, "a")
    assert kit.send(increase(Increase("a", 2))).reply.value == 2
    assert kit.state.value == 2
    ```
    """

    def __init__(
        self,
        component: Component[Any],
        entity_id: str = "",
        *,
        state: object = None,
        events: tuple[Any, ...] | list[Any] = (),
    ) -> None:
        """An entity that has nothing, or that has a state, or events."""
        contract_of([component])  # what could not be served cannot be tested either
        self.component = component
        self.entity_id = entity_id
        self._answers: dict[tuple[str, str], tuple[Method[Any, Any], Any]] = {}
        self.calls: list[Target[Any]] = []
        """The calls that handlers made."""
        self._arrived = asyncio.Event()
        self._session = Session([component], LIMITS, self._arrived.set)
        self._session.receive(_batch(WELCOME))
        self._incarnation = 1
        self._is_open = False
        self._commands = 0
        self._streams: dict[int, Stream[Any]] = {}
        self._decisions: dict[int, pb.Decision] = {}
        self._opening = pb.Opening(entity_id=entity_id)
        self._data: Data | None = component.new_data() if component.model == pb.MODEL_REPLICATED else None
        self._deltas: list[pb.Delta] = []
        self._replica: Any = None
        if events:
            self._opening.history.events.extend(component.types.any(event) for event in events)
            self._opening.version = len(events)
        if state is not None:
            self._given(state)

    def _given(self, state: object) -> None:
        packed, model = self.component.types.any(state), self.component.model
        self._opening.version += 1
        if model == pb.MODEL_VALUE:
            self._opening.value.CopyFrom(packed)
        elif model == pb.MODEL_ACTOR:
            self._opening.actor.state.CopyFrom(packed)
        else:
            raise ValueError(f"a state cannot be given to {self.component.service}: send it commands, or give events")

    # What tests do.

    def send(self, call: Target[Rep], *, metadata: Metadata | None = None) -> Result[Rep]:
        """Sends a command to a handler that does not wait (`def`)."""
        handler = self._handler(call.service, call.method)
        if handler.is_async:
            raise TypeError(f"the handler of {call.method} may wait: use `await kit.asend(…)`, or `kit.open(…)`")
        number = self._command(handler, call.message, metadata or call.metadata)
        self._drain()
        return self._result(handler, self._decisions.pop(number))

    async def asend(self, call: Target[Rep], *, metadata: Metadata | None = None) -> Result[Rep]:
        """Sends a command to any handler of one request and one reply, and waits for what comes of it."""
        handler = self._handler(call.service, call.method)
        number = self._command(handler, call.message, metadata or call.metadata)
        while number not in self._decisions:
            await self._frame()
        return self._result(handler, self._decisions.pop(number))

    def open(
        self, call: Target[Rep] | Method[Any, Rep], *, metadata: Metadata | None = None
    ) -> Stream[Rep]:
        """Begins a streamed call: with a request, or of a method whose requests are streamed."""
        name = call.method if isinstance(call, Target) else call.name
        handler = self._handler(call.service, name)
        message = call.message if isinstance(call, Target) else b""
        number = self._command(handler, message, metadata or Metadata())
        stream: Stream[Rep] = Stream(self, number, handler)
        self._streams[number] = stream
        return stream

    def answer(self, method: Method[Req, Rep], answer: Callable[[Req], Rep] | Rep | Failure) -> None:
        """Says what a call of a method through Firn gives: a reply, a failure, or what a function says.

        The function gets the request; it returns the reply, or raises or returns a failure.
        """
        self._answers[method.service, method.name] = (method, answer)

    def restart(self) -> None:
        """Forgets the entity in memory: the next command finds what is stored."""
        self._send(pb.Close(incarnation=self._incarnation))
        self._drain()
        self._begin_anew()

    @property
    def state(self) -> Any:
        """The state as it would be rebuilt from what is stored; the empty one if there is none."""
        entity = self._rebuilt()
        return entity.state if entity.state is not None else self.component.new_state()

    @property
    def exists(self) -> bool:
        """Whether anything of the entity is stored."""
        return self._opening.WhichOneof("state") is not None

    @property
    def events(self) -> list[Any]:
        """The stored events that no snapshot covers."""
        types = self.component.types
        return [types.unpack(event.type_url, event.value) for event in self._opening.history.events]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of an actor."""
        return dict(self._opening.actor.tags)

    @property
    def version(self) -> int:
        """The version of what is stored."""
        return self._opening.version

    @property
    def data(self) -> Any:
        """The data of a replicated entity, to be looked at."""
        if self._data is None:
            raise TypeError(f"{self.component.service} is not replicated: use .state")
        return self._data

    # The Firn of the kit.

    def _handler(self, service: str, name: str) -> Handler:
        if service != self.component.service:
            raise ValueError(f"the kit runs {self.component.service}, not {service}")
        return next(handler for handler in self.component.handlers if handler.name == name)

    def _command(self, handler: Handler, message: bytes, metadata: Metadata) -> int:
        self._commands += 1
        command = pb.Command(id=self._commands, method=self.component.handlers.index(handler))
        command.message = b"" if handler.streams_in else message
        metadata._fill(command.metadata)
        if self.component.is_entity:
            command.incarnation = self._incarnation
            if not self._is_open:
                command.opening.CopyFrom(self._stored())
                self._is_open = True
        self._send(command)
        return self._commands

    def _stored(self) -> pb.Opening:
        if self._data is not None and self._deltas:
            self._opening.data.CopyFrom(self._data._value())
        return self._opening

    def _send(self, frame: Any) -> None:
        self._session.receive(_batch(frame))

    def _begin_anew(self) -> None:
        self._incarnation += 1
        self._is_open = False

    def _drain(self) -> None:
        """Takes what the function has sent so far."""
        while batch := self._session.outbox.next_batch():
            for frame in pb.FunctionBatch.FromString(batch).frames:
                self._take(frame)

    async def _frame(self) -> None:
        """Waits until the function has sent something."""
        if self._session.outbox.is_empty:
            self._arrived.clear()
            await self._arrived.wait()
        self._drain()

    def _take(self, frame: pb.FunctionFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "decision":
            self._commit(frame.decision)
            stream = self._streams.pop(frame.decision.command, None)
            if stream is None:
                self._decisions[frame.decision.command] = frame.decision
            else:
                stream._decision = frame.decision
        elif kind == "reply":
            self._streams[frame.reply.command]._replies.append(frame.reply)
        elif kind == "call":
            self._answer_call(frame.call)
        elif kind == "closed" and frame.closed.incarnation == self._incarnation:
            self._begin_anew()

    def _commit(self, decision: pb.Decision) -> None:
        """Stores what a decision changes, as Firn does."""
        stored, mutation = self._opening, decision.mutation
        kind = mutation.WhichOneof("mutation")
        if decision.WhichOneof("answer") == "failure":
            assert kind is None, "a failure changes nothing (R23)"
            return
        version = stored.version
        if kind == "set":
            stored.value.CopyFrom(mutation.set)
            version += 1
        elif kind == "actor":
            stored.actor.CopyFrom(mutation.actor)
            version += 1
        elif kind == "append":
            version += len(mutation.append.events)
            if mutation.append.HasField("snapshot"):
                stored.history.Clear()
                stored.history.snapshot.CopyFrom(mutation.append.snapshot)
                stored.history.snapshot_version = version
            else:
                stored.history.events.extend(mutation.append.events)
        elif kind == "update":
            assert self._data is not None, "only replicated entities are updated"
            self._data._apply(mutation.update.delta)
            self._deltas.append(mutation.update.delta)
        elif kind == "delete":
            stored.ClearField(stored.WhichOneof("state") or "value")
            version = 0 if self.component.model == pb.MODEL_EVENT_SOURCED else version + 1
            if self._data is not None:
                self._data, self._deltas = self.component.new_data(), []
        if self.component.is_entity and self._data is None:
            assert decision.version == version, f"the version is {version}, not {decision.version} (R24)"
            stored.version = version
            self._check_memory()

    def _check_memory(self) -> None:
        """Compares the state in memory with the one that would be rebuilt."""
        entity = self._session._entities.get(self._incarnation)
        if entity is None or entity.busy or entity.state is None:
            return
        pack = self.component.types.pack
        rebuilt = self._rebuilt().state
        if rebuilt is None or pack(entity.state) != pack(rebuilt):
            raise AssertionError(
                f"the state of {self.component.service} in memory is not the one that is stored: "
                f"{entity.state!r}, stored is {rebuilt!r}. A handler changed the state that it was shown "
                "without ctx.set or ctx.emit, or the same events do not always give the same state."
            )

    def _rebuilt(self) -> Entity:
        return open_entity(self.component, 0, self._stored())

    def _answer_call(self, call: pb.Call) -> None:
        target = _target(call.target)
        self.calls.append(target)
        result = pb.CallResult(id=call.id)
        try:
            result.reply = self._reply_to(target)
        except Failure as failure:
            result.failure.code, result.failure.message = failure.code, failure.message
            result.failure.details.extend(failure.details)
        self._send(result)

    def _reply_to(self, target: Target[Any]) -> bytes:
        found = self._answers.get((target.service, target.method))
        if found is None:
            where = f"{target.service}/{target.method}"
            raise Failure(Code.UNIMPLEMENTED, f"the test says no answer to {where}: use kit.answer(…)")
        method, answer = found
        if callable(answer):
            answer = answer(codec_of(method.request).decode(target.message))
        if isinstance(answer, Failure):
            raise answer
        return b"" if answer is None else codec_of(type(answer)).encode(answer)

    def _result(self, handler: Handler, decision: pb.Decision) -> Result[Any]:
        result: Result[Any] = Result(metadata=metadata_of(decision.metadata))
        answer, unpack = decision.WhichOneof("answer"), self.component.types.unpack
        if answer == "failure":
            result.failure = failure_of(decision.failure)
            return result
        if answer == "forward":
            result.forward = _target(decision.forward)
        elif answer == "reply":
            result._reply = None if handler.empty_reply else codec_of(handler.reply).decode(decision.reply)
        mutation = decision.mutation
        result.changed = mutation.WhichOneof("mutation") is not None
        result.deleted = mutation.WhichOneof("mutation") == "delete"
        result.events = [unpack(event.type_url, event.value) for event in mutation.append.events]
        if mutation.append.HasField("snapshot"):
            result.snapshot = unpack(mutation.append.snapshot.type_url, mutation.append.snapshot.value)
        result.effects = [self._effect(effect) for effect in decision.effects]
        result.timers = [self._timer(timer) for timer in decision.timers]
        return result

    def _effect(self, effect: pb.Effect) -> Effect:
        if effect.WhichOneof("effect") == "publish":
            published = effect.publish
            message = self.component.types.unpack(published.message.type_url, published.message.value)
            return Effect(None, topic=published.topic, message=message)
        call = effect.call
        return Effect(_target(call.target), call.wait, call.delay.ToTimedelta())

    def _timer(self, timer: pb.Timer) -> Timer:
        if timer.WhichOneof("action") == "cancel":
            return Timer(timer.name)
        target: Target[Any] = Target(self.component.service, timer.set.method, timer.set.message)
        return Timer(timer.name, target, timer.set.after.ToTimedelta(), timer.set.repeat)


def _target(target: pb.Target) -> Target[Any]:
    return Target(target.service, target.method, target.message, metadata_of(target.metadata))


def _batch(frame: Any) -> bytes:
    message = pb.FirnFrame()
    name = type(frame).DESCRIPTOR.name
    field_name = "call_result" if name == "CallResult" else name.lower()
    getattr(message, field_name).CopyFrom(frame)
    return pb.FirnBatch(frames=[message]).SerializeToString()
