"""The model services of the conformance kit; see `tck/README.md` in the repository's folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from typing import Any

import model_pb2 as m

import firn
from firn import data

SERVICES = m.DESCRIPTOR.services_by_name
HEADERS = ["x-tck", "x-tck-bin"]


class Work:
    """What a handler works on while it does its steps."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.text = ""
        self.count = 0
        self.reply = m.Reply()
        self.forward: firn.Target[m.Reply] | None = None

    def set(self, text: str) -> None:
        """The text becomes this."""
        self.text, self.count = text, self.count + 1

    def append(self, text: str) -> None:
        """This is added to the text."""
        self.set(self.text + text)

    def delete(self) -> None:
        """Nothing remains."""
        raise AssertionError("actions have nothing to delete")

    def answer(self) -> m.Reply:
        """The reply after all steps."""
        self.reply.text, self.reply.count = self.text, self.count
        return self.reply


class StateWork(Work):
    """Work on the state of a value entity or an actor."""

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        self.text, self.count = ctx.state.text, ctx.state.count

    def set(self, text: str) -> None:
        super().set(text)
        self.ctx.set(m.State(text=self.text, count=self.count))

    def delete(self) -> None:
        self.ctx.delete()
        self.text, self.count = "", 0


class ActorWork(StateWork):
    """Work on an actor."""

    def answer(self) -> m.Reply:
        self.reply.tags.update(self.ctx.tags)
        return super().answer()


class EventWork(Work):
    """Work on an event sourced entity."""

    def append(self, text: str) -> None:
        self.ctx.emit(m.Appended(text=text))

    def delete(self) -> None:
        self.ctx.delete()

    def answer(self) -> m.Reply:
        self.text, self.count = self.ctx.state.text, self.ctx.state.count
        return super().answer()


# What users do.

value = firn.ValueEntity(
    SERVICES["ValueModel"], id="id", state=m.State, storage="tck-value"
)
value_two = firn.ValueEntity(
    SERVICES["ValueModelTwo"],
    id="id",
    state=m.State,
    storage="tck-two",
    passivate_after=timedelta(seconds=60),
)
events = firn.EventSourcedEntity(
    SERVICES["EventSourcedModel"], id="id", state=m.State, storage="tck-events", snapshot_every=5
)
actor = firn.Actor(SERVICES["ActorModel"], id="id", state=m.State, storage="tck-actor")
action = firn.Action(SERVICES["ActionModel"], headers=HEADERS)


@events.event
def appended(state: m.State, event: m.Appended) -> m.State:
    """Each adds its text."""
    return m.State(text=state.text + event.text, count=state.count + 1)


def processes(component: Any, work: Callable[[Any], Work]) -> None:
    """Declares the method `Process` of a component that is not replicated."""

    @component.handler(name="Process")
    async def process(request: m.Request, ctx: Any) -> m.Reply:
        doing = work(ctx)
        await do_all(request.steps, doing, request.id)
        return await finished(doing)


async def finished(work: Work) -> m.Reply:
    """The answer: a reply, or a forward."""
    if work.forward is not None:
        return work.ctx.forward(work.forward)  # type: ignore[no-any-return]
    return work.answer()


async def do_all(steps: Iterable[m.Step], work: Work, entity_id: str) -> None:
    """Does steps that do not reply."""
    for step in steps:
        await do(step, work, entity_id)


