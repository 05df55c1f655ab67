"""Sections 3, 4, 6, 7 and 8 of firn.v1: order, incarnations, streams, calls and flow, over a connection."""

from __future__ import annotations

import asyncio
import logging

import components as c
import pytest
from conftest import World, ask, command, connected, stopped, told
from fake_firn import FakeFirn, Link

import firn
from firn.v1 import function_pb2 as pb

OPENING = pb.Opening(entity_id="a")


async def test_commands_of_one_incarnation_wait_for_each_other_and_no_others_do(link: Link) -> None:  # R21, R22
    link.send(
        link.next_command(**command(c.slowly, 5), incarnation=1, opening=OPENING),
        link.next_command(**command(c.add, 1), incarnation=1),
        link.next_command(**command(c.slowly, 7), incarnation=1),
        link.next_command(**command(c.get), incarnation=1),
        link.next_command(**command(c.add, 2), incarnation=2, opening=OPENING),
        link.next_command(**command(c.double, 3)),
    )
    frames = [await link.receive() for _ in range(3)]
    call = next(frame for frame in frames if isinstance(frame, pb.Call))
    assert sorted(frame.command for frame in frames if isinstance(frame, pb.Decision)) == [5, 6]
    link.send(pb.CallResult(id=call.id, reply=told.encode(c.Told(10))))
    first, second, call = [await link.receive() for _ in range(3)]
    assert [told.decode(frame.reply).number for frame in (first, second)] == [10, 11]
    assert (second.version, call.command) == (2, 3)
    link.send(pb.CallResult(id=call.id, reply=told.encode(c.Told(100))))
    assert [told.decode((await link.receive()).reply).number for _ in range(2)] == [111, 111]


async def test_what_comes_in_one_batch_is_answered_in_one(link: Link) -> None:  # R8
    link.send(*(link.next_command(**command(c.double, n)) for n in range(500)))
    numbers = [told.decode((await link.receive()).reply).number for _ in range(500)]
    assert numbers == [2 * n for n in range(500)]
    assert max(link.batches) == 500


async def test_close_ends_what_runs_and_is_answered(link: Link) -> None:  # R41
    link.send(
        link.next_command(**command(c.hang), incarnation=1, opening=OPENING),
        link.next_command(**command(c.add, 1), incarnation=1),
        pb.Close(incarnation=1),
        pb.Close(incarnation=1),
    )
    assert await link.receive() == pb.Closed(incarnation=1)
    link.send(link.next_command(**command(c.hang), incarnation=2, opening=OPENING))
    assert (await link.command(**command(c.double, 1))).command == 4, "the handler has begun"
    link.send(pb.Close(incarnation=2))
    assert await link.receive() == pb.Closed(incarnation=2)
    link.send(link.next_command(**command(c.add, 1), incarnation=1))
    decision = await link.command(**command(c.add, 1), incarnation=3, opening=OPENING)
    assert decision.command == 6, "nothing of what was closed is answered"


async def test_the_entities_idle_longest_give_way() -> None:  # R44
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(incarnations=2))
        link = world.link
        for incarnation in (1, 2):
            await link.command(**command(c.add, 1), incarnation=incarnation, opening=OPENING)
        await link.command(**command(c.get), incarnation=1)
        link.send(link.next_command(**command(c.hang), incarnation=3, opening=OPENING))
        assert await link.receive() == pb.Closed(incarnation=2)
        # The third is busy, so the first gives way although it is not the oldest any more.
        link.send(link.next_command(**command(c.add, 1), incarnation=4, opening=OPENING))
        frames = [await link.receive(), await link.receive()]
        assert pb.Closed(incarnation=1) in frames
        await stopped(world)


def components_function(**options: object) -> firn.Function:
    return c.function(stop_seconds=0.5, **options)


async def test_frames_and_fields_of_later_versions_are_ignored(link: Link) -> None:  # R6
    unknown_frame = bytes([0x0A, 4, 0xFA, 0x01, 1, 0])
    unknown_field = pb.FirnBatch()
    unknown_field.frames.add().command.CopyFrom(link.next_command(**command(c.double, 4)))
    data = unknown_field.SerializeToString()
    link.send_bytes(unknown_frame + data + bytes([0x9A, 0x3E, 1, 7]))
    assert told.decode((await link.receive()).reply).number == 8
    link.send(pb.Change(incarnation=77), pb.Message(command=77), pb.CallResult(id=77), pb.Cancel(id=77))
    link.send(pb.Credit(command=77, amount=1))
    assert told.decode((await link.command(**command(c.double, 4))).reply).number == 8


