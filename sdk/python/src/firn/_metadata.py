"""Headers of requests and replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firn.v1 import function_pb2 as pb

Value = str | bytes


class Metadata:
    """Headers, in order; a key may have several values.

    Keys are in lower case. A key that ends with `-bin` has bytes, every other one text.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[tuple[str, Value]] = ()) -> None:
        self._entries: list[tuple[str, Value]] = []
        for key, value in entries:
            self.add(key, value)

    def add(self, key: str, value: Value) -> None:
        """Adds a value, beside those that the key has."""
        key = key.lower()
        if isinstance(value, bytes) != key.endswith("-bin"):
            raise ValueError(f'header "{key}": keys that end with "-bin" have bytes, all others text')
        self._entries.append((key, value))

    def get(self, key: str, default: Value | None = None) -> Value | None:
        """The first value of a key."""
        key = key.lower()
        return next((value for name, value in self._entries if name == key), default)

    def all(self, key: str) -> list[Value]:
        """All values of a key."""
        key = key.lower()
        return [value for name, value in self._entries if name == key]

    def __getitem__(self, key: str) -> Value:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and self._entries == other._entries

    def __repr__(self) -> str:
        return f"Metadata({self._entries!r})"

    def _fill(self, message: pb.Metadata) -> None:
        for key, value in self._entries:
            if isinstance(value, bytes):
                message.entries.add(key=key, binary=value)
            else:
                message.entries.add(key=key, text=value)


def metadata_of(message: pb.Metadata) -> Metadata:
    """Headers as they came from Firn."""
    metadata = Metadata()
    for entry in message.entries:
        is_text = entry.WhichOneof("value") == "text"
        metadata._entries.append((entry.key, entry.text if is_text else entry.binary))
    return metadata