async def do(step: m.Step, work: Work, entity_id: str = "") -> None:
    """Does one step that does not reply."""
    ctx = work.ctx
    match step.WhichOneof("step"):
        case "set":
            work.set(step.set)
        case "append":
            work.append(step.append)
        case "delete":
            work.delete()
        case "fail":
            fail(step.fail)
        case "crash":
            raise RuntimeError(step.crash)
        case "forward":
            work.forward = target(step.forward)
        case "effect":
            effect = step.effect
            ctx.effect(target(effect.target), wait=effect.wait, after=effect.delay_ms / 1000)
        case "call":
            work.reply.called.append(await called(ctx, step.call))
        case "publish":
            ctx.publish(step.publish.topic, m.Text(text=step.publish.text))
        case "show_header":
            for found in ctx.metadata.all(step.show_header):
                raw = found if isinstance(found, bytes) else found.encode()
                work.reply.headers.add(name=step.show_header, value=raw)
        case "set_header":
            name, raw = step.set_header.name, step.set_header.value
            ctx.reply_metadata.add(name, raw if name.endswith("-bin") else raw.decode())
        case "hang":
            await asyncio.Event().wait()
        case "pad":
            work.reply.pad = bytes(range(251)) * (step.pad // 251) + bytes(range(step.pad % 251))
        case "set_timer":
            timer = step.set_timer
            request = m.Request(id=entity_id, steps=timer.steps)
            method: firn.Method[m.Request, m.Reply] = getattr(
                firn.Service(SERVICES[OF_TIMER[type(work)]]), "Process"
            )
            ctx.timer(timer.name, timer.after_ms / 1000, method(request), repeat=timer.repeat)
        case "cancel_timer":
            ctx.cancel_timer(step.cancel_timer)
        case "set_tag":
            tags = {**ctx.tags, step.set_tag.name: step.set_tag.value}
            ctx.set_tags({name: tag for name, tag in tags.items() if tag})


OF_TIMER: dict[type[Work], str] = {}


def fail(failing: m.Fail) -> None:
    """Ends the handler."""
    details = [m.Text(text=text) for text in failing.details]
    raise firn.Failure(firn.Code(failing.code), failing.message, details)


def target(named: m.Target) -> firn.Target[m.Reply]:
    """A call of one of the value models."""
    if named.WhichOneof("target") == "two":
        return firn.Service(SERVICES["ValueModelTwo"]).Process(named.two)
    return firn.Service(SERVICES["ValueModel"]).Process(named.value)


async def called(ctx: firn.Context, named: m.Target) -> m.Called:
    """Calls, and tells what came."""
    try:
        return m.Called(reply=await ctx.call(target(named)))
    except firn.Failure as failure:
        texts = []
        for detail in failure.details:
            text = m.Text()
            detail.Unpack(text)
            texts.append(text.text)
        return m.Called(code=failure.code, message=failure.message, details=texts)


processes(value, StateWork)


class TwoWork(StateWork):
    """Work on the second value model."""


processes(value_two, TwoWork)
processes(events, EventWork)
processes(actor, ActorWork)
OF_TIMER.update(
    {
        StateWork: "ValueModel",
        TwoWork: "ValueModelTwo",
        EventWork: "EventSourcedModel",
        ActorWork: "ActorModel",
    }
)


@action.handler
async def unary(request: m.Request, ctx: firn.ActionContext) -> m.Reply:
    """One request, one reply."""
    work = Work(ctx)
    await do_all(request.steps, work, "")
    return await finished(work)


@action.handler
async def collect(requests: AsyncIterator[m.Request], ctx: firn.ActionContext) -> m.Reply:
    """Many requests, one reply."""
    work = Work(ctx)
    async for request in requests:
        await do_all(request.steps, work, "")
    return await finished(work)


@action.handler
async def spread(request: m.Request, ctx: firn.ActionContext) -> AsyncIterator[m.Reply]:
    """One request, many replies."""
    sent = Sent()
    async for reply in replies(request, Work(ctx), sent):
        yield reply


@action.handler
async def converse(requests: AsyncIterator[m.Request], ctx: firn.ActionContext) -> AsyncIterator[m.Reply]:
    """Many requests, many replies."""
    work, sent = Work(ctx), Sent()
    async for request in requests:
        async for reply in replies(request, work, sent):
            yield reply


class Sent:
    """How many replies a call has sent."""

    def __init__(self) -> None:
        self.count = 0


async def replies(request: m.Request, work: Work, sent: Sent) -> AsyncIterator[m.Reply]:
    """Does the steps of a request, and gives the replies that they send."""
    for step in request.steps:
        if step.WhichOneof("step") != "send":
            await do(step, work)
            continue
        for _ in range(step.send.times):
            if step.send.pause_ms:
                await asyncio.sleep(step.send.pause_ms / 1000)
            sent.count += 1
            yield m.Reply(text=step.send.text, count=sent.count)


# Replicated entities.

KINDS: dict[int, type[data.Data]] = {
    1: data.GrowCounter,
    2: data.Counter,
    3: data.GrowSet,
    4: data.Set,
    5: data.Flag,
    6: data.Register,
    7: data.Map,
    8: data.Vote,
    9: data.CounterMap,
    10: data.RegisterMap,
    11: data.MultiMap,
}


def replicated(service: str, storage: str, kind: Any, **options: Any) -> firn.ReplicatedEntity[Any]:
    """A component of one type of data."""
    component = firn.ReplicatedEntity(SERVICES[service], id="id", data=kind, storage=storage, **options)

    @component.handler
    async def process(request: m.DataRequest, ctx: firn.ReplicatedContext[Any]) -> m.Value:
        if request.consistency:
            ctx.consistency(request.consistency)
        for step in request.steps:
            await do_data(step, ctx)
        return shown(ctx.data)

    @component.handler
    async def watch(request: m.DataRequest, ctx: firn.ReplicatedContext[Any]) -> AsyncIterator[m.Value]:
        for step in request.steps:
            await do_data(step, ctx)
        yield shown(ctx.data)
        async for _ in ctx.changes():
            yield shown(ctx.data)

    return component


async def do_data(step: m.DataStep, ctx: firn.ReplicatedContext[Any]) -> None:
    """Does one step of a replicated entity."""
    match step.WhichOneof("step"):
        case "delete":
            ctx.delete()
        case "fail":
            fail(step.fail)
        case "crash":
            raise RuntimeError(step.crash)
        case "call":
            await called(ctx, step.call)
        case "hang":
            await asyncio.Event().wait()
        case _:
            change(ctx.data, step)


def change(value: Any, step: m.DataStep) -> None:
    """Changes a value."""
    match step.WhichOneof("step"):
        case "change":
            value.add(step.change)
        case "add":
            value.add(m.Text(text=step.add))
        case "remove" if isinstance(value, data.Set):
            value.discard(m.Text(text=step.remove))
        case "remove":
            value.remove(m.Text(text=step.remove))
        case "clear":
            value.clear()
        case "turn_on":
            value.enable()
        case "vote":
            value.vote(step.vote)
        case "write":
            write = step.write
            value.set(m.Text(text=write.text), data.Clock(write.clock), write.custom)
        case "at":
            change_at(value, step.at)


def change_at(value: Any, at: m.At) -> None:
    """Changes the value of a key."""
    key = m.Text(text=at.key)
    if isinstance(value, data.CounterMap):
        value.add(key, at.step.change)
    elif isinstance(value, data.RegisterMap):
        write = at.step.write
        value.set(key, m.Text(text=write.text), data.Clock(write.clock), write.custom)
    elif isinstance(value, data.MultiMap):
        change(value.at(key), at.step)
    else:
        found = value.get(key)
        change(value.at(key, KINDS[at.data_type]) if found is None else found, at.step)


def shown(value: Any) -> m.Value:
    """A value as it is to be seen."""
    match value:
        case data.Counter() | data.GrowCounter():
            return m.Value(number=value.value)
        case data.Flag():
            return m.Value(on=value.value)
        case data.Vote():
            return m.Value(number=value.yes, on=value.own, members=value.members)
        case data.Register():
            return m.Value(text=value.value.text if value.value is not None else "")
        case data.Set() | data.GrowSet():
            return m.Value(elements=sorted((one.text for one in value), key=str.encode))
        case data.CounterMap():
            entries = [(key, m.Value(number=count)) for key, count in value.items()]
        case data.RegisterMap():
            entries = [(key, m.Value(text=text.text)) for key, text in value.items()]
        case _:
            entries = [(key, shown(inner)) for key, inner in value.items()]
    entries.sort(key=lambda entry: entry[0].text.encode())
    return m.Value(entries=[m.ValueEntry(key=key.text, value=inner) for key, inner in entries])


COMPONENTS: list[firn.Component[Any]] = [
    action,
    value,
    value_two,
    events,
    actor,
    replicated("GrowCounterModel", "tck-grow-counter", data.GrowCounter),
    replicated("CounterModel", "tck-counter", data.Counter, consistency=firn.Consistency.MAJORITY),
    replicated("GrowSetModel", "tck-grow-set", data.GrowSet[m.Text]),
    replicated("SetModel", "tck-set", data.Set[m.Text]),
    replicated("FlagModel", "tck-flag", data.Flag),
    replicated("RegisterModel", "tck-register", data.Register[m.Text]),
    replicated("MapModel", "tck-map", data.Map[m.Text]),
    replicated("VoteModel", "tck-vote", data.Vote),
    replicated("CounterMapModel", "tck-counter-map", data.CounterMap[m.Text]),
    replicated("RegisterMapModel", "tck-register-map", data.RegisterMap[m.Text, m.Text]),
    replicated("MultiMapModel", "tck-multi-map", data.MultiMap[m.Text, m.Text]),
]
