"""One connection's state: frames of Firn come in, frames of the function go out.

It knows no socket: `receive` takes an encoded batch, and the outbox has what is to be sent. Handlers
that do not wait run at once, within `receive`; the others in tasks, which the session owns and `close`
ends.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from firn._component import Component, Handler
from firn._context import ActionContext, Context
from firn._entity import Entity, open_entity
from firn._errors import (
    Code,
    ConnectionLost,
    Failure,
    Finding,
    Refused,
    failure_of,
    finding_of,
)
from firn._method import Target
from firn._outbox import FrameTooLarge, Outbox
from firn.v1 import function_pb2 as pb

log = logging.getLogger("firn")
Rep = TypeVar("Rep")
EAGER = sys.version_info >= (3, 12)
# How long handlers may take to end when they are cancelled, before they are left alone.
CANCEL_SECONDS = 5.0


class Hooks:
    """What a function may want to know of its own running; override what you need.

    The methods are called in the middle of things: they must neither wait nor raise.
    """

    def finding(self, finding: Finding) -> None:
        """Firn refused something, or warns. It was logged already."""

    def before(self, service: str, method: str, entity_id: str) -> None:
        """A handler begins; `entity_id` is empty for actions."""

    def after(self, service: str, method: str, entity_id: str, seconds: float, failure: Failure | None) -> None:
        """A handler ended."""


@dataclass(frozen=True)
class Limits:
    """What a connection takes; see `Function`."""

    commands: int
    call_messages: int
    frame_bytes: int
    incarnations: int


class _Stream:
    """A streamed call: the requests that came, and how many replies may go."""

    __slots__ = ("_granted", "_session", "command", "credit", "ended", "messages", "taken", "waiter")

    def __init__(self, session: Session, command: int, credit: int) -> None:
        self._session = session
        self.command = command
        self.messages: deque[bytes] = deque()
        self.ended = False
        self.credit = credit
        self.taken = 0
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    async def requests(self, decode: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        while True:
            while not self.messages:
                if self.ended:
                    return
                await self.wait()
            message = self.messages.popleft()
            self.taken += 1
            # R61: what was taken may come again; told in halves, not one by one.
            if self.taken * 2 >= self._session.limits.call_messages and not self.ended:
                self._session.grant(self.command, self.taken)
                self.taken = 0
            yield _decoded(decode, message)


def _decoded(decode: Callable[[bytes], Any], message: bytes) -> Any:
    try:
        return decode(message)
    except Exception as error:
        raise Failure(Code.INVALID_ARGUMENT, f"the request cannot be read: {error}") from error


class Session:
    """One connection of a function."""

    def __init__(
        self,
        components: Sequence[Component[Any]],
        limits: Limits,
        wake: Callable[[], None],
        hooks: Hooks | None = None,
    ) -> None:
        self.limits = limits
        self._wake = wake
        self.outbox = Outbox(wake)
        self.welcome: pb.Welcome | None = None
        self.refused: Refused | None = None
        self._components = [(component, component.handlers) for component in components]
        self._hooks = hooks
        self._entities: OrderedDict[int, Entity] = OrderedDict()
        # What runs in a task, by command; streams among them have an entry in `_streams` as well.
        self._tasks: dict[int, tuple[asyncio.Task[None], Context]] = {}
        self._streams: dict[int, _Stream] = {}
        self._transfers: dict[int, list[bytes]] = {}
        self._transfer_bytes: dict[int, int] = {}
        self._calls: dict[int, tuple[asyncio.Future[Any], Callable[[bytes], Any] | None]] = {}
        self._call_number = 0
        self._call_credit = 0
        self._call_waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._kinds: dict[str, Callable[[Any], None]] = {
            "welcome": self._on_welcome,
            "refusal": self._on_refusal,
            "command": self._on_command,
            "message": self._on_message,
            "cancel": self._on_cancel,
            "change": self._on_change,
            "close": self._on_close,
            "credit": self._on_credit,
            "chunk": self._on_chunk,
            "call_result": self._on_call_result,
            "notice": self._on_notice,
            "goodbye": self._on_goodbye,
        }

    # What comes in.

    def receive(self, data: bytes) -> None:
        """Takes in an encoded `FirnBatch`."""
        for frame in pb.FirnBatch.FromString(data).frames:
            self._on_frame(frame)

    def _on_frame(self, frame: pb.FirnFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "command":
            self._on_command(frame.command)
        elif kind is not None:  # R6: frames of unknown kind are ignored
            self._kinds[kind](getattr(frame, kind))

    def _on_welcome(self, welcome: pb.Welcome) -> None:
        self.welcome = welcome
        self.outbox.limit(welcome.chunk_bytes, welcome.frame_bytes)
        self._add_calls(welcome.calls)

    def _on_refusal(self, refusal: pb.Refusal) -> None:
        self.refused = Refused([finding_of(finding) for finding in refusal.findings])

    def _on_notice(self, notice: pb.Notice) -> None:
        finding = finding_of(notice.finding, notice.severity != pb.Notice.SEVERITY_WARNING)
        log.log(logging.ERROR if finding.is_error else logging.WARNING, "%s", finding)
        if self._hooks is not None:
            self._hooks.finding(finding)

    def _on_goodbye(self, _: pb.Goodbye) -> None:
        # R91: what it has accepted still comes; it ends the call itself.
        log.debug("Firn is to stop")

    def _on_chunk(self, chunk: pb.Chunk) -> None:
        parts = self._transfers.setdefault(chunk.transfer, [])
        size = self._transfer_bytes.get(chunk.transfer, 0) + len(chunk.data)
        self._transfer_bytes[chunk.transfer] = size
        if size > self.limits.frame_bytes:
            parts.clear()  # R82: thrown away; everything else goes on
        else:
            parts.append(chunk.data)
        if chunk.last:
            del self._transfers[chunk.transfer], self._transfer_bytes[chunk.transfer]
            if size > self.limits.frame_bytes:
                log.error("a frame of %d bytes came, where %d are taken", size, self.limits.frame_bytes)
                return
            self._on_frame(pb.FirnFrame.FromString(b"".join(parts)))

    # Commands.

    def _on_command(self, command: pb.Command) -> None:
        incarnation = command.incarnation
        try:
            component, handlers = self._components[command.component]
            handler = handlers[command.method]
        except IndexError:
            text = f"the function has no component {command.component} with a method {command.method}"
            self._fail(command.id, incarnation, Failure(Code.UNIMPLEMENTED, text))
            return
        if incarnation == 0:
            self._run_action(component, handler, command)
            return
        entity = self._entities.get(incarnation)
        if entity is None:
            # R42: what crossed our Closed is Firn's to send again
            if command.HasField("opening"):
                self._open(component, handler, command)
            return
        if entity.busy:
            # R21: one after another
            if entity.queue is None:
                entity.queue = deque()
            entity.queue.append(command)
            return
        self._entities.move_to_end(incarnation)
        self._run(entity, handler, command)

    def _open(self, component: Component[Any], handler: Handler, command: pb.Command) -> None:
        opening = command.opening
        try:
            entity = open_entity(component, command.incarnation, opening)
        except Exception:
            # R43
            log.exception("%s of %s: its state cannot be rebuilt", opening.entity_id, component.service)
            text = f"{component.service}: the state of the entity cannot be rebuilt"
            self._fail(command.id, command.incarnation, Failure(Code.INTERNAL, text), opening.version)
            self._send_closed(command.incarnation)
            return
        while len(self._entities) >= self.limits.incarnations and self._evict():
            pass
        self._entities[command.incarnation] = entity
        self._run(entity, handler, command)

    def _evict(self) -> bool:
        """Lets go of the entity that is idle longest (R44); says whether any was idle."""
        for _ in range(len(self._entities)):
            incarnation, entity = next(iter(self._entities.items()))
            if not entity.busy and not entity.tasks:
                self._let_go(entity)
                return True
            self._entities.move_to_end(incarnation)
        return False

    def _let_go(self, entity: Entity) -> None:
        # R42
        self._forget(entity)
        del self._entities[entity.incarnation]
        self._send_closed(entity.incarnation)

    def _forget(self, entity: Entity) -> None:
        entity.closed = True
        entity.queue = None
        for task, context in tuple((entity.tasks or {}).items()):
            _cancel(task, context)

    def _run_action(self, component: Component[Any], handler: Handler, command: pb.Command) -> None:
        context = ActionContext(self, command, component.types)
        if handler.is_async:
            self._start(component, handler, command, context, None)
        else:
            self._run_inline(component, handler, command, context, None)

    def _run(self, entity: Entity, handler: Handler, command: pb.Command) -> None:
        component = entity.component
        context = component._context(self, command, entity, handler)
        if handler.is_async:
            # Replicated entities serve several commands at once.
            entity.busy = entity.data is None
            self._start(component, handler, command, context, entity)
        else:
            self._run_inline(component, handler, command, context, entity)

    def _run_inline(
        self,
        component: Component[Any],
        handler: Handler,
        command: pb.Command,
        context: Context,
        entity: Entity | None,
    ) -> None:
        began = self._before(component, handler, entity)
        failure: Failure | None = None
        frame = pb.FunctionFrame()
        decision = frame.decision
        decision.command = command.id
        try:
            reply = handler.function(_decoded(handler.decode, command.message), context)
            self._answer(decision, handler, context, reply)
        except Exception as error:
            failure = self._undo(component, handler, context, entity, error, command.id)
        else:
            try:
                self.outbox.send(frame, command.incarnation or -command.id, command.id)
            except FrameTooLarge as error:
                failure = self._undo(component, handler, context, entity, error, command.id)
        if self._hooks is not None:
            self._after(component, handler, entity, began, failure)

    @staticmethod
    def _answer(decision: pb.Decision, handler: Handler, context: Context, reply: object) -> None:
        if context._forward is not None:
            context._forward._fill(decision.forward)
        else:
            decision.reply = handler.encode_reply(reply)
        context._decide(decision)

    def _undo(
        self,
        component: Component[Any],
        handler: Handler,
        context: Context,
        entity: Entity | None,
        error: BaseException,
        command: int,
    ) -> Failure:
        """Answers with a failure: nothing that the handler decided counts (R23)."""
        failure = _failure(component, handler, error)
        keep = context._undo(unexpected=not isinstance(error, Failure))
        if entity is not None and entity.closed:
            return failure
        incarnation = entity.incarnation if entity is not None else 0
        self._fail(command, incarnation, failure)
        if entity is not None and not keep:
            # R43. What waits behind it is as if it crossed our Closed: Firn sends it again.
            self._let_go(entity)
        return failure

    def _fail(self, command: int, incarnation: int, failure: Failure, version: int = 0) -> None:
        decision = pb.Decision(command=command, version=version)
        decision.failure.code = failure.code
        decision.failure.message = failure.message
        decision.failure.details.extend(failure.details)
        entity = self._entities.get(incarnation)
        if entity is not None:
            decision.version = entity.version
        frame = pb.FunctionFrame(decision=decision)
        try:
            self.outbox.send(frame, incarnation or -command, command)
        except FrameTooLarge:
            del decision.failure.details[:]
            decision.failure.message = decision.failure.message[:1024]
            self.outbox.send(pb.FunctionFrame(decision=decision), incarnation or -command, command)

    # Commands whose handlers may wait.

    def _start(
        self,
        component: Component[Any],
        handler: Handler,
        command: pb.Command,
        context: Context,
        entity: Entity | None,
    ) -> None:
        if handler.streams_in or handler.streams_out:
            credit = self.welcome.call_messages if self.welcome is not None else 0
            self._streams[command.id] = _Stream(self, command.id, credit)
        task = _task(self._run_waiting(component, handler, command, context, entity))
        if task.done():
            return
        self._tasks[command.id] = (task, context)
        if entity is not None:
            if entity.tasks is None:
                entity.tasks = {}
            entity.tasks[task] = context

    async def _run_waiting(
        self,
        component: Component[Any],
        handler: Handler,
        command: pb.Command,
        context: Context,
        entity: Entity | None,
    ) -> None:
        context._began = True
        began = self._before(component, handler, entity)
        failure: Failure | None = None
        stream = self._streams.get(command.id)
        frame = pb.FunctionFrame()
        frame.decision.command = command.id
        try:
            try:
                if context._cancelled or (entity is not None and entity.closed):
                    raise asyncio.CancelledError
                if handler.streams_in:
                    assert stream is not None, "every streamed command has its stream"
                    request: Any = stream.requests(handler.decode)
                else:
                    request = _decoded(handler.decode, command.message)
                if handler.streams_out:
                    assert stream is not None, "every streamed command has its stream"
                    await self._stream_replies(handler, stream, context, entity, request)
                    reply = None
                else:
                    reply = await handler.function(request, context)
            except asyncio.CancelledError:
                # R62: nobody sees the answer, but what was decided counts.
                if not context._cancelled or self._closed:
                    raise
                context._decide(frame.decision)
            else:
                if handler.streams_out:
                    if context._forward is not None:
                        raise RuntimeError("a handler that streams replies cannot forward")
                    context._decide(frame.decision)
                else:
                    self._answer(frame.decision, handler, context, reply)
            if entity is None or not entity.closed:
                key = command.incarnation or -command.id
                self.outbox.send(frame, key, command.id)
        except asyncio.CancelledError as error:
            context._undo(unexpected=True)
            if self._closed or (entity is not None and entity.closed):
                return  # R41: no decision is needed
            failure = self._undo(component, handler, context, entity, error, command.id)
        except Exception as error:
            failure = self._undo(component, handler, context, entity, error, command.id)
        finally:
            self._finished(command, entity)
        if self._hooks is not None:
            self._after(component, handler, entity, began, failure)
        if entity is not None:
            self._go_on(entity)

    def _finished(self, command: pb.Command, entity: Entity | None) -> None:
        self._streams.pop(command.id, None)
        found = self._tasks.pop(command.id, None)
        if found is not None and entity is not None and entity.tasks is not None:
            entity.tasks.pop(found[0], None)

    def _go_on(self, entity: Entity) -> None:
        """Runs what came while a handler waited."""
        entity.busy = False
        if entity.draining:
            return  # a task that ended at once, started by the loop below
        entity.draining = True
        while entity.queue and not entity.closed and not entity.busy:
            command = entity.queue.popleft()
            _, handlers = self._components[command.component]
            self._run(entity, handlers[command.method], command)
        entity.draining = False

    async def _stream_replies(
        self, handler: Handler, stream: _Stream, context: Context, entity: Entity | None, request: Any
    ) -> None:
        replies = handler.function(request, context)
        is_first = True
        if not hasattr(replies, "__anext__"):
            replies = _asynchronous(replies)
        try:
            async for reply in replies:
                while stream.credit == 0:  # R61
                    await stream.wait()
                stream.credit -= 1
                frame = pb.FunctionFrame()
                frame.reply.command = stream.command
                frame.reply.message = handler.encode_reply(reply)
                if is_first and context._reply_metadata:
                    context._reply_metadata._fill(frame.reply.metadata)
                is_first = False
                effects = context._take_effects()
                if effects:
                    frame.reply.effects.extend(effects)
                if entity is None or not entity.closed:
                    incarnation = entity.incarnation if entity is not None else 0
                    self.outbox.send(frame, incarnation or -stream.command, stream.command)
        finally:
            await replies.aclose()

    def grant(self, command: int, amount: int) -> None:
        """Lets Firn send more messages of a streamed call."""
        self.outbox.send(pb.FunctionFrame(credit=pb.Credit(command=command, amount=amount)))

    def _on_message(self, message: pb.Message) -> None:
        stream = self._streams.get(message.command)
        if stream is not None:
            if message.HasField("message"):
                stream.messages.append(message.message)
            stream.ended = stream.ended or message.end
            stream.wake()

    def _on_credit(self, credit: pb.Credit) -> None:
        if credit.command == 0:
            self._add_calls(credit.amount)
            return
        stream = self._streams.get(credit.command)
        if stream is not None:
            stream.credit += credit.amount
            stream.wake()

    def _on_cancel(self, cancel: pb.Cancel) -> None:
        found = self._tasks.get(cancel.id)
        if found is not None:
            task, context = found
            context._cancelled = True
            _cancel(task, context)

    # Entities.

    def _on_change(self, change: pb.Change) -> None:
        entity = self._entities.get(change.incarnation)
        if entity is None or entity.data is None:
            return
        kind = change.WhichOneof("change")
        if kind == "delta":
            entity.apply(change.delta)
        elif kind == "deleted":
            entity.is_deleted()

    def _on_close(self, close: pb.Close) -> None:
        entity = self._entities.pop(close.incarnation, None)
        if entity is not None:
            # R41: what runs is cancelled, and what it decides is void
            self._forget(entity)
            self._send_closed(close.incarnation)

    def _send_closed(self, incarnation: int) -> None:
        frame = pb.FunctionFrame(closed=pb.Closed(incarnation=incarnation))
        self.outbox.send(frame, incarnation)

    # Calls through Firn.

    async def call(self, target: Target[Rep], command: int = 0, timeout: float | None = None) -> Rep:
        """Calls a method through Firn (R70)."""
        while self._call_credit == 0:  # R73
            if self._closed:
                raise ConnectionLost("the connection to Firn has ended")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._call_waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_call()
                raise
        self._call_credit -= 1
        self._call_number += 1
        number = self._call_number
        call = pb.Call(id=number, command=command)
        target._fill(call.target)
        if timeout is not None:
            call.timeout_ms = max(1, int(timeout * 1000))
        key: Hashable = ("call", number)
        try:
            self.outbox.send(pb.FunctionFrame(call=call), key, number)
        except FrameTooLarge as error:
            self._add_calls(1)
            raise Failure(Code.RESOURCE_EXHAUSTED, str(error)) from error
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[number] = (future, target.decode)
        try:
            return await future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            # R74: the result still comes, and gives the credit back
            if not self._closed and number in self._calls:
                self.outbox.send(pb.FunctionFrame(cancel=pb.Cancel(id=number)), key)
            raise

    def _on_call_result(self, result: pb.CallResult) -> None:
        found = self._calls.pop(result.id, None)
        if found is None:
            return
        self._add_calls(1)
        future, decode = found
        if future.done():
            return
        if result.WhichOneof("result") == "failure":
            future.set_exception(failure_of(result.failure))
            return
        try:
            future.set_result(decode(result.reply) if decode is not None else result.reply)
        except Exception as error:
            future.set_exception(error)

    def _add_calls(self, amount: int) -> None:
        self._call_credit += amount
        for _ in range(min(amount, len(self._call_waiters))):
            self._wake_call()

    def _wake_call(self) -> None:
        while self._call_waiters:
            waiter = self._call_waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    # The end.

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open: no command, no call and no incarnation."""
        nothing_waits = self.outbox.is_empty and not self._calls
        return nothing_waits and not self._tasks and not self._entities

    def say_goodbye(self) -> None:
        """Asks Firn to end the connection when nothing is open (R90)."""
        self.outbox.send(pb.FunctionFrame(goodbye=pb.Goodbye()))

    async def close(self) -> None:
        """The connection is over: ends what runs, and fails what waits."""
        self._closed = True
        for future, _ in self._calls.values():
            if not future.done():
                future.set_exception(ConnectionLost("the connection to Firn ended before the call was answered"))
                future.exception()  # a call that nobody awaits any more is no matter for the log
        self._calls.clear()
        while self._call_waiters:
            self._wake_call()
        for entity in self._entities.values():
            entity.closed = True
        self._entities.clear()
        tasks = [task for task, _ in self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
            if stuck:
                log.error("%d handlers go on although they were cancelled", len(stuck))

    # Hooks.

    def _before(self, component: Component[Any], handler: Handler, entity: Entity | None) -> float:
        if self._hooks is None:
            return 0.0
        self._hooks.before(component.service, handler.name, entity.entity_id if entity else "")
        return time.perf_counter()

    def _after(
        self,
        component: Component[Any],
        handler: Handler,
        entity: Entity | None,
        began: float,
        failure: Failure | None,
    ) -> None:
        assert self._hooks is not None, "callers ask first"
        seconds = time.perf_counter() - began
        entity_id = entity.entity_id if entity else ""
        self._hooks.after(component.service, handler.name, entity_id, seconds, failure)


def _failure(component: Component[Any], handler: Handler, error: BaseException) -> Failure:
    """What the caller is told of what a handler raised."""
    if isinstance(error, Failure):
        return error
    where = f"{component.service}/{handler.name}"
    if isinstance(error, FrameTooLarge):
        log.error("%s: the decision is too large: %s", where, error)
        return Failure(Code.RESOURCE_EXHAUSTED, f"{where}: the decision is too large: {error}")
    if isinstance(error, ConnectionLost):
        return Failure(Code.UNAVAILABLE, str(error))
    log.error("%s failed", where, exc_info=error)
    return Failure(Code.INTERNAL, f"{where}: the handler failed")


def _cancel(task: asyncio.Task[None], context: Context) -> None:
    # A task that has not begun would end without a word; it looks for itself when it begins.
    if context._began:
        task.cancel()


def _task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task; where Python can, one that first runs as far as it gets at once."""
    if EAGER:
        loop = asyncio.get_running_loop()
        return asyncio.Task(coroutine, loop=loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]
    return asyncio.get_running_loop().create_task(coroutine)


async def _asynchronous(replies: Any) -> AsyncIterator[Any]:
    for reply in replies:
        yield reply
