"""What a handler gets beside its request: what it may see, and what it may decide.

A context gathers the decision while its handler runs. The classes here are what users see; their
private methods are how an entity begins and ends a command.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from firn._metadata import Metadata, metadata_of
from firn._method import Target
from firn.v1 import function_pb2 as pb

if TYPE_CHECKING:
    from firn._codec import Packed
    from firn._entity import Entity
    from firn.data import Data

S = TypeVar("S")
D = TypeVar("D", bound="Data")
Rep = TypeVar("Rep")
Duration = timedelta | float
"""A length of time; a number is in seconds."""


class Caller(Protocol):
    """Makes calls through Firn: a connection, or the test kit."""

    async def call(self, target: Target[Rep], command: int, timeout: float | None) -> Rep: ...


def _seconds(duration: Duration) -> float:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if seconds < 0:
        raise ValueError(f"a time of {seconds} s is over already")
    return seconds


class Context:
    """What the handlers of every component have."""

    def __init__(self, caller: Caller, command: pb.Command, types: Any) -> None:
        self._caller = caller
        self._command = command
        self._types = types
        self._metadata: Metadata | None = None
        self._reply_metadata: Metadata | None = None
        self._effects: list[pb.Effect] | None = None
        self._forward: Target[Any] | None = None
        self._deadline = time.monotonic() + command.timeout_ms / 1000 if command.timeout_ms else None
        self._cancelled = False
        # Whether the handler's task runs, and whether the decision is made.
        self._began = False
        self._over = False

    @property
    def metadata(self) -> Metadata:
        """The headers of the request that the component asked for."""
        if self._metadata is None:
            self._metadata = metadata_of(self._command.metadata)
        return self._metadata

    @property
    def reply_metadata(self) -> Metadata:
        """The headers that go with the reply; of a stream, with the first."""
        if self._reply_metadata is None:
            self._reply_metadata = Metadata()
        return self._reply_metadata

    @property
    def remaining(self) -> float | None:
        """In how many seconds the answer is of no use any more; none if nobody said."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone. A handler that waits gets a `CancelledError` then."""
        return self._cancelled

    def forward(self, target: Target[Rep]) -> Rep:
        """Lets another method answer in place of this one: `return ctx.forward(…)`."""
        self._running()
        self._forward = target
        # Nobody looks at what a handler returns beside a forward; this keeps its type checked.
        nothing: Any = None
        return nothing  # type: ignore[no-any-return]

    def effect(self, call: Target[Any], *, wait: bool = False, after: Duration = 0) -> None:
        """Calls a method once the decision is durable; its answer goes nowhere.

        With `wait` the caller is answered when the call has ended; with `after` it is made later.
        """
        self._running()
        delay = _seconds(after)
        if wait and delay:
            raise ValueError("an effect is either waited for or made later")
        effect = pb.Effect()
        call._fill(effect.call.target)
        effect.call.wait = wait
        if delay:
            effect.call.delay.FromTimedelta(timedelta(seconds=delay))
        self._add(effect)

    def publish(self, topic: str, message: object, *, metadata: Metadata | None = None) -> None:
        """Sends a message to a topic once the decision is durable."""
        self._running()
        effect = pb.Effect()
        effect.publish.topic = topic
        url, data = self._types.pack(message)
        effect.publish.message.type_url, effect.publish.message.value = url, data
        if metadata is not None:
            metadata._fill(effect.publish.metadata)
        self._add(effect)

    async def call(self, target: Target[Rep], *, timeout: float | None = None) -> Rep:
        """Calls a method through Firn and gives its reply, or raises its `Failure`.

        `timeout` is in seconds; without one the time that is left counts.
        """
        if timeout is None:
            timeout = self.remaining
        return await self._caller.call(target, self._command.id, timeout)

    def _add(self, effect: pb.Effect) -> None:
        if self._effects is None:
            self._effects = []
        self._effects.append(effect)

    def _running(self) -> None:
        if self._over:
            raise RuntimeError("the command was answered already: decide before the handler returns")

    def _take_effects(self) -> list[pb.Effect] | None:
        effects, self._effects = self._effects, None
        return effects

    def _decide(self, decision: pb.Decision) -> None:
        """Adds what the handler decided beside its answer, and makes it count."""
        self._over = True
        if self._reply_metadata:
            self._reply_metadata._fill(decision.metadata)
        if self._effects:
            decision.effects.extend(self._effects)

    def _undo(self, unexpected: bool) -> bool:
        """Takes the decision back; says whether the state can still be trusted."""
        self._over = True
        return True


