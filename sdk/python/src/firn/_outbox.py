"""What waits to be sent: frames become batches, large frames chunks.

Pure: frames go in, encoded batches come out; what wakes the sender is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

from firn.v1 import function_pb2 as pb

# R8: a batch is not above this many bytes, unless it holds a single frame.
BATCH_BYTES = 1 << 20
# R81: how many large frames may be on their way at once.
TRANSFERS = 4
# What a chunk's frame needs beside its data, with the largest numbers.
CHUNK_OVERHEAD = 48
# A chunk leaves room for others in its batch.
CHUNK_BYTES = 256 << 10
# What a frame in a batch needs beside its encoding: a tag, and a length of at most five bytes.
FRAME_OVERHEAD = 6

_PREFIXES = tuple(
    bytes((0x0A, size)) if size < 128 else bytes((0x0A, size & 127 | 128, size >> 7)) for size in range(2048)
)


class FrameTooLarge(Exception):
    """A frame is above what Firn takes (R82)."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} bytes are too large for a frame: Firn takes {limit}")


class _Transfer:
    """A large frame on its way."""

    __slots__ = ("after", "behind", "data", "key", "number", "sent", "subject")

    def __init__(self, number: int, data: bytes, key: Hashable, subject: int, after: int) -> None:
        self.number = number
        self.data = memoryview(data)
        self.sent = 0
        self.key = key
        self.subject = subject
        # How many small frames were there before it: those about the same thing it must not overtake.
        self.after = after
        # Frames about the same thing, which must not overtake this one.
        self.behind: deque[tuple[bytes, int]] = deque()


class Outbox:
    """The frames that wait to be sent on one connection."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called when something comes to be sent."""
        self._wake = wake
        self._small: deque[bytes] = deque()
        # How many small frames have come in all, and have gone.
        self._came = 0
        self._went = 0
        self._active: deque[_Transfer] = deque()
        self._waiting: deque[_Transfer] = deque()
        self._by_key: dict[Hashable, _Transfer] = {}
        self._transfers = 0
        # Before Welcome nothing but Hello is sent, which travels in one piece.
        self._chunk_bytes = 1 << 62
        self._frame_bytes = 1 << 62

    def limit(self, chunk_bytes: int, frame_bytes: int) -> None:
        """Takes the limits that Firn has told."""
        self._chunk_bytes = chunk_bytes or 1 << 62
        self._frame_bytes = frame_bytes or 1 << 62

    def send(self, frame: pb.FunctionFrame, key: Hashable = 0, subject: int = 0) -> None:
        """Takes a frame in. Frames with the same `key` stay in order; `subject` is as in `Chunk`."""
        data = frame.SerializeToString()
        if len(data) > self._chunk_bytes:
            if len(data) > self._frame_bytes:
                raise FrameTooLarge(len(data), self._frame_bytes)
            self._send_large(data, key, subject)
        elif self._by_key and key in self._by_key:
            # R81: it must not overtake
            self._by_key[key].behind.append((data, subject))
        else:
            self._small.append(data)
            self._came += 1
        self._wake()

    def _send_large(self, data: bytes, key: Hashable, subject: int) -> None:
        ahead = self._by_key.get(key)
        if ahead is not None:
            ahead.behind.append((data, subject))
            return
        self._transfers += 1
        transfer = _Transfer(self._transfers, data, key, subject, self._came)
        self._by_key[key] = transfer
        (self._active if len(self._active) < TRANSFERS else self._waiting).append(transfer)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._small and not self._active

    def next_batch(self) -> bytes:
        """What is to be sent next, encoded as a `FunctionBatch`; empty if nothing waits.

        Small frames go first, then each large one in turn sends a chunk.
        """
        parts: list[bytes | memoryview] = []
        # A chunk goes into every batch, so that many small frames do not hold a large one up for ever.
        room = BATCH_BYTES - (self._chunk_size() + CHUNK_OVERHEAD + FRAME_OVERHEAD if self._active else 0)
        small = self._small
        while small:
            size = len(small[0])
            if parts and size + FRAME_OVERHEAD > room:
                break
            parts.append(_PREFIXES[size] if size < 2048 else _prefix(size))
            parts.append(small.popleft())
            self._went += 1
            room -= size + FRAME_OVERHEAD
        if self._active:
            room += self._chunk_size() + CHUNK_OVERHEAD + FRAME_OVERHEAD
            self._add_chunks(parts, room)
        return b"".join(parts)

    def _chunk_size(self) -> int:
        limit = self._chunk_bytes - CHUNK_OVERHEAD
        return max(1, self._chunk_bytes // 2 if limit < CHUNK_OVERHEAD else min(limit, CHUNK_BYTES))

    def _add_chunks(self, parts: list[bytes | memoryview], room: int) -> None:
        size_max = self._chunk_size()
        passed = 0
        while passed < len(self._active) and (not parts or size_max + CHUNK_OVERHEAD + FRAME_OVERHEAD <= room):
            transfer = self._active.popleft()
            if transfer.after > self._went:
                self._active.append(transfer)
                passed += 1
                continue
            passed = 0
            data = transfer.data[transfer.sent : transfer.sent + size_max]
            transfer.sent += len(data)
            last = transfer.sent == len(transfer.data)
            chunk = pb.Chunk(
                transfer=transfer.number, data=bytes(data), last=last, subject=transfer.subject
            )
            encoded = pb.FunctionFrame(chunk=chunk).SerializeToString()
            parts.append(_prefix(len(encoded)))
            parts.append(encoded)
            room -= len(encoded) + FRAME_OVERHEAD
            if last:
                self._finish(transfer)
            else:
                self._active.append(transfer)

    def _finish(self, transfer: _Transfer) -> None:
        del self._by_key[transfer.key]
        if self._waiting:
            self._active.append(self._waiting.popleft())
        behind = transfer.behind
        while behind:
            data, subject = behind.popleft()
            if len(data) > self._chunk_bytes:
                self._send_large(data, transfer.key, subject)
                self._by_key[transfer.key].behind.extend(behind)
                return
            self._small.append(data)
            self._came += 1


def _prefix(size: int) -> bytes:
    """Tag and length of a frame in a batch."""
    prefix = bytearray(b"\x0a")
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix)
