"""Section 5 of firn.v1, and what decisions are made of: one model after the other, over a connection."""

from __future__ import annotations

import asyncio

import components as c
import pytest
from conftest import World, added, command, told, total
from fake_firn import Link
from google.protobuf.any_pb2 import Any as AnyMessage

import firn
from firn._codec import Types
from firn.v1 import function_pb2 as pb

PREFIX = "type.googleapis.com/"


def stored(value: object) -> AnyMessage:
    """A state or event as Firn has it."""
    codec = {c.Total: total, c.Added: added}[type(value)]
    return AnyMessage(type_url=f"{PREFIX}test.{type(value).__name__}", value=codec.encode(value))  # type: ignore[arg-type]


def element(value: object) -> AnyMessage:
    return Types("").any(value)


def scores(**counts: int) -> pb.Delta:
    """Counts by name, as a change of the empty map."""
    entries = [pb.CounterMapDelta.Entry(key=element(key), change=count) for key, count in counts.items()]
    return pb.Delta(counter_map=pb.CounterMapDelta(updated=entries))


async def test_a_value_is_set_shown_and_deleted_with_its_version(link: Link) -> None:
    opening = pb.Opening(entity_id="a", version=7, value=stored(c.Total(10)))
    first = await link.command(**command(c.add, 5), incarnation=1, opening=opening)
    assert told.decode(first.reply) == c.Told(15, "a")
    assert first.mutation.set == stored(c.Total(15))
    assert first.version == 8
    shown = await link.command(**command(c.get), incarnation=1)
    assert told.decode(shown.reply).number == 15
    assert not shown.HasField("mutation") and shown.version == 8
    removed = await link.command(**command(c.remove), incarnation=1)
    assert removed.mutation.WhichOneof("mutation") == "delete" and removed.version == 9
    assert removed.HasField("reply") and removed.reply == b""
    assert told.decode((await link.command(**command(c.get), incarnation=1)).reply).number == 0


async def test_a_failure_reaches_the_caller_as_it_is_and_changes_nothing(link: Link) -> None:
    opening = pb.Opening(entity_id="a", version=7, value=stored(c.Total(10)))
    failed = await link.command(**command(c.add, -5), incarnation=1, opening=opening)
    assert (failed.failure.code, failed.failure.message) == (firn.Code.INVALID_ARGUMENT, "cannot add -5")
    assert failed.version == 7 and not failed.HasField("mutation")
    assert told.decode((await link.command(**command(c.get), incarnation=1)).reply).number == 10