class ActionContext(Context):
    """What the handlers of an action have."""


class EntityContext(Context):
    """What the handlers of all entities have."""

    def __init__(self, caller: Caller, command: pb.Command, entity: Entity) -> None:
        super().__init__(caller, command, entity.component.types)
        self._entity = entity
        self._version = entity.version
        self._timers: list[pb.Timer] | None = None

    @property
    def entity_id(self) -> str:
        """The id of the entity."""
        return self._entity.entity_id

    def timer(self, name: str, after: Duration, call: Target[Any], *, repeat: bool = False) -> None:
        """Sets a timer that calls a method of this entity; it replaces one of the same name.

        It survives restarts, and runs at its time or later.
        """
        self._running()
        own = self._entity.component.service
        if call.service != own:
            raise ValueError(
                f"a timer calls a method of its own component {own}, not of {call.service}: "
                "use effect(call, after=…)"
            )
        timer = pb.Timer(name=name)
        timer.set.after.FromTimedelta(timedelta(seconds=_seconds(after)))
        timer.set.method, timer.set.message, timer.set.repeat = call.method, call.message, repeat
        self._set(timer)

    def cancel_timer(self, name: str) -> None:
        """Cancels a timer, if it is set."""
        self._running()
        self._set(pb.Timer(name=name, cancel=pb.Timer.Unset()))

    def _set(self, timer: pb.Timer) -> None:
        if self._timers is None:
            self._timers = []
        self._timers.append(timer)

    def _decide(self, decision: pb.Decision) -> None:
        super()._decide(decision)
        if self._timers:
            decision.timers.extend(self._timers)

    def _undo(self, unexpected: bool) -> bool:
        super()._undo(unexpected)
        self._entity.version = self._version
        return True


class _StateContext(EntityContext, Generic[S]):
    """What the handlers of value entities and actors have."""

    def __init__(self, caller: Caller, command: pb.Command, entity: Entity) -> None:
        super().__init__(caller, command, entity)
        self._state: Any = entity.state
        self._exists = entity.packed is not None
        self._deleted = False
        self._written = False

    @property
    def state(self) -> S:
        """The state; the empty one if there is none. To change it, give another to `set`."""
        if self._state is None:
            entity = self._entity
            if self._exists and entity.packed is not None:
                self._state = entity.state = self._types.unpack(*entity.packed)
            else:
                self._state = entity.component.new_state()
        return self._state  # type: ignore[no-any-return]

    @property
    def exists(self) -> bool:
        """Whether the entity has a state."""
        return self._exists

    def set(self, state: S) -> None:
        """Replaces the state."""
        self._running()
        self._entity.component.check_state(state)
        self._state, self._exists, self._written, self._deleted = state, True, True, False

    def delete(self) -> None:
        """Removes the state; timers stay."""
        self._running()
        self._state, self._exists, self._written, self._deleted = None, False, False, True

    def _decide(self, decision: pb.Decision) -> None:
        super()._decide(decision)
        entity = self._entity
        if self._written:
            packed = self._types.pack(self._state) if self._exists else None
            self._write(decision.mutation, packed)
            entity.packed, entity.state = packed, self._state
        elif self._deleted:
            decision.mutation.delete.SetInParent()
            entity.packed = entity.state = None
        else:
            decision.version = entity.version
            return
        # R24
        entity.version += 1
        decision.version = entity.version

    def _write(self, mutation: pb.Mutation, packed: Packed | None) -> None:
        raise NotImplementedError

    def _undo(self, unexpected: bool) -> bool:
        entity = self._entity
        decided = entity.version != self._version
        if unexpected or self._written:
            # Code that broke off may have changed the very object that it was shown.
            entity.state = None
        super()._undo(unexpected)
        return not decided  # what was decided and cannot be sent is not undone


