"""Maps: of counters, registers, sets, and of data of any type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast

from firn._codec import Packed, Types
from firn.data._base import MISSING, Clock, D, Data, Pending, Root, any_of, anys_of, packed_of
from firn.data._plain import Counter, Flag, GrowCounter, Register, Vote, write_of
from firn.data._sets import GrowSet, Set, apply_set, set_delta
from firn.v1 import function_pb2 as pb

K = TypeVar("K")
V = TypeVar("V")


class Keyed(Data, Generic[K]):
    """What maps have in common."""

    def __init__(self, root: Root | Types | None = None) -> None:
        super().__init__(root)
        self._entries: dict[Packed, Any] = {}

    def remove(self, key: K) -> None:
        """Removes a key, if it is there."""
        packed = self._pack(key)
        if packed in self._entries:
            self._forget(packed)

    def _forget(self, packed: Packed) -> None:
        pending = self._change()
        created = pending.added.pop(packed, None) is not None
        pending.changed.pop(packed, None)
        if not pending.cleared and not created:
            pending.removed[packed] = None
        self._root.write(self._entries, packed, MISSING)

    def clear(self) -> None:
        """Removes all keys."""
        if self._entries:
            self._change().clear()
            self._root.clear(self._entries)

    def __contains__(self, key: object) -> bool:
        return self._pack(key) in self._entries

    def __iter__(self) -> Iterator[K]:
        return (self._unpack(packed) for packed in list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def _cut(self, delta: Any) -> None:
        """Clears and removes as a change of others says."""
        if delta.cleared:
            self._entries.clear()
        for removed in delta.removed:
            self._entries.pop(packed_of(removed), None)


class CounterMap(Keyed[K], Generic[K]):
    """Counters by key; a key that is not there counts 0."""

    TYPE = pb.DATA_TYPE_COUNTER_MAP

    def add(self, key: K, amount: int = 1) -> None:
        """Counts at a key, up or down; a key that is not there comes to be."""
        packed = self._pack(key)
        if amount == 0 and packed in self._entries:
            return
        changed = self._change().changed
        changed[packed] = changed.get(packed, 0) + amount
        self._root.write(self._entries, packed, self._entries.get(packed, 0) + amount)

    def __getitem__(self, key: K) -> int:
        return cast(int, self._entries.get(self._pack(key), 0))

    def items(self) -> list[tuple[K, int]]:
        """All keys with their counts."""
        return [(self._unpack(packed), count) for packed, count in self._entries.items()]

    def _delta(self) -> pb.Delta:
        pending = self._pending or Pending()
        entry = pb.CounterMapDelta.Entry
        updated = [entry(key=any_of(key), change=change) for key, change in pending.changed.items()]
        removed = anys_of(pending.removed)
        return pb.Delta(
            counter_map=pb.CounterMapDelta(cleared=pending.cleared, removed=removed, updated=updated)
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.counter_map)
        for entry in delta.counter_map.updated:
            key = packed_of(entry.key)
            self._entries[key] = self._entries.get(key, 0) + entry.change

    def _value(self) -> pb.Delta:
        entry = pb.CounterMapDelta.Entry
        updated = [entry(key=any_of(key), change=count) for key, count in self._entries.items()]
        return pb.Delta(counter_map=pb.CounterMapDelta(updated=updated))

    def __repr__(self) -> str:
        return f"CounterMap({dict(self.items())!r})"


class RegisterMap(Keyed[K], Generic[K, V]):
    """Values by key, each of which is replaced as a whole."""

    TYPE = pb.DATA_TYPE_REGISTER_MAP

    def set(self, key: K, value: V, clock: Clock = Clock.DEFAULT, custom: int = 0) -> None:
        """Writes the value of a key. If it loses against the present one, Firn says so by a change."""
        packed, written = self._pack(key), self._pack(value)
        self._change().changed[packed] = write_of(written, clock, custom)
        self._root.write(self._entries, packed, written)

    def __setitem__(self, key: K, value: V) -> None:
        self.set(key, value)

    def __getitem__(self, key: K) -> V:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: K) -> V | None:
        """The value of a key; none if it is not there."""
        packed = self._entries.get(self._pack(key))
        return self._unpack(packed) if packed else None

    def items(self) -> list[tuple[K, V]]:
        """All keys with their values."""
        return [(self._unpack(key), self._unpack(value)) for key, value in self._entries.items()]

    def _delta(self) -> pb.Delta:
        pending = self._pending or Pending()
        entry = pb.RegisterMapDelta.Entry
        updated = [entry(key=any_of(key), write=write) for key, write in pending.changed.items()]
        removed = anys_of(pending.removed)
        return pb.Delta(
            register_map=pb.RegisterMapDelta(cleared=pending.cleared, removed=removed, updated=updated)
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.register_map)
        for entry in delta.register_map.updated:
            self._entries[packed_of(entry.key)] = packed_of(entry.write.value)

    def _value(self) -> pb.Delta:
        entry = pb.RegisterMapDelta.Entry
        entries = self._entries.items()
        updated = [entry(key=any_of(key), write=pb.Write(value=any_of(value))) for key, value in entries]
        return pb.Delta(register_map=pb.RegisterMapDelta(updated=updated))

    def __repr__(self) -> str:
        return f"RegisterMap({self.items()!r})"


class Nested(Keyed[K], Generic[K]):
    """What maps of data have in common."""

    def _create(self, packed: Packed, kind: type[D]) -> D:
        found = self._entries.get(packed)
        if isinstance(found, kind):
            return found
        if found is not None:
            self._forget(packed)
        child = new_child(kind, self, packed)
        self._change().added[packed] = child
        self._root.write(self._entries, packed, child)
        return child

    def _child_changes(self, packed: Packed, child: Data) -> None:
        if self._entries.get(packed) is not child:
            raise RuntimeError("this data was removed from its map: ask the map again")
        pending = self._change()
        if packed not in pending.added:
            pending.changed[packed] = child


class MultiMap(Nested[K], Generic[K, V]):
    """Sets of values by key. A key stays until it is removed, also without values."""

    TYPE = pb.DATA_TYPE_MULTI_MAP

    def at(self, key: K) -> Set[V]:
        """The values of a key; a new empty set if there is none."""
        return self._create(self._pack(key), Set)

    def get(self, key: K) -> Set[V] | None:
        """The values of a key; none if it is not there."""
        return cast("Set[V] | None", self._entries.get(self._pack(key)))

    def add(self, key: K, value: V) -> None:
        """Adds a value to those of a key."""
        self.at(key).add(value)

    def discard(self, key: K, value: V) -> None:
        """Removes a value from those of a key, if it is there."""
        values = self.get(key)
        if values is not None:
            values.discard(value)

    def items(self) -> list[tuple[K, Set[V]]]:
        """All keys with their values."""
        return [(self._unpack(packed), values) for packed, values in self._entries.items()]

    def _delta(self) -> pb.Delta:
        pending = self._pending or Pending()
        entry = pb.MultiMapDelta.Entry
        changed = {**pending.changed, **pending.added}.items()
        updated = [
            entry(key=any_of(key), change=set_delta(child._pending or Pending())) for key, child in changed
        ]
        removed = anys_of(pending.removed)
        return pb.Delta(
            multi_map=pb.MultiMapDelta(cleared=pending.cleared, removed=removed, updated=updated)
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.multi_map)
        for entry in delta.multi_map.updated:
            packed = packed_of(entry.key)
            child = self._entries.get(packed)
            if child is None:
                child = self._entries[packed] = new_child(Set, self, packed)
            apply_set(child._elements, entry.change)

    def _value(self) -> pb.Delta:
        entry = pb.MultiMapDelta.Entry
        updated = [
            entry(key=any_of(key), change=pb.SetDelta(added=anys_of(values._elements)))
            for key, values in self._entries.items()
        ]
        return pb.Delta(multi_map=pb.MultiMapDelta(updated=updated))

    def __repr__(self) -> str:
        return f"MultiMap({self.items()!r})"


class Map(Nested[K], Generic[K]):
    """Replicated data by key, each of its own type; maps may hold maps."""

    TYPE = pb.DATA_TYPE_MAP

    def at(self, key: K, kind: type[D]) -> D:
        """The data of a key; new and empty if there is none, or it is of another type."""
        return self._create(self._pack(key), kind)

    def get(self, key: K) -> Data | None:
        """The data of a key; none if it is not there."""
        return cast("Data | None", self._entries.get(self._pack(key)))

    def items(self) -> list[tuple[K, Data]]:
        """All keys with their data."""
        return [(self._unpack(packed), child) for packed, child in self._entries.items()]

    def _delta(self) -> pb.Delta:
        pending = self._pending or Pending()
        changed = pending.changed.items()
        updated = [pb.MapEntry(key=any_of(key), delta=child._delta()) for key, child in changed]
        for key, child in list(pending.added.items()):
            if isinstance(child, Register) and child._packed is None:
                # A register without a value cannot be told, so it is not there either.
                del pending.added[key], self._entries[key]
        # Any other new child is told as well if nobody changed it: it is there.
        added = [pb.MapEntry(key=any_of(key), delta=child._delta()) for key, child in pending.added.items()]
        return pb.Delta(
            map=pb.MapDelta(
                cleared=pending.cleared, removed=anys_of(pending.removed), updated=updated, added=added
            )
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.map)
        for entry in delta.map.updated:
            child = self._entries.get(packed_of(entry.key))
            if child is not None and FIELDS.get(entry.delta.WhichOneof("delta") or "") is type(child):
                child._apply(entry.delta)
        for entry in delta.map.added:
            kind = FIELDS.get(entry.delta.WhichOneof("delta") or "")
            if kind is not None:
                packed = packed_of(entry.key)
                child = self._entries[packed] = new_child(kind, self, packed)
                child._apply(entry.delta)

    def _value(self) -> pb.Delta:
        entries = self._entries.items()
        added = [pb.MapEntry(key=any_of(key), delta=child._value()) for key, child in entries]
        return pb.Delta(map=pb.MapDelta(added=added))

    def __repr__(self) -> str:
        return f"Map({self.items()!r})"


def new_child(kind: type[D], owner: Nested[Any], packed: Packed) -> D:
    child = kind(owner._root)
    child._map, child._key = owner, packed
    return child


FIELDS: dict[str, type[Data]] = {
    "grow_counter": GrowCounter,
    "counter": Counter,
    "grow_set": GrowSet,
    "set": Set,
    "flag": Flag,
    "register": Register,
    "map": Map,
    "vote": Vote,
    "counter_map": CounterMap,
    "register_map": RegisterMap,
    "multi_map": MultiMap,
}
