"""The session under random sequences of frames, and under damaged ones; without a socket."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import components as c
import pytest
from conftest import ask, place, told
from google.protobuf.message import DecodeError

from firn._session import Limits, Session
from firn.v1 import function_pb2 as pb

SEEDS = range(40)
VALUE_METHODS = [c.add, c.get, c.remove, c.crash, c.slowly, c.hang]
EVENT_METHODS = [c.append, c.clear]
ACTION_METHODS = [c.double, c.count, c.wait]


class World:
    """A session, and what a Firn knows of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.session = Session(list(c.COMPONENTS), Limits(1024, 4, 1 << 20, 3), lambda: None)
        self.number = 0
        self.incarnation = 0
        self.open: dict[int, list[int]] = {}
        """Open commands of incarnations, and of 0: of actions."""
        self.kind: dict[int, list[Any]] = {}
        self.versions: dict[int, int] = {}
        self.void: set[int] = set()
        """Commands of incarnations that were closed."""
        self.calls: list[int] = []
        self.answered: dict[int, pb.Decision] = {}
        self.open[0] = []
        self.send(pb.Welcome(calls=5, call_messages=2, chunk_bytes=self.chance.choice([200, 100_000])))

    def send(self, *frames: Any) -> None:
        batch = pb.FirnBatch()
        for frame in frames:
            name = type(frame).DESCRIPTOR.name
            getattr(batch.frames.add(), "call_result" if name == "CallResult" else name.lower()).CopyFrom(frame)
        self.session.receive(batch.SerializeToString())

    def command(self, incarnation: int, methods: list[Any], opens: bool = False) -> pb.Command:
        self.number += 1
        request = c.Ask("a", self.chance.choice([1, 2, -1]), self.chance.choice(["", "x" * 300]))
        method = self.chance.choice(methods)
        command = pb.Command(id=self.number, incarnation=incarnation, message=ask.encode(request), **place(method))
        if opens:
            command.opening.entity_id = "a"
        self.open[incarnation].append(self.number)
        return command

    def step(self) -> None:
        chance = self.chance
        incarnations = [number for number in self.open if number]
        does = chance.random()
        if does < 0.2:
            self.incarnation += 1
            self.open[self.incarnation] = []
            self.kind[self.incarnation] = chance.choice([VALUE_METHODS, EVENT_METHODS])
            self.versions[self.incarnation] = 0
            self.send(self.command(self.incarnation, self.kind[self.incarnation], opens=True))
        elif does < 0.6 and incarnations:
            number = chance.choice(incarnations)
            count = chance.randrange(1, 4)
            self.send(*(self.command(number, self.kind[number]) for _ in range(count)))
        elif does < 0.7:
            self.send(self.command(0, ACTION_METHODS))
        elif does < 0.8 and incarnations:
            self.send(pb.Close(incarnation=chance.choice(incarnations)))
        elif does < 0.9 and self.calls:
            self.answer_call()
        elif self.open[0]:
            number = chance.choice(self.open[0])
            self.send(chance.choice([pb.Cancel(id=number), pb.Credit(command=number, amount=1)]))

    def answer_call(self) -> None:
        number = self.calls.pop(self.chance.randrange(len(self.calls)))
        result = pb.CallResult(id=number)
        if self.chance.random() < 0.5:
            result.reply = told.encode(c.Told(1))
        else:
            result.failure.code = 9
        self.send(result)

    def drain(self) -> None:
        """Looks at what the function has sent."""
        chunks: dict[int, bytes] = defaultdict(bytes)
        while batch := self.session.outbox.next_batch():
            for frame in pb.FunctionBatch.FromString(batch).frames:
                if frame.WhichOneof("frame") == "chunk":
                    chunks[frame.chunk.transfer] += frame.chunk.data
                    if not frame.chunk.last:
                        continue
                    frame = pb.FunctionFrame.FromString(chunks.pop(frame.chunk.transfer))
                self.look(frame)

    def look(self, frame: pb.FunctionFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "call":
            self.calls.append(frame.call.id)
        elif kind == "cancel" and frame.cancel.id in self.calls:
            self.calls.remove(frame.cancel.id)
            self.send(pb.CallResult(id=frame.cancel.id, failure=pb.Failure(code=1)))
        elif kind == "closed":
            # R41: nothing of it follows. What was not answered is Firn's to send again (R42).
            self.void.update(self.open.pop(frame.closed.incarnation))
        elif kind == "decision":
            self.decided(frame.decision)

    def decided(self, decision: pb.Decision) -> None:
        number = decision.command
        assert number not in self.answered, "answered twice (R20)"
        assert number not in self.void, "answered after Closed (R41)"
        self.answered[number] = decision
        incarnation = next(one for one, numbers in self.open.items() if number in numbers)
        if incarnation:
            assert self.open[incarnation][0] == number, "out of order (R21)"
            self.check_version(incarnation, decision)
        self.open[incarnation].remove(number)

    def check_version(self, incarnation: int, decision: pb.Decision) -> None:  # R24
        mutation = decision.mutation.WhichOneof("mutation")
        if decision.HasField("failure"):
            assert mutation is None and not decision.effects, "a failure changes nothing (R23)"
        if mutation in ("set", "delete"):
            self.versions[incarnation] += 1
        if mutation == "append":
            self.versions[incarnation] += len(decision.mutation.append.events)
        if mutation == "delete" and self.kind[incarnation] is EVENT_METHODS:
            self.versions[incarnation] = 0
        assert decision.version == self.versions[incarnation]


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_command_is_answered_once_and_in_order(seed: int) -> None:
    world = World(seed)
    for _ in range(150):
        world.step()
        if world.chance.random() < 0.5:
            await asyncio.sleep(0)
        world.drain()
    # What hangs is closed or cancelled; then everything comes to its end.
    for number in [one for one in world.open if one]:
        world.send(pb.Close(incarnation=number))
    world.drain()
    for _ in range(10_000):
        if not world.open[0] and world.session.is_idle:
            break
        for number in list(world.open[0]):
            world.send(pb.Cancel(id=number), pb.Credit(command=number, amount=100))
        while world.calls:
            world.answer_call()
        await asyncio.sleep(0)
        world.drain()
    assert world.open == {0: []} and world.session.is_idle
    assert not world.session._tasks and not world.session._streams and not world.session._calls
    assert len(world.answered) + len(world.void) == world.number
    await world.session.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_damaged_bytes_end_nothing_but_their_connection(seed: int) -> None:
    chance = random.Random(seed)
    session = Session(list(c.COMPONENTS), Limits(1024, 4, 1 << 20, 3), lambda: None)
    good = pb.FirnBatch()
    good.frames.add().welcome.calls = 3
    for frame in (
        pb.Command(id=1, incarnation=1, opening=pb.Opening(entity_id="a"), message=ask.encode(c.Ask("a", 1))),
        pb.Command(id=2, **place(c.watch), incarnation=2, opening=pb.Opening(entity_id="a")),
        pb.Command(id=3, **place(c.echo)),
    ):
        good.frames.add().command.CopyFrom(frame)
    good.frames.add().message.CopyFrom(pb.Message(command=3, message=ask.encode(c.Ask("a", 1)), end=True))
    good.frames.add().change.CopyFrom(pb.Change(incarnation=2, delta=pb.Delta(counter=1)))
    good.frames.add().chunk.CopyFrom(pb.Chunk(transfer=1, data=good.frames[1].SerializeToString(), last=True))
    data = bytearray(good.SerializeToString(deterministic=True))
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(chance.randrange(4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            session.receive(bytes(damaged[: chance.randrange(len(damaged) + 1)]))
        except DecodeError:
            pass
        await asyncio.sleep(0)
        while session.outbox.next_batch():
            pass
    await session.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_replicated_data_is_what_was_decided_and_what_came(seed: int) -> None:  # R52
    chance = random.Random(seed)
    session = Session(list(c.COMPONENTS), Limits(1024, 4, 1 << 20, 10), lambda: None)
    expected = c.replicated.new_data()
    calls: list[int] = []
    streams: set[int] = set()
    open_commands: set[int] = set()

    def send(frame: Any) -> None:
        name = type(frame).DESCRIPTOR.name
        message = pb.FirnFrame()
        getattr(message, "call_result" if name == "CallResult" else name.lower()).CopyFrom(frame)
        session.receive(pb.FirnBatch(frames=[message]).SerializeToString())

    def drain() -> None:
        while batch := session.outbox.next_batch():
            for frame in pb.FunctionBatch.FromString(batch).frames:
                if frame.WhichOneof("frame") == "call":
                    calls.append(frame.call.id)
                if frame.WhichOneof("frame") == "decision":
                    open_commands.remove(frame.decision.command)
                    if frame.decision.mutation.HasField("update"):
                        assert not frame.decision.HasField("failure")
                        expected._apply(frame.decision.mutation.update.delta)

    def answer() -> None:
        send(pb.CallResult(id=calls.pop(chance.randrange(len(calls))), reply=told.encode(c.Told())))

    send(pb.Welcome(calls=100, call_messages=1000))
    for number in range(1, 120):
        does = chance.random()
        if does < 0.6:
            method = chance.choice([c.score, c.score, c.score_slowly, c.watch])
            # 13 is refused, so nothing of it may stay.
            request = c.Ask("a", chance.choice([1, 5, -2, 13]), chance.choice("xyz"))
            command = pb.Command(id=number, incarnation=1, message=ask.encode(request), **place(method))
            if not session._entities:
                command.opening.entity_id = "a"
            open_commands.add(number)
            if method is c.watch:
                streams.add(number)
            send(command)
        elif does < 0.75 and session._entities:
            entry = pb.CounterMapDelta.Entry(key=c.replicated.types.any(chance.choice("xyz")), change=7)
            change = pb.Delta(counter_map=pb.CounterMapDelta(updated=[entry]))
            expected._apply(change)
            send(pb.Change(incarnation=1, delta=change))
        elif does < 0.9 and calls:
            answer()
        elif streams:
            send(pb.Cancel(id=streams.pop()))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        drain()
        assert session._entities[1].data == expected if session._entities else True
    while open_commands:
        for number in streams:
            send(pb.Cancel(id=number))
        while calls:
            answer()
        await asyncio.sleep(0)
        drain()
    assert session._entities[1].data == expected
    assert not session._entities[1].drafts and not session._entities[1].watchers
    await session.close()