async def test_replies_wait_for_credit() -> None:  # R61
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(), call_messages=2)
        link = world.link
        link.send(link.next_command(**command(c.count, 5)))
        assert [told.decode((await link.receive()).message).number for _ in range(2)] == [0, 1]
        # An answer to something else shows that no third reply is under way.
        assert isinstance(await link.command(**command(c.double, 1)), pb.Decision)
        link.send(pb.Credit(command=1, amount=10))
        assert [told.decode((await link.receive()).message).number for _ in range(3)] == [2, 3, 4]
        assert isinstance(await link.receive(), pb.Decision)
        await stopped(world)


async def test_requests_are_granted_as_they_are_taken(world: World) -> None:  # R61
    link, granted = world.link, world.hello.call_messages
    assert granted == 16
    collect = link.next_command(**{**command(c.sum_up), "message": b""})
    one = ask.encode(c.Ask(number=1))
    link.send(collect, *(pb.Message(command=collect.id, message=one) for _ in range(granted)))
    credit = 0
    while credit < granted:
        frame = await link.receive()
        assert isinstance(frame, pb.Credit) and frame.command == collect.id
        credit += frame.amount
    assert credit == granted
    link.send(pb.Message(command=collect.id, end=True))
    assert told.decode((await link.receive()).reply).number == granted


async def test_large_frames_travel_in_chunks_and_small_ones_between_them() -> None:  # R81
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(), chunk_bytes=1000)
        link = world.link
        text = "x" * 5000
        large = [link.next_command(**command(c.double, 1, text)) for _ in range(2)]
        small = link.next_command(**command(c.double, 1))
        encoded = [pb.FirnFrame(command=one).SerializeToString() for one in large]
        chunks = [
            pb.Chunk(transfer=number, data=data[at : at + 1000], last=at + 1000 >= len(data))
            for at in range(0, len(encoded[0]), 1000)
            for number, data in enumerate(encoded, 1)
        ]
        link.send(*chunks[:-1], small, chunks[-1])
        frames = [await link.receive_frame() for _ in range(3)]
        kinds = [frame.WhichOneof("frame") for frame in frames]
        assert kinds == ["chunk", "decision", "chunk"] or kinds == ["decision", "chunk", "chunk"]
        link.frames.extendleft(reversed(frames))
        decisions = [await link.receive() for _ in range(3)]
        assert sorted(decision.command for decision in decisions) == [1, 2, 3]
        assert sum(told.decode(decision.reply).text == text for decision in decisions) == 2
        await stopped(world)


async def test_chunks_name_their_subject_and_fit_the_limit() -> None:  # R81, R82
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(), chunk_bytes=1000)
        link = world.link
        link.send(link.next_command(**command(c.double, 1, "x" * 5000)))
        sizes = []
        while True:
            frame = await link.receive_frame()
            assert frame.chunk.subject == 1 and frame.chunk.transfer == 1
            sizes.append(frame.ByteSize())
            if frame.chunk.last:
                break
        assert len(sizes) > 5 and max(sizes) <= 1000
        await stopped(world)


async def test_a_decision_that_is_too_large_fails_and_does_not_count() -> None:  # R82
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(), frame_bytes=2000, chunk_bytes=1000)
        link = world.link
        failed = await link.command(**command(c.double, 1, "x" * 5000))
        assert failed.failure.code == firn.Code.RESOURCE_EXHAUSTED
        opening = pb.Opening(entity_id="y" * 3000)
        failed = await link.command(**command(c.add, 1), incarnation=1, opening=opening)
        assert failed.failure.code == firn.Code.RESOURCE_EXHAUSTED and failed.version == 0
        assert await link.receive() == pb.Closed(incarnation=1)
        await stopped(world)


async def test_a_frame_that_is_too_large_is_thrown_away(caplog: pytest.LogCaptureFixture) -> None:  # R82
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(frame_bytes=1000))
        for at in range(3):
            world.link.send(pb.Chunk(transfer=1, data=b"x" * 600, last=at == 2))
        assert isinstance(await world.link.command(**command(c.double, 1)), pb.Decision)
        assert "1800 bytes" in caplog.text
        await stopped(world)


