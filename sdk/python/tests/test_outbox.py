"""The outbox: batches and chunks keep their order and their limits, whatever comes."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from firn._outbox import BATCH_BYTES, TRANSFERS, FrameTooLarge, Outbox, _prefix
from firn.v1 import function_pb2 as pb


def decision(number: int, size: int) -> pb.FunctionFrame:
    return pb.FunctionFrame(decision=pb.Decision(command=number, reply=b"x" * size))


def frames(batch: bytes) -> list[pb.FunctionFrame]:
    return list(pb.FunctionBatch.FromString(batch).frames)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 2047, 2048, 16383, 16384, 1 << 21])
def test_frames_of_every_size_make_a_batch(size: int) -> None:
    outbox = Outbox(lambda: None)
    outbox.send(decision(1, size))
    (frame,) = frames(outbox.next_batch())
    assert len(frame.decision.reply) == size
    assert outbox.next_batch() == b"" and outbox.is_empty


def test_the_prefix_is_the_one_of_protobuf() -> None:
    for size in (*range(3000), 1 << 14, (1 << 21) - 1, 1 << 28):
        assert _prefix(size)[0] == 0x0A
        value = sum((byte & 127) << (7 * place) for place, byte in enumerate(_prefix(size)[1:]))
        assert value == size


def test_batches_are_bounded() -> None:  # R8
    outbox = Outbox(lambda: None)
    for number in range(30):
        outbox.send(decision(number, 100_000))
    sizes = []
    numbers = []
    while batch := outbox.next_batch():
        sizes.append(len(batch))
        numbers += [frame.decision.command for frame in frames(batch)]
    assert numbers == list(range(30)) and max(sizes) <= BATCH_BYTES and len(sizes) == 3


def test_a_frame_above_the_limit_is_refused() -> None:  # R82
    outbox = Outbox(lambda: None)
    outbox.limit(chunk_bytes=1000, frame_bytes=2000)
    with pytest.raises(FrameTooLarge, match="Firn takes 2000"):
        outbox.send(decision(1, 2000))
    assert outbox.next_batch() == b""


@pytest.mark.parametrize("seed", range(60))
def test_whatever_comes_keeps_order_and_limits(seed: int) -> None:  # R8, R81
    chance = random.Random(seed)
    chunk_bytes = chance.choice([64, 100, 1000, 65536])
    outbox = Outbox(lambda: None)
    outbox.limit(chunk_bytes, 0)
    sent: dict[int, list[int]] = defaultdict(list)
    came: dict[int, list[int]] = defaultdict(list)
    open_chunks: dict[int, bytes] = {}
    started: dict[int, set[int]] = defaultdict(set)
    key_of: dict[int, int] = {}

    def take(batch: bytes) -> None:
        all_frames = frames(batch)
        assert len(batch) <= BATCH_BYTES or len(all_frames) == 1
        for frame in all_frames:
            if frame.WhichOneof("frame") == "chunk":
                chunk = frame.chunk
                assert frame.ByteSize() <= chunk_bytes
                key = key_of[chunk.subject]
                started[key].add(chunk.transfer)
                assert started[key] == {chunk.transfer}, "two transfers about one thing at once"
                open_chunks[chunk.transfer] = open_chunks.get(chunk.transfer, b"") + chunk.data
                assert len(open_chunks) <= TRANSFERS
                if not chunk.last:
                    continue
                started[key].clear()
                frame = pb.FunctionFrame.FromString(open_chunks.pop(chunk.transfer))
            number = frame.decision.command
            assert not started[key_of[number]], "it overtook a transfer about the same thing"
            came[key_of[number]].append(number)

    for number in range(1, 120):
        key = chance.randrange(1, 8)
        key_of[number] = key
        sent[key].append(number)
        size = chance.choice([0, 10, chunk_bytes, 4 * chunk_bytes, min(30 * chunk_bytes, 600_000)])
        outbox.send(decision(number, size), key, number)
        if chance.random() < 0.3:
            take(outbox.next_batch())
    for _ in range(100_000):
        if batch := outbox.next_batch():
            take(batch)
        else:
            break
    assert outbox.is_empty and not open_chunks
    assert came == sent


def test_small_frames_do_not_hold_a_large_one_up() -> None:  # R81
    outbox = Outbox(lambda: None)
    outbox.limit(65536, 0)
    outbox.send(decision(1, 300_000), 1, 1)
    batches = 0
    is_sent = False
    while not is_sent:
        for number in range(2, 40):
            outbox.send(decision(number, 60_000), number, number)
        is_sent = any(frame.chunk.last for frame in frames(outbox.next_batch()))
        batches += 1
    assert batches < 10
