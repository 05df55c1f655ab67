"""Replicated data: types of which every node that is asked has a replica.

A handler reads and changes the data of its entity; what changed travels to Firn as a delta with the
decision, and what other replicas changed comes in between. Keys and elements are messages, dataclasses,
pydantic models, text, numbers or bytes, and are compared by their encoding.

# How it works
The handlers that run at once (`def`) work on the entity's own data; what they did before a failure is
undone from a log. Those that wait (`async def`) work on a copy, so that nobody sees what is not decided;
their delta goes into the entity's data with their decision.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, MutableSet
from enum import IntEnum
from typing import Any, ClassVar, Generic, TypeVar, cast

from google.protobuf.any_pb2 import Any as AnyMessage

from firn._codec import Packed, Types
from firn.v1 import function_pb2 as pb

E = TypeVar("E")
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D", bound="Data")
_MISSING: Any = object()
_NO_KEY: Any = object()


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


class _Root:
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
            if key is _NO_KEY:
                mapping.clear()
                mapping.update(old)
            elif old is _MISSING:
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
        log.append((mapping, key, mapping.get(key, _MISSING)))
        if value is _MISSING:
            mapping.pop(key, None)
        else:
            mapping[key] = value

    def clear(self, mapping: dict[Any, Any]) -> None:
        assert self.log is not None, "a change begins with Data._change"
        self.log.append((mapping, _NO_KEY, dict(mapping)))
        mapping.clear()


class _Pending:
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

    def __init__(self, root: _Root | Types | None = None) -> None:
        self._root = root if isinstance(root, _Root) else _Root(root or Types(""))
        self._pending: _Pending | None = None
        self._map: _Nested[Any] | None = None
        self._key: Packed = ("", b"")

    def _change(self) -> _Pending:
        """Begins a change: gives what is to be told of it."""
        if self._root.log is None:
            raise RuntimeError(
                "replicated data changes only while a handler of its entity runs; in a handler that streams "
                "replies change what ctx.edit() gives"
            )
        if self._pending is None:
            if self._map is not None:
                self._map._child_changes(self._key, self)
            self._pending = _Pending()
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
        same = type(self)(_Root(self._root.types))
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
        # What came and went again is nothing. A vote that was withdrawn looks empty, and is not.
        return delta if isinstance(self, Vote) or delta != _nothing(type(self)) else None

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and _normal(other._value()) == _normal(self._value())  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        same = type(self)(_Root(self._root.types))
        same._apply(self._value())
        return same


_NOTHING: dict[type[Data], pb.Delta] = {}


def _nothing(kind: type[Data]) -> pb.Delta:
    """The delta of a type that changes nothing."""
    found = _NOTHING.get(kind)
    if found is None:
        found = _NOTHING[kind] = kind()._delta()
    return found


def _any(packed: Packed) -> AnyMessage:
    return AnyMessage(type_url=packed[0], value=packed[1])


def _anys(keys: Iterable[Packed]) -> list[AnyMessage]:
    return [_any(key) for key in keys]


def _packed(message: AnyMessage) -> Packed:
    return message.type_url, message.value


def _normal(delta: pb.Delta) -> pb.Delta:
    """A whole value with its elements in one order, to be compared."""
    delta = copy.deepcopy(delta)
    kind = delta.WhichOneof("delta")
    if kind == "grow_set":
        delta.grow_set.elements.sort(key=_packed)
    elif kind == "set":
        delta.set.added.sort(key=_packed)
    elif kind == "map":
        entries = [pb.MapEntry(key=entry.key, delta=_normal(entry.delta)) for entry in delta.map.added]
        del delta.map.added[:]
        delta.map.added.extend(sorted(entries, key=lambda entry: _packed(entry.key)))
    elif kind == "counter_map":
        delta.counter_map.updated.sort(key=lambda entry: _packed(entry.key))
    elif kind == "register_map":
        delta.register_map.updated.sort(key=lambda entry: _packed(entry.key))
    elif kind == "multi_map":
        delta.multi_map.updated.sort(key=lambda entry: _packed(entry.key))
        for entry in delta.multi_map.updated:
            entry.change.added.sort(key=_packed)
    return delta


class GrowCounter(Data):
    """A counter that only grows."""

    TYPE = pb.DATA_TYPE_GROW_COUNTER

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._count = 0

    @property
    def value(self) -> int:
        """How much was counted."""
        return self._count

    def add(self, amount: int = 1) -> None:
        """Counts; the amount is not negative."""
        if amount < 0:
            raise ValueError(f"a GrowCounter cannot count {amount}: use a Counter")
        if amount == 0:
            return
        self._change().amount += amount
        self._root.write(self.__dict__, "_count", self._count + amount)

    def _delta(self) -> pb.Delta:
        return pb.Delta(grow_counter=self._pending.amount if self._pending else 0)

    def _apply(self, delta: pb.Delta) -> None:
        self._count += delta.grow_counter

    def _value(self) -> pb.Delta:
        return pb.Delta(grow_counter=self._count)

    def __repr__(self) -> str:
        return f"GrowCounter({self._count})"


class Counter(Data):
    """A counter that goes up and down."""

    TYPE = pb.DATA_TYPE_COUNTER

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._count = 0

    @property
    def value(self) -> int:
        """The sum of all changes."""
        return self._count

    def add(self, amount: int = 1) -> None:
        """Counts up, or down with a negative amount."""
        if amount == 0:
            return
        self._change().amount += amount
        self._root.write(self.__dict__, "_count", self._count + amount)

    def _delta(self) -> pb.Delta:
        return pb.Delta(counter=self._pending.amount if self._pending else 0)

    def _apply(self, delta: pb.Delta) -> None:
        self._count += delta.counter

    def _value(self) -> pb.Delta:
        return pb.Delta(counter=self._count)

    def __repr__(self) -> str:
        return f"Counter({self._count})"


class GrowSet(Data, Generic[E]):
    """A set to which elements are only added."""

    TYPE = pb.DATA_TYPE_GROW_SET

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._elements: dict[Packed, None] = {}

    def add(self, element: E) -> None:
        """Adds an element, if it is not there."""
        key = self._pack(element)
        if key not in self._elements:
            self._change().added[key] = None
            self._root.write(self._elements, key, None)

    def __contains__(self, element: object) -> bool:
        return self._pack(element) in self._elements

    def __iter__(self) -> Iterator[E]:
        return (self._unpack(key) for key in list(self._elements))

    def __len__(self) -> int:
        return len(self._elements)

    def _delta(self) -> pb.Delta:
        return pb.Delta(grow_set=pb.Elements(elements=_anys(self._pending.added if self._pending else ())))

    def _apply(self, delta: pb.Delta) -> None:
        self._elements.update(dict.fromkeys(map(_packed, delta.grow_set.elements)))

    def _value(self) -> pb.Delta:
        return pb.Delta(grow_set=pb.Elements(elements=_anys(self._elements)))

    def __repr__(self) -> str:
        return f"GrowSet({list(self)!r})"


class Set(Data, MutableSet[E], Generic[E]):  # type: ignore[misc]
    """A set; adding an element wins over removing it at the same time."""

    TYPE = pb.DATA_TYPE_SET

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._elements: dict[Packed, None] = {}

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:  # for the operators of sets
        return list(it)

    def add(self, element: E) -> None:
        """Adds an element, if it is not there."""
        key = self._pack(element)
        if key not in self._elements:
            _added(self._change(), key)
            self._root.write(self._elements, key, None)

    def discard(self, element: E) -> None:
        """Removes an element, if it is there."""
        key = self._pack(element)
        if key in self._elements:
            _removed(self._change(), key)
            self._root.write(self._elements, key, _MISSING)

    def clear(self) -> None:
        """Removes all elements."""
        if self._elements:
            self._change().clear()
            self._root.clear(self._elements)

    def __contains__(self, element: object) -> bool:
        return self._pack(element) in self._elements

    def __iter__(self) -> Iterator[E]:
        return (self._unpack(key) for key in list(self._elements))

    def __len__(self) -> int:
        return len(self._elements)

    def _delta(self) -> pb.Delta:
        return pb.Delta(set=_set_delta(self._pending or _Pending()))

    def _apply(self, delta: pb.Delta) -> None:
        _apply_set(self._elements, delta.set)

    def _value(self) -> pb.Delta:
        return pb.Delta(set=pb.SetDelta(added=_anys(self._elements)))

    __eq__ = Data.__eq__

    def __repr__(self) -> str:
        return f"Set({list(self)!r})"


def _added(pending: _Pending, key: Packed) -> None:
    pending.added[key] = None


def _removed(pending: _Pending, key: Packed) -> None:
    pending.added.pop(key, None)
    if not pending.cleared:
        pending.removed[key] = None


def _set_delta(pending: _Pending) -> pb.SetDelta:
    return pb.SetDelta(
        cleared=pending.cleared, removed=_anys(pending.removed), added=_anys(pending.added)
    )


def _apply_set(elements: dict[Packed, None], delta: pb.SetDelta) -> None:
    if delta.cleared:
        elements.clear()
    for removed in delta.removed:
        elements.pop(_packed(removed), None)
    for added in delta.added:
        elements[_packed(added)] = None


class Flag(Data):
    """A flag that is off until anybody switches it on."""

    TYPE = pb.DATA_TYPE_FLAG

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._on = False

    @property
    def value(self) -> bool:
        """Whether it is on."""
        return self._on

    def enable(self) -> None:
        """Switches it on, for ever."""
        if not self._on:
            self._change()
            self._root.write(self.__dict__, "_on", True)

    def __bool__(self) -> bool:
        return self._on

    def _delta(self) -> pb.Delta:
        return pb.Delta(flag=self._on)

    def _apply(self, delta: pb.Delta) -> None:
        self._on = self._on or delta.flag

    def _value(self) -> pb.Delta:
        return pb.Delta(flag=self._on)

    def __repr__(self) -> str:
        return f"Flag({self._on})"


def _write(packed: Packed, clock: Clock, custom: int) -> pb.Write:
    return pb.Write(value=_any(packed), clock=cast(Any, int(clock)), custom=custom)


class Register(Data, Generic[V]):
    """A value that is replaced as a whole; the write with the greatest stamp wins."""

    TYPE = pb.DATA_TYPE_REGISTER

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._packed: Packed | None = None

    @property
    def value(self) -> V | None:
        """The value; none before the first write."""
        return self._unpack(self._packed) if self._packed else None

    def set(self, value: V, clock: Clock = Clock.DEFAULT, custom: int = 0) -> None:
        """Writes a value. If it loses against the present one, Firn says so by a change."""
        packed = self._pack(value)
        self._change().write = _write(packed, clock, custom)
        self._root.write(self.__dict__, "_packed", packed)

    def _delta(self) -> pb.Delta:
        return pb.Delta(register=self._pending.write if self._pending else None)

    def _apply(self, delta: pb.Delta) -> None:
        if delta.register.HasField("value"):
            self._packed = _packed(delta.register.value)

    def _value(self) -> pb.Delta:
        return pb.Delta(register=pb.Write(value=_any(self._packed) if self._packed else None))

    def __repr__(self) -> str:
        return f"Register({self.value!r})"


class Vote(Data):
    """A vote among the nodes."""

    TYPE = pb.DATA_TYPE_VOTE

    def __init__(self, root: _Root | Types | None = None) -> None:
        super().__init__(root)
        self._own = False
        self._yes = 0
        self._members = 1

    @property
    def own(self) -> bool:
        """How this node votes."""
        return self._own

    @property
    def yes(self) -> int:
        """How many nodes vote yes."""
        return self._yes

    @property
    def members(self) -> int:
        """How many nodes may vote."""
        return self._members

    def vote(self, own: bool) -> None:
        """Changes how this node votes."""
        if own != self._own:
            self._change()
            self._root.write(self.__dict__, "_own", own)
            self._root.write(self.__dict__, "_yes", max(0, self._yes + (1 if own else -1)))

    def _delta(self) -> pb.Delta:
        return pb.Delta(vote=pb.Votes(own=self._own))

    def _apply(self, delta: pb.Delta) -> None:
        votes = delta.vote
        self._own, self._yes, self._members = votes.own, votes.yes, votes.members

    def _value(self) -> pb.Delta:
        return pb.Delta(vote=pb.Votes(own=self._own, yes=self._yes, members=self._members))

    def __repr__(self) -> str:
        return f"Vote(own={self._own}, yes={self._yes}, members={self._members})"


class _Keyed(Data, Generic[K]):
    """What maps have in common."""

    def __init__(self, root: _Root | Types | None = None) -> None:
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
        self._root.write(self._entries, packed, _MISSING)

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
            self._entries.pop(_packed(removed), None)


class CounterMap(_Keyed[K], Generic[K]):
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
        pending = self._pending or _Pending()
        entry = pb.CounterMapDelta.Entry
        updated = [entry(key=_any(key), change=change) for key, change in pending.changed.items()]
        removed = _anys(pending.removed)
        return pb.Delta(
            counter_map=pb.CounterMapDelta(cleared=pending.cleared, removed=removed, updated=updated)
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.counter_map)
        for entry in delta.counter_map.updated:
            key = _packed(entry.key)
            self._entries[key] = self._entries.get(key, 0) + entry.change

    def _value(self) -> pb.Delta:
        entry = pb.CounterMapDelta.Entry
        updated = [entry(key=_any(key), change=count) for key, count in self._entries.items()]
        return pb.Delta(counter_map=pb.CounterMapDelta(updated=updated))

    def __repr__(self) -> str:
        return f"CounterMap({dict(self.items())!r})"


class RegisterMap(_Keyed[K], Generic[K, V]):
    """Values by key, each of which is replaced as a whole."""

    TYPE = pb.DATA_TYPE_REGISTER_MAP

    def set(self, key: K, value: V, clock: Clock = Clock.DEFAULT, custom: int = 0) -> None:
        """Writes the value of a key. If it loses against the present one, Firn says so by a change."""
        packed, written = self._pack(key), self._pack(value)
        self._change().changed[packed] = _write(written, clock, custom)
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
        pending = self._pending or _Pending()
        entry = pb.RegisterMapDelta.Entry
        updated = [entry(key=_any(key), write=write) for key, write in pending.changed.items()]
        removed = _anys(pending.removed)
        return pb.Delta(
            register_map=pb.RegisterMapDelta(cleared=pending.cleared, removed=removed, updated=updated)
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.register_map)
        for entry in delta.register_map.updated:
            self._entries[_packed(entry.key)] = _packed(entry.write.value)

    def _value(self) -> pb.Delta:
        entry = pb.RegisterMapDelta.Entry
        entries = self._entries.items()
        updated = [entry(key=_any(key), write=pb.Write(value=_any(value))) for key, value in entries]
        return pb.Delta(register_map=pb.RegisterMapDelta(updated=updated))

    def __repr__(self) -> str:
        return f"RegisterMap({self.items()!r})"


class _Nested(_Keyed[K], Generic[K]):
    """What maps of data have in common."""

    def _create(self, packed: Packed, kind: type[D]) -> D:
        found = self._entries.get(packed)
        if isinstance(found, kind):
            return found
        if found is not None:
            self._forget(packed)
        child = _new(kind, self, packed)
        self._change().added[packed] = child
        self._root.write(self._entries, packed, child)
        return child

    def _child_changes(self, packed: Packed, child: Data) -> None:
        if self._entries.get(packed) is not child:
            raise RuntimeError("this data was removed from its map: ask the map again")
        pending = self._change()
        if packed not in pending.added:
            pending.changed[packed] = child


class MultiMap(_Nested[K], Generic[K, V]):
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
        pending = self._pending or _Pending()
        entry = pb.MultiMapDelta.Entry
        changed = {**pending.changed, **pending.added}.items()
        updated = [
            entry(key=_any(key), change=_set_delta(child._pending or _Pending())) for key, child in changed
        ]
        removed = _anys(pending.removed)
        return pb.Delta(
            multi_map=pb.MultiMapDelta(cleared=pending.cleared, removed=removed, updated=updated)
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.multi_map)
        for entry in delta.multi_map.updated:
            packed = _packed(entry.key)
            child = self._entries.get(packed)
            if child is None:
                child = self._entries[packed] = _new(Set, self, packed)
            _apply_set(child._elements, entry.change)

    def _value(self) -> pb.Delta:
        entry = pb.MultiMapDelta.Entry
        updated = [
            entry(key=_any(key), change=pb.SetDelta(added=_anys(values._elements)))
            for key, values in self._entries.items()
        ]
        return pb.Delta(multi_map=pb.MultiMapDelta(updated=updated))

    def __repr__(self) -> str:
        return f"MultiMap({self.items()!r})"


class Map(_Nested[K], Generic[K]):
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
        pending = self._pending or _Pending()
        changed = pending.changed.items()
        updated = [pb.MapEntry(key=_any(key), delta=child._delta()) for key, child in changed]
        for key, child in list(pending.added.items()):
            if isinstance(child, Register) and child._packed is None:
                # A register without a value cannot be told, so it is not there either.
                del pending.added[key], self._entries[key]
        # Any other new child is told as well if nobody changed it: it is there.
        added = [pb.MapEntry(key=_any(key), delta=child._delta()) for key, child in pending.added.items()]
        return pb.Delta(
            map=pb.MapDelta(
                cleared=pending.cleared, removed=_anys(pending.removed), updated=updated, added=added
            )
        )

    def _apply(self, delta: pb.Delta) -> None:
        self._cut(delta.map)
        for entry in delta.map.updated:
            child = self._entries.get(_packed(entry.key))
            if child is not None and _FIELDS.get(entry.delta.WhichOneof("delta") or "") is type(child):
                child._apply(entry.delta)
        for entry in delta.map.added:
            kind = _FIELDS.get(entry.delta.WhichOneof("delta") or "")
            if kind is not None:
                packed = _packed(entry.key)
                child = self._entries[packed] = _new(kind, self, packed)
                child._apply(entry.delta)

    def _value(self) -> pb.Delta:
        entries = self._entries.items()
        added = [pb.MapEntry(key=_any(key), delta=child._value()) for key, child in entries]
        return pb.Delta(map=pb.MapDelta(added=added))

    def __repr__(self) -> str:
        return f"Map({self.items()!r})"


def _new(kind: type[D], owner: _Nested[Any], packed: Packed) -> D:
    child = kind(owner._root)
    child._map, child._key = owner, packed
    return child


_FIELDS: dict[str, type[Data]] = {
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
