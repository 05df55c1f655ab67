"""What all types of replicated data share: changes, their undoing, their deltas."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage

from firn._codec import Packed, Types
from firn.v1 import function_pb2 as pb

if TYPE_CHECKING:
    from firn.data._maps import Nested

D = TypeVar("D", bound="Data")
MISSING: Any = object()
NO_KEY: Any = object()


class Clock(IntEnum):
    """How a write to a register is stamped. The greatest stamp wins."""

    DEFAULT = 0
    """The wall clock, or one more than the current stamp."""
    REVERSE = 1
    """The wall clock negated: the first write wins."""
    CUSTOM = 2
    """The number given; a write with a smaller one than the current loses."""
    CUSTOM_AUTO_INCREMENT = 3
    """The number given, or one more than the current stamp."""


class Root:
    """What all parts of one entity's data share."""

    def __init__(self, types: Types) -> None:
        self.types = types
        # What was there before each change, to be put back; none while nobody may change anything.
        self.log: list[tuple[dict[Any, Any], Any, Any]] | None = None
        self.touched: list[Data] = []

    def begin(self) -> None:
        self.log = []

    def undo(self) -> None:
        """Takes back everything since `begin`."""
        for mapping, key, old in reversed(self.log or ()):
            if key is NO_KEY:
                mapping.clear()
                mapping.update(old)
            elif old is MISSING:
                mapping.pop(key, None)
            else:
                mapping[key] = old
        self.end()

    def end(self) -> None:
        """Forgets what changed: it counts, or it was undone."""
        for data in self.touched:
            data._pending = None
        self.touched.clear()
        self.log = None

    def write(self, mapping: dict[Any, Any], key: object, value: object) -> None:
        log = self.log
        assert log is not None, "a change begins with Data._change"
        log.append((mapping, key, mapping.get(key, MISSING)))
        if value is MISSING:
            mapping.pop(key, None)
        else:
            mapping[key] = value

    def clear(self, mapping: dict[Any, Any]) -> None:
        assert self.log is not None, "a change begins with Data._change"
        self.log.append((mapping, NO_KEY, dict(mapping)))
        mapping.clear()


class Pending:
    """What a handler has changed so far: first cleared, then removed, then changed and added."""

    __slots__ = ("added", "amount", "changed", "cleared", "removed", "write")

    def __init__(self) -> None:
        self.cleared = False
        self.removed: dict[Packed, None] = {}
        self.changed: dict[Packed, Any] = {}
        self.added: dict[Packed, Any] = {}
        self.amount = 0
        self.write: pb.Write | None = None

    def clear(self) -> None:
        self.cleared = True
        self.removed.clear()
        self.changed.clear()
        self.added.clear()


class Data:
    """A piece of replicated data."""

    TYPE: ClassVar[pb.DataType]
    """Its type in the contract."""
    _EMPTY_COUNTS: ClassVar[bool] = False
    """Whether a delta that looks empty says something."""

    def __init__(self, root: Root | Types | None = None) -> None:
        self._root = root if isinstance(root, Root) else Root(root or Types(""))
        self._pending: Pending | None = None
        self._map: Nested[Any] | None = None
        self._key: Packed = ("", b"")

    def _change(self) -> Pending:
        """Begins a change: gives what is to be told of it."""
        if self._root.log is None:
            raise RuntimeError(
                "replicated data changes only while a handler of its entity runs; in a handler that streams "
                "replies change what ctx.edit() gives"
            )
        if self._pending is None:
            if self._map is not None:
                self._map._child_changes(self._key, self)
            self._pending = Pending()
            self._root.touched.append(self)
        return self._pending

    def _pack(self, value: object) -> Packed:
        return self._root.types.pack(value)

    def _unpack(self, packed: Packed) -> Any:
        return self._root.types.unpack(*packed)

    def _delta(self) -> pb.Delta:
        """What changed, as Firn is told."""
        raise NotImplementedError

    def _apply(self, delta: pb.Delta) -> None:
        """Takes in a change of others."""
        raise NotImplementedError

    def _value(self) -> pb.Delta:
        """The whole value, as the change of the empty one."""
        raise NotImplementedError

    def _copy(self: D) -> D:
        """The same value on its own, open for changes."""
        same = type(self)(Root(self._root.types))
        same._apply(self._value())
        same._root.begin()
        return same

    def _take(self) -> pb.Delta | None:
        """What changed since `begin`, if anything; it counts from now on."""
        if self._pending is None:
            self._root.end()
            return None
        delta = self._delta()
        self._root.end()
        # What came and went again is nothing.
        return delta if self._EMPTY_COUNTS or delta != nothing(type(self)) else None

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and normal(other._value()) == normal(self._value())  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        same = type(self)(Root(self._root.types))
        same._apply(self._value())
        return same


NOTHING: dict[type[Data], pb.Delta] = {}


def nothing(kind: type[Data]) -> pb.Delta:
    """The delta of a type that changes nothing."""
    found = NOTHING.get(kind)
    if found is None:
        found = NOTHING[kind] = kind()._delta()
    return found


def any_of(packed: Packed) -> AnyMessage:
    return AnyMessage(type_url=packed[0], value=packed[1])


def anys_of(keys: Iterable[Packed]) -> list[AnyMessage]:
    return [any_of(key) for key in keys]


def packed_of(message: AnyMessage) -> Packed:
    return message.type_url, message.value


def normal(delta: pb.Delta) -> pb.Delta:
    """A whole value with its elements in one order, to be compared."""
    delta = copy.deepcopy(delta)
    kind = delta.WhichOneof("delta")
    if kind == "grow_set":
        delta.grow_set.elements.sort(key=packed_of)
    elif kind == "set":
        delta.set.added.sort(key=packed_of)
    elif kind == "map":
        entries = [pb.MapEntry(key=entry.key, delta=normal(entry.delta)) for entry in delta.map.added]
        del delta.map.added[:]
        delta.map.added.extend(sorted(entries, key=lambda entry: packed_of(entry.key)))
    elif kind == "counter_map":
        delta.counter_map.updated.sort(key=lambda entry: packed_of(entry.key))
    elif kind == "register_map":
        delta.register_map.updated.sort(key=lambda entry: packed_of(entry.key))
    elif kind == "multi_map":
        delta.multi_map.updated.sort(key=lambda entry: packed_of(entry.key))
        for entry in delta.multi_map.updated:
            entry.change.added.sort(key=packed_of)
    return delta
