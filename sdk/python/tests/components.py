"""Components that the tests serve: one of each model, declared in code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import firn
from firn.data import CounterMap


@dataclass
class Ask:
    id: str = ""
    number: int = 0
    text: str = ""


@dataclass
class Told:
    number: int = 0
    text: str = ""


@dataclass
class Total:
    number: int = 0


@dataclass
class Added:
    number: int = 0


value = firn.ValueEntity("test.Value", id="id", state=Total)


@value.handler(http="POST /values/{id}/add")
def add(request: Ask, ctx: firn.ValueContext[Total]) -> Told:
    if request.number < 0:
        raise firn.Failure(firn.Code.INVALID_ARGUMENT, f"cannot add {request.number}")
    ctx.set(Total(ctx.state.number + request.number))
    return Told(ctx.state.number, ctx.entity_id)


@value.handler(http="GET /values/{id}")
def get(request: Ask, ctx: firn.ValueContext[Total]) -> Told:
    return Told(ctx.state.number, ctx.entity_id)


@value.handler
def remove(request: Ask, ctx: firn.ValueContext[Total]) -> None:
    ctx.delete()


@value.handler
def crash(request: Ask, ctx: firn.ValueContext[Total]) -> None:
    ctx.set(Total(99))
    raise RuntimeError("secret")


@value.handler
async def slowly(request: Ask, ctx: firn.ValueContext[Total]) -> Told:
    told = await ctx.call(double(Ask(number=request.number)))
    ctx.set(Total(ctx.state.number + told.number))
    return Told(ctx.state.number)


@value.handler
async def hang(request: Ask, ctx: firn.ValueContext[Total]) -> None:
    await asyncio.Event().wait()


@value.handler
def everything(request: Ask, ctx: firn.ValueContext[Total]) -> Told:
    ctx.effect(add(request), wait=True)
    ctx.effect(add(request), after=2.5)
    ctx.publish("news", Told(1, "x"))
    ctx.timer("wake", 1.5, add(request), repeat=True)
    ctx.cancel_timer("other")
    ctx.reply_metadata.add("x-seen", str(ctx.metadata["x-given"]))
    return ctx.forward(get(request))


event_sourced = firn.EventSourcedEntity("test.Events", id="id", state=Total, snapshot_every=3)


@event_sourced.event
def added(state: Total, event: Added) -> Total:
    if event.number == 666:
        raise ArithmeticError("a broken fold")
    return Total(state.number + event.number)


@event_sourced.handler
def append(request: Ask, ctx: firn.EventSourcedContext[Total]) -> Told:
    for _ in range(max(1, len(request.text))):
        ctx.emit(Added(request.number))
    if request.number < 0:
        raise firn.Failure(firn.Code.FAILED_PRECONDITION, f"would be {ctx.state.number}")
    return Told(ctx.state.number)


@event_sourced.handler
def clear(request: Ask, ctx: firn.EventSourcedContext[Total]) -> Told:
    ctx.delete()
    return Told(ctx.state.number)


actor = firn.Actor("test.Actor", id="id", state=Total, durability=firn.Durability.WRITE_BEHIND)


@actor.handler
def act(request: Ask, ctx: firn.ActorContext[Total]) -> Told:
    if request.number:
        ctx.set(Total(ctx.state.number + request.number))
    if request.text:
        ctx.set_tags({**ctx.tags, "text": request.text})
    return Told(ctx.state.number, ",".join(ctx.tags.values()))


replicated = firn.ReplicatedEntity("test.Scores", id="id", data=CounterMap[str])


@replicated.handler
def score(request: Ask, ctx: firn.ReplicatedContext[CounterMap[str]]) -> Told:
    ctx.data.add(request.text, request.number)
    if request.number == 13:
        raise firn.Failure(firn.Code.ABORTED, "bad luck")
    return Told(ctx.data[request.text])


@replicated.handler
async def score_slowly(request: Ask, ctx: firn.ReplicatedContext[CounterMap[str]]) -> Told:
    ctx.data.add(request.text, request.number)
    await ctx.call(double(request))
    return Told(ctx.data[request.text])


@replicated.handler
async def watch(request: Ask, ctx: firn.ReplicatedContext[CounterMap[str]]) -> AsyncIterator[Told]:
    yield Told(ctx.data[request.text])
    try:
        async for _ in ctx.changes():
            yield Told(ctx.data[request.text])
    finally:
        ctx.edit().add("left")


action = firn.Action("test.Action", headers=["x-given"])


@action.handler
def double(request: Ask, ctx: firn.ActionContext) -> Told:
    return Told(request.number * 2, request.text)


@action.handler
def count(request: Ask, ctx: firn.ActionContext) -> Iterator[Told]:
    for number in range(request.number):
        yield Told(number)


@action.handler
async def sum_up(requests: AsyncIterator[Ask], ctx: firn.ActionContext) -> Told:
    total = 0
    async for request in requests:
        total += request.number
    return Told(total)


@action.handler
async def echo(requests: AsyncIterator[Ask], ctx: firn.ActionContext) -> AsyncIterator[Told]:
    async for request in requests:
        yield Told(request.number, request.text)


@action.handler
async def wait(request: Ask, ctx: firn.ActionContext) -> Told:
    try:
        await asyncio.Event().wait()
    finally:
        ctx.effect(double(request))
    return Told()


COMPONENTS: tuple[firn.Component, ...] = (value, event_sourced, actor, replicated, action)


def function(**options: object) -> firn.Function:
    """A function that serves them."""
    return firn.Function("tests", *COMPONENTS, **options)  # type: ignore[arg-type]
