"""The kit: what users test their functions with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import components as c
import pytest

import firn
from firn import testing
from firn.data import Counter, CounterMap, Flag, GrowSet, Map, MultiMap, Register, RegisterMap, Set, Vote


def test_a_value_entity_runs_in_memory() -> None:
    kit = testing.Kit(c.value, "a", state=c.Total(3))
    assert kit.send(c.add(c.Ask(number=4))).reply == c.Told(7, "a")
    assert (kit.state, kit.version, kit.exists) == (c.Total(7), 2, True)
    kit.restart()
    assert kit.send(c.get(c.Ask())).reply.number == 7
    refused = kit.send(c.add(c.Ask(number=-1)))
    assert refused.failure is not None and refused.failure.code == firn.Code.INVALID_ARGUMENT
    with pytest.raises(firn.Failure, match="cannot add -1"):
        assert refused.reply
    assert kit.send(c.remove(c.Ask())).deleted
    assert not kit.exists and kit.state == c.Total(0)


def test_everything_that_a_decision_asks_for_is_seen() -> None:
    kit = testing.Kit(c.value, "a")
    result = kit.send(c.everything(c.Ask(number=1)), metadata=firn.Metadata([("x-given", "yes")]))
    assert result.forward is not None and result.forward.method == "Get"
    with pytest.raises(AssertionError, match="forwarded to test.Value/Get"):
        assert result.reply
    waited, delayed, published = result.effects
    assert waited.wait and waited.call == c.add(c.Ask(number=1))
    assert delayed.after == timedelta(seconds=2.5)
    assert (published.topic, published.message) == ("news", c.Told(1, "x"))
    timer, cancelled = result.timers
    assert timer.call == c.add(c.Ask(number=1)) and timer.repeat and timer.after == timedelta(seconds=1.5)
    assert cancelled.call is None
    assert result.metadata["x-seen"] == "yes"


def test_an_event_sourced_entity_keeps_events_and_snapshots() -> None:
    kit = testing.Kit(c.event_sourced, "a", events=[c.Added(1)])
    result = kit.send(c.append(c.Ask(number=2)))
    assert result.events == [c.Added(2)] and result.snapshot is None
    assert kit.events == [c.Added(1), c.Added(2)]
    result = kit.send(c.append(c.Ask(number=3)))
    assert result.snapshot == c.Total(6) and kit.events == []
    kit.restart()
    assert kit.send(c.append(c.Ask(number=4))).reply.number == 10
    assert kit.send(c.append(c.Ask(number=-4))).failure is not None
    assert kit.state == c.Total(10)
    assert kit.send(c.append(c.Ask(number=1))).reply.number == 11, "what failed left nothing"
    kit.send(c.clear(c.Ask()))
    assert (kit.version, kit.exists) == (0, False)


def test_an_actor_keeps_its_tags() -> None:
    kit = testing.Kit(c.actor, "a")
    kit.send(c.act(c.Ask(number=1, text="x")))
    kit.restart()
    assert kit.send(c.act(c.Ask(number=2))).reply == c.Told(3, "x")
    assert kit.tags == {"text": "x"} and kit.state == c.Total(3)


async def test_calls_are_answered_by_the_test() -> None:
    kit = testing.Kit(c.value, "a")
    failed = await kit.asend(c.slowly(c.Ask(number=1)))
    assert failed.failure is not None and failed.failure.code == firn.Code.UNIMPLEMENTED
    kit.answer(c.double, c.Told(40))
    assert (await kit.asend(c.slowly(c.Ask(number=1)))).reply.number == 40
    kit.answer(c.double, firn.Failure(firn.Code.ABORTED, "no"))
    with pytest.raises(firn.Failure, match="ABORTED: no"):
        assert (await kit.asend(c.slowly(c.Ask(number=1)))).reply
    kit.answer(c.double, lambda request: c.Told(request.number * 100))
    assert (await kit.asend(c.slowly(c.Ask(number=2)))).reply.number == 240
    assert kit.calls == [c.double(c.Ask(number=number)) for number in (1, 1, 1, 2)]
    with pytest.raises(TypeError, match="may wait"):
        kit.send(c.slowly(c.Ask()))


async def test_streams_of_an_action() -> None:
    kit = testing.Kit(c.action)
    assert [told.number async for told in kit.open(c.count(c.Ask(number=3)))] == [0, 1, 2]
    stream = kit.open(c.sum_up)
    for number in (1, 2, 3):
        stream.send(c.Ask(number=number))
    stream.end()
    assert (await stream.result()).reply.number == 6
    waiting = kit.open(c.wait(c.Ask(number=1)))
    await asyncio.sleep(0)
    waiting.cancel()
    assert len((await waiting.result()).effects) == 1


async def test_watching_a_replica_of_which_another_changes() -> None:
    ours, theirs = testing.replicas(c.replicated, "a")
    watching = ours.open(c.watch(c.Ask(text="ann")))
    assert (await watching.next()).number == 0
    theirs.send(c.score(c.Ask(text="ann", number=5)))
    assert ours.data["ann"] == 0
    testing.exchange(ours, theirs)
    assert (await watching.next()).number == 5
    ours.send(c.score(c.Ask(text="ann", number=2)))
    assert (await watching.next()).number == 7
    watching.cancel()
    assert (await watching.result()).changed
    testing.exchange(ours, theirs)
    assert theirs.data["ann"] == 7 and ours.data == theirs.data


def test_a_state_that_was_changed_behind_the_back_is_found() -> None:
    @dataclass
    class Names:
        names: list[str] = field(default_factory=list)

    entity = firn.ValueEntity("test.Sloppy", id="id", state=Names)

    @entity.handler
    def set_name(request: c.Ask, ctx: firn.ValueContext[Names]) -> None:
        ctx.set(Names([request.text]))

    @entity.handler
    def sloppy(request: c.Ask, ctx: firn.ValueContext[Names]) -> None:
        ctx.state.names.append("x")

    kit = testing.Kit(entity, "a")
    kit.send(set_name(c.Ask(text="a")))
    with pytest.raises(AssertionError, match="is not the one that is stored"):
        kit.send(sloppy(c.Ask()))


def test_events_that_do_not_always_give_the_same_state_are_found() -> None:
    entity = firn.EventSourcedEntity("test.Dice", id="id", state=c.Total)
    thrown = iter(range(100))

    @entity.event
    def added(state: c.Total, event: c.Added) -> c.Total:
        return c.Total(state.number + next(thrown))

    @entity.handler
    def throw(request: c.Ask, ctx: firn.EventSourcedContext[c.Total]) -> None:
        ctx.emit(c.Added(1))

    with pytest.raises(AssertionError, match="the same events do not always give the same state"):
        kit = testing.Kit(entity, "a")
        kit.send(throw(c.Ask()))
        kit.send(throw(c.Ask()))


DATA = {
    "counter": (Counter, lambda d: d.add(1), lambda d: d.add(2), lambda d: d.value, 3),
    "grow_set": (GrowSet[str], lambda d: d.add("a"), lambda d: d.add("b"), sorted, ["a", "b"]),
    "set": (Set[str], lambda d: d.add("a"), lambda d: d.add("b"), sorted, ["a", "b"]),
    "flag": (Flag, lambda d: d.enable(), lambda d: None, bool, True),
    "register": (Register[str], lambda d: d.set("a"), lambda d: None, lambda d: d.value, "a"),
    "vote": (Vote, lambda d: d.vote(True), lambda d: d.vote(True), lambda d: (d.own, d.yes, d.members), (True, 2, 2)),
    "counter_map": (CounterMap[str], lambda d: d.add("a", 1), lambda d: d.add("a", 2), lambda d: d.items(), [("a", 3)]),
    "register_map": (
        RegisterMap[str, int],
        lambda d: d.set("a", 1),
        lambda d: d.set("b", 2),
        lambda d: sorted(d.items()),
        [("a", 1), ("b", 2)],
    ),
    "multi_map": (
        MultiMap[str, str],
        lambda d: d.add("a", "x"),
        lambda d: d.add("a", "y"),
        lambda d: [(key, sorted(values)) for key, values in d.items()],
        [("a", ["x", "y"])],
    ),
    "map": (
        Map[str],
        lambda d: d.at("a", Counter).add(1),
        lambda d: d.at("b", Map).at("c", Flag).enable(),
        lambda d: (d.at("a", Counter).value, bool(d.get("b").get("c"))),
        (1, True),
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_replicas_of_every_type_agree(name: str) -> None:
    kind, change, other, look, expected = DATA[name]
    entity = firn.ReplicatedEntity("test.Data", id="id", data=kind)  # type: ignore[var-annotated]

    @entity.handler
    def do(request: c.Ask, ctx: firn.ReplicatedContext) -> None:  # type: ignore[type-arg]
        (change if request.number == 1 else other)(ctx.data)

    ours, theirs = testing.replicas(entity)
    ours.send(do(c.Ask(number=1)))
    theirs.send(do(c.Ask(number=2)))
    testing.exchange(ours, theirs)
    testing.exchange(ours, theirs)
    assert look(ours.data) == expected == look(theirs.data)
    for kit in (ours, theirs):
        assert look(kit._session._entities[1].data) == expected, "the function was told"


def test_adding_wins_over_removing_at_the_same_time() -> None:
    entity = firn.ReplicatedEntity("test.Set", id="id", data=Set[str])

    @entity.handler
    def do(request: c.Ask, ctx: firn.ReplicatedContext[Set[str]]) -> None:
        if request.number > 0:
            ctx.data.add(request.text)
        elif request.text:
            ctx.data.discard(request.text)
        else:
            ctx.data.clear()

    for removal in ("x", ""):
        ours, theirs = testing.replicas(entity)
        theirs.send(do(c.Ask(text="x", number=1)))
        testing.exchange(ours, theirs)
        theirs.send(do(c.Ask(text=removal)))
        ours.send(do(c.Ask(text="x")))
        ours.send(do(c.Ask(text="x", number=1)))
        testing.exchange(ours, theirs)
        assert list(ours.data) == list(theirs.data) == ["x"]


def test_what_cannot_be_served_cannot_be_tested() -> None:
    with pytest.raises(firn.DeclarationError, match="has no handlers"):
        testing.Kit(firn.Action("test.Empty"))
    with pytest.raises(ValueError, match="the kit runs test.Value"):
        testing.Kit(c.value).send(c.double(c.Ask()))