class ValueContext(_StateContext[S], Generic[S]):
    """What the handlers of a value entity have."""

    def _write(self, mutation: pb.Mutation, packed: Packed | None) -> None:
        assert packed is not None, "a value entity is written by set only"
        mutation.set.type_url, mutation.set.value = packed


class ActorContext(_StateContext[S], Generic[S]):
    """What the handlers of an actor have."""

    def __init__(self, caller: Caller, command: pb.Command, entity: Entity) -> None:
        super().__init__(caller, command, entity)
        self._tags: dict[str, str] = entity.tags

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the actor; a copy."""
        return dict(self._tags)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Replaces all tags: at most 64 of at most 1 KiB each."""
        self._running()
        self._tags, self._written, self._deleted = dict(tags), True, False
        if self._exists:
            self._state = self.state

    def delete(self) -> None:
        """Removes the state and the tags; timers stay."""
        super().delete()
        self._tags = {}

    def _decide(self, decision: pb.Decision) -> None:
        super()._decide(decision)
        self._entity.tags = self._tags

    def _write(self, mutation: pb.Mutation, packed: Packed | None) -> None:
        # R54: state and tags replace those before
        actor = mutation.actor
        actor.SetInParent()
        if packed is not None:
            actor.state.type_url, actor.state.value = packed
        actor.tags.update(self._tags)


class EventSourcedContext(EntityContext, Generic[S]):
    """What the handlers of an event sourced entity have."""

    def __init__(self, caller: Caller, command: pb.Command, entity: Entity) -> None:
        super().__init__(caller, command, entity)
        self._events: list[Any] | None = None
        self._deleted = False

    @property
    def state(self) -> S:
        """The state as the events so far make it. It changes by `emit` only."""
        if self._deleted:
            return self._entity.component.new_state()  # type: ignore[no-any-return]
        return self._entity.state  # type: ignore[no-any-return]

    @property
    def exists(self) -> bool:
        """Whether the entity has events."""
        return not self._deleted and (self._entity.version > 0 or bool(self._events))

    def emit(self, event: object) -> None:
        """Appends an event. It is folded at once: `state` shows it."""
        self._running()
        if self._deleted:
            raise RuntimeError("emit after delete: decide on one of them")
        packed = self._types.any(event)
        entity = self._entity
        if self._events is None:
            self._events = []
        self._events.append(packed)
        entity.state = entity.component.fold(entity.state, event)

    def delete(self) -> None:
        """Removes all events; timers stay."""
        self._running()
        if self._events:
            raise RuntimeError("delete after emit: decide on one of them")
        self._deleted = True

    def _decide(self, decision: pb.Decision) -> None:
        super()._decide(decision)
        entity, component = self._entity, self._entity.component
        if self._events:
            before = entity.version
            entity.version += len(self._events)
            decision.mutation.append.events.extend(self._events)
            every = component.snapshot_every
            # R51
            if every and entity.version // every > before // every:
                snapshot = decision.mutation.append.snapshot
                snapshot.type_url, snapshot.value = self._types.pack(entity.state)
        elif self._deleted:
            decision.mutation.delete.SetInParent()
            entity.version, entity.state = 0, component.new_state()
        decision.version = entity.version

    def _undo(self, unexpected: bool) -> bool:
        # R43: the folded state is ahead of what is stored.
        decided = self._entity.version != self._version or self._deleted
        super()._undo(unexpected)
        return not decided and not self._events