async def test_code_that_breaks_off_is_internal_without_its_text(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    opening = pb.Opening(entity_id="a", version=7, value=stored(c.Total(10)))
    failed = await link.command(**command(c.crash), incarnation=1, opening=opening)
    assert failed.failure.code == firn.Code.INTERNAL
    assert "secret" not in failed.failure.message
    assert "secret" in caplog.text, "the log has all of it"
    shown = await link.command(**command(c.get), incarnation=1)
    assert told.decode(shown.reply).number == 10 and shown.version == 7


async def test_a_request_that_cannot_be_read_is_an_invalid_argument(link: Link) -> None:
    fields = {**command(c.double), "message": b"\xff\xff"}
    assert (await link.command(**fields)).failure.code == firn.Code.INVALID_ARGUMENT


async def test_a_decision_has_forward_effects_timers_and_headers(link: Link) -> None:
    entries = [pb.Metadata.Entry(key="x-given", text="yes")]
    opening = pb.Opening(entity_id="a")
    fields = command(c.everything, 3, metadata=pb.Metadata(entries=entries))
    decision = await link.command(**fields, incarnation=1, opening=opening)
    assert decision.forward.service == "test.Value" and decision.forward.method == "Get"
    waited, delayed, published = decision.effects
    assert waited.call.wait and waited.call.target.method == "Add"
    assert delayed.call.delay.ToTimedelta().total_seconds() == 2.5 and not delayed.call.wait
    assert published.publish.topic == "news"
    assert published.publish.message.type_url == f"{PREFIX}test.Told"
    timer, cancelled = decision.timers
    assert (timer.name, timer.set.method, timer.set.repeat) == ("wake", "Add", True)
    assert timer.set.after.ToTimedelta().total_seconds() == 1.5
    assert cancelled.name == "other" and cancelled.WhichOneof("action") == "cancel"
    assert [(entry.key, entry.text) for entry in decision.metadata.entries] == [("x-seen", "yes")]


async def test_events_are_folded_from_the_snapshot_and_what_is_after_it(link: Link) -> None:
    history = pb.History(
        snapshot=stored(c.Total(100)), snapshot_version=3, events=[stored(c.Added(1)), stored(c.Added(2))]
    )
    opening = pb.Opening(entity_id="a", version=5, history=history)
    # Two more make seven: they pass six, a multiple of three, so a snapshot is due.
    decision = await link.command(**command(c.append, 10, "xx"), incarnation=1, opening=opening)
    assert told.decode(decision.reply).number == 123
    assert list(decision.mutation.append.events) == [stored(c.Added(10)), stored(c.Added(10))]
    assert decision.mutation.append.snapshot == stored(c.Total(123))
    assert decision.version == 7
    decision = await link.command(**command(c.append, 1), incarnation=1)
    assert not decision.mutation.append.HasField("snapshot") and decision.version == 8
    decision = await link.command(**command(c.append, 1), incarnation=1)
    assert decision.mutation.append.snapshot == stored(c.Total(125)), "nine is reached"
    decision = await link.command(**command(c.clear), incarnation=1)
    assert decision.mutation.WhichOneof("mutation") == "delete" and decision.version == 0
    assert told.decode(decision.reply).number == 0


async def test_a_failure_after_events_lets_go_of_the_incarnation(link: Link) -> None:
    opening = pb.Opening(entity_id="a", version=1, history=pb.History(events=[stored(c.Added(1))]))
    failed = await link.command(**command(c.append, -5), incarnation=1, opening=opening)
    assert failed.failure.message == "would be -4", "the handler saw its event"
    assert failed.version == 1
    assert await link.receive() == pb.Closed(incarnation=1)
    # What crossed Closed is Firn's to send again; only with an opening does it count.
    link.send(link.next_command(**command(c.append, 1), incarnation=1))
    decision = await link.command(**command(c.append, 1), incarnation=2, opening=opening)
    assert decision.command == 3 and told.decode(decision.reply).number == 2


@pytest.mark.parametrize(
    "event", [stored(c.Added(666)), AnyMessage(type_url=f"{PREFIX}test.Gone", value=b"")], ids=["fold", "type"]
)
async def test_a_state_that_cannot_be_rebuilt_fails_the_command_and_ends_the_incarnation(
    link: Link, event: AnyMessage
) -> None:
    opening = pb.Opening(entity_id="a", version=1, history=pb.History(events=[event]))
    failed = await link.command(**command(c.append, 1), incarnation=1, opening=opening)
    assert failed.failure.code == firn.Code.INTERNAL and failed.version == 1
    assert await link.receive() == pb.Closed(incarnation=1)


async def test_an_actor_has_state_and_tags(link: Link) -> None:
    opening = pb.Opening(entity_id="a", version=2, actor=pb.Actor(tags={"color": "red"}))
    decision = await link.command(**command(c.act, 0, "new"), incarnation=1, opening=opening)
    assert decision.mutation.actor == pb.Actor(tags={"color": "red", "text": "new"}), "tags without a state"
    assert decision.version == 3
    decision = await link.command(**command(c.act, 4), incarnation=1)
    assert decision.mutation.actor.state == stored(c.Total(4))
    assert dict(decision.mutation.actor.tags) == {"color": "red", "text": "new"}
    decision = await link.command(**command(c.act), incarnation=1)
    assert not decision.HasField("mutation") and decision.version == 4
    assert told.decode(decision.reply) == c.Told(4, "red,new")


async def test_replicated_data_changes_here_and_elsewhere(link: Link) -> None:
    opening = pb.Opening(entity_id="a", data=scores(ann=3))
    decision = await link.command(**command(c.score, 4, "ann"), incarnation=1, opening=opening)
    assert told.decode(decision.reply).number == 7
    assert decision.mutation.update.delta == scores(ann=4)
    link.send(pb.Change(incarnation=1, delta=scores(ann=10, bob=1)))
    failed = await link.command(**command(c.score, 13, "ann"), incarnation=1)
    assert failed.failure.code == firn.Code.ABORTED
    decision = await link.command(**command(c.score, 1, "ann"), incarnation=1)
    assert told.decode(decision.reply).number == 18, "what failed is undone"


async def test_handlers_of_replicated_data_that_wait_do_not_see_each_other(link: Link) -> None:
    opening = pb.Opening(entity_id="a")
    link.send(
        link.next_command(**command(c.score_slowly, 1, "ann"), incarnation=1, opening=opening),
        link.next_command(**command(c.score_slowly, 10, "ann"), incarnation=1),
    )
    calls = [await link.receive(), await link.receive()]
    link.send(pb.Change(incarnation=1, delta=scores(ann=100)))
    replies = {}
    for call in calls:
        link.send(pb.CallResult(id=call.id, reply=told.encode(c.Told())))
        decision = await link.receive()
        replies[decision.command] = told.decode(decision.reply).number
        assert decision.mutation.update.delta == scores(ann=1 if decision.command == 1 else 10)
    assert replies == {1: 101, 2: 111}, "the second sees the first, which was decided"


async def test_a_watching_stream_sees_changes_and_may_change_at_its_end(link: Link) -> None:
    opening = pb.Opening(entity_id="a", data=scores(ann=3))
    first = await link.command(**command(c.watch, 0, "ann"), incarnation=1, opening=opening)
    assert isinstance(first, pb.Reply) and told.decode(first.message).number == 3
    link.send(pb.Change(incarnation=1, delta=scores(ann=1)))
    assert told.decode((await link.receive()).message).number == 4
    link.send(link.next_command(**command(c.score, 6, "ann"), incarnation=1))
    frames = [await link.receive(), await link.receive()]
    reply = next(frame for frame in frames if isinstance(frame, pb.Reply))
    assert told.decode(reply.message).number == 10, "a command of this process is a change too"
    link.send(pb.Cancel(id=1))
    end = await link.receive()
    assert end.command == 1 and end.mutation.update.delta == scores(left=1)


async def test_a_watching_stream_ends_when_the_entity_is_deleted(link: Link) -> None:
    opening = pb.Opening(entity_id="a", data=scores(ann=3))
    await link.command(**command(c.watch, 0, "ann"), incarnation=1, opening=opening)
    link.send(pb.Change(incarnation=1, deleted=pb.Delete()))
    assert isinstance(await link.receive(), pb.Decision)


async def test_an_action_answers_in_all_four_shapes(link: Link) -> None:
    assert told.decode((await link.command(**command(c.double, 4))).reply).number == 8

    link.send(link.next_command(**command(c.count, 2)))
    replies = [await link.receive(), await link.receive()]
    assert [told.decode(reply.message).number for reply in replies] == [0, 1]
    end = await link.receive()
    assert isinstance(end, pb.Decision) and end.WhichOneof("answer") is None

    ask = command(c.double)["message"]
    collect = link.next_command(**{**command(c.sum_up), "message": b""})
    messages = [pb.Message(command=collect.id, message=command(c.double, n)["message"]) for n in (1, 2)]
    link.send(collect, *messages, pb.Message(command=collect.id, end=True))
    assert told.decode((await link.receive()).reply).number == 3

    converse = link.next_command(**{**command(c.echo), "message": b""})
    link.send(converse, pb.Message(command=converse.id, message=ask))
    assert isinstance(await link.receive(), pb.Reply)
    link.send(pb.Message(command=converse.id, message=ask, end=True))
    assert isinstance(await link.receive(), pb.Reply)
    assert isinstance(await link.receive(), pb.Decision)


async def test_a_cancelled_action_answers_and_its_effects_count(world: World) -> None:
    link = world.link
    waiting = link.next_command(**command(c.wait, 1))
    # Both in one batch: the handler has not even begun.
    at_once = link.next_command(**command(c.wait, 1))
    link.send(waiting, at_once, pb.Cancel(id=at_once.id))
    early = await link.receive()
    assert early.command == at_once.id and not early.HasField("failure")
    link.send(pb.Cancel(id=waiting.id))
    decision = await link.receive()
    assert decision.command == waiting.id and len(decision.effects) == 1


async def test_components_and_methods_that_were_not_declared_are_unimplemented(link: Link) -> None:
    for fields in ({"component": 99}, {"component": 0, "method": 99}):
        assert (await link.command(**fields)).failure.code == firn.Code.UNIMPLEMENTED


async def test_the_context_ends_with_its_handler(link: Link) -> None:
    kept: list[firn.ActionContext] = []
    handler = c.action.handlers[0]
    original = handler.function
    handler.function = lambda request, ctx: kept.append(ctx) or original(request, ctx)  # type: ignore[func-returns-value]
    try:
        await link.command(**command(c.double, 1, timeout_ms=60_000))
    finally:
        handler.function = original
    with pytest.raises(RuntimeError, match="answered already"):
        kept[0].publish("late", "text")
    assert kept[0].remaining is not None and 0 < kept[0].remaining <= 60
    await asyncio.sleep(0)