async def test_calls_name_their_command_and_give_replies_and_failures(world: World) -> None:  # R70
    link = world.link
    call = await link.command(**command(c.slowly, 3, timeout_ms=5000), incarnation=1, opening=OPENING)
    assert (call.command, call.target.service, call.target.method) == (1, "test.Action", "Double")
    assert 0 < call.timeout_ms <= 5000
    failure = pb.Failure(code=9, message="not now", details=[pb_any()])
    link.send(pb.CallResult(id=call.id, failure=failure))
    decision = await link.receive()
    assert decision.failure == failure, "what the handler does not catch is its caller's"

    calling = asyncio.create_task(world.function.call(c.double(c.Ask(number=2)), timeout=1.5))
    call = await link.receive()
    assert (call.command, call.timeout_ms, call.id) == (0, 1500, 2)
    link.send(pb.CallResult(id=call.id, reply=told.encode(c.Told(4))))
    assert await calling == c.Told(4)


def pb_any() -> object:
    from fake_firn import packed

    return packed(pb.Info(name="detail"))


async def test_calls_wait_for_credit_and_give_it_back() -> None:  # R73, R74
    async with FakeFirn() as fake:
        world = await connected(fake, components_function(), calls=1)
        link, target = world.link, c.double(c.Ask(number=2))
        calls = [asyncio.create_task(world.function.call(target)) for _ in range(3)]
        first = await link.receive()
        assert isinstance(await link.command(**command(c.double, 1)), pb.Decision), "no second call came"
        calls[0].cancel()
        assert await link.receive() == pb.Cancel(id=first.id)
        link.send(pb.CallResult(id=first.id, failure=pb.Failure(code=1)))
        second = await link.receive()
        link.send(pb.Credit(amount=1))
        third = await link.receive()
        for call in (third, second):
            link.send(pb.CallResult(id=call.id, reply=told.encode(c.Told(call.id))))
        assert [(await call).number for call in calls[1:]] == [2, 3]
        await stopped(world)


async def test_notices_are_shown(caplog: pytest.LogCaptureFixture) -> None:  # R18
    seen: list[firn.Finding] = []
    done = asyncio.Event()

    class Hooks(firn.Hooks):
        def finding(self, finding: firn.Finding) -> None:
            seen.append(finding)
            if len(seen) == 2:
                done.set()

    async with FakeFirn() as fake:
        world = await connected(fake, components_function(hooks=Hooks()))
        finding = pb.Finding(code="FIRN-3033", text="the version is 3", remedy="use the SDK", service="test.Value")
        world.link.send(
            pb.Notice(finding=finding, severity=pb.Notice.SEVERITY_ERROR),
            pb.Notice(finding=finding, severity=pb.Notice.SEVERITY_WARNING),
        )
        await asyncio.wait_for(done.wait(), 10)
        await stopped(world)
    assert [one.is_error for one in seen] == [True, False]
    assert "FIRN-3033 the version is 3 (test.Value): use the SDK" in caplog.text
    assert [r.levelno for r in caplog.records if "FIRN-3033" in r.message] == [logging.ERROR, logging.WARNING]


async def test_hooks_hear_of_every_command() -> None:
    heard: list[tuple[object, ...]] = []

    class Hooks(firn.Hooks):
        def before(self, service: str, method: str, entity_id: str) -> None:
            heard.append(("before", service, method, entity_id))

        def after(
            self, service: str, method: str, entity_id: str, seconds: float, failure: firn.Failure | None
        ) -> None:
            assert seconds >= 0
            heard.append(("after", method, failure.code if failure else None))

    async with FakeFirn() as fake:
        world = await connected(fake, components_function(hooks=Hooks()))
        link = world.link
        await link.command(**command(c.add, -1), incarnation=1, opening=OPENING)
        link.send(link.next_command(**command(c.count, 0)))
        await link.receive()
        await stopped(world)
    assert heard == [
        ("before", "test.Value", "Add", "a"),
        ("after", "Add", firn.Code.INVALID_ARGUMENT),
        ("before", "test.Action", "Count", ""),
        ("after", "Count", None),
    ]