class ReplicatedContext(EntityContext, Generic[D]):
    """What the handlers of a replicated entity have."""

    def __init__(self, caller: Caller, command: pb.Command, entity: Entity, mode: str) -> None:
        """`mode` is how the handler works on the data: `inline`, `copy` or `stream`."""
        super().__init__(caller, command, entity)
        self._mode = mode
        self._deleted = False
        self._draft: Any = None
        self._taken = False
        self._changes_iterators: list[_Changes] = []
        self._consistency = 0
        if mode == "inline":
            entity.data._root.begin()

    @property
    def data(self) -> D:
        """The data. A handler that streams replies sees every change of others, and may only read."""
        if self._deleted:
            return self._entity.component.new_data()  # type: ignore[return-value]
        if self._mode == "copy":
            return self.edit()
        return self._entity.data  # type: ignore[no-any-return]

    def edit(self) -> D:
        """The data to be changed by a handler that streams replies; it counts when the handler ends."""
        if self._mode == "inline":
            return self._entity.data  # type: ignore[no-any-return]
        if self._draft is None:
            self._running()
            self._draft = self._entity.data._copy()
            self._entity.drafts.append(self._draft)
        return self._draft  # type: ignore[no-any-return]

    @property
    def deleted(self) -> bool:
        """Whether the entity was deleted: it is gone for ever."""
        return self._entity.deleted or self._deleted

    def delete(self) -> None:
        """Deletes the entity for ever, on all nodes."""
        self._running()
        self._deleted = True

    def consistency(self, consistency: int) -> None:
        """Says how many replicas must hold this change before it is answered, if more than usual."""
        self._running()
        self._consistency = int(consistency)

    def changes(self) -> AsyncIterator[None]:
        """Waits for changes of the data: `async for _ in ctx.changes()`.

        Changes that come while the handler is busy are told once. It ends when the entity is deleted.
        """
        iterator = _Changes(self._entity)
        self._changes_iterators.append(iterator)
        return iterator

    def _decide(self, decision: pb.Decision) -> None:
        super()._decide(decision)
        entity = self._entity
        if self._mode == "inline":
            delta = entity.data._take()
        else:
            delta = self._close_draft(keep=True)
        self._taken = self._deleted or delta is not None
        if self._deleted:
            decision.mutation.delete.SetInParent()
            entity.is_deleted()
        elif delta is not None:
            decision.mutation.update.delta.CopyFrom(delta)
            decision.mutation.update.consistency = self._consistency  # type: ignore[assignment]
            if self._mode != "inline":
                entity.apply(delta)
            else:
                entity.changed(delta)

    def _undo(self, unexpected: bool) -> bool:
        super()._undo(unexpected)
        if self._mode == "inline":
            self._entity.data._root.undo()
        else:
            self._close_draft(keep=False)
        return not self._taken

    def _close_draft(self, *, keep: bool) -> pb.Delta | None:
        for iterator in self._changes_iterators:
            iterator.close()
        draft, self._draft = self._draft, None
        if draft is None:
            return None
        self._entity.drafts = [one for one in self._entity.drafts if one is not draft]
        delta: pb.Delta | None = draft._take()
        return delta if keep else None


class _Changes:
    """The changes of an entity, for one handler that watches it."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._changed = False
        self._wake: Callable[[], None] | None = None
        entity.watchers.append(self)

    def tell(self) -> None:
        self._changed = True
        if self._wake is not None:
            self._wake()

    def close(self) -> None:
        if self in self._entity.watchers:
            self._entity.watchers.remove(self)

    def __aiter__(self) -> _Changes:
        return self

    async def __anext__(self) -> None:
        if not self._changed and not self._entity.deleted:
            waiter = asyncio.get_running_loop().create_future()
            self._wake = lambda: None if waiter.done() else waiter.set_result(None)
            try:
                await waiter
            finally:
                self._wake = None
        if self._entity.deleted:
            raise StopAsyncIteration
        self._changed = False
