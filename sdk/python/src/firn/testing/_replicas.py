"""Several replicas of one replicated entity, in memory.

Each replica is a kit. What one changes the others learn by `exchange`, in between they differ, as nodes
do. Every change knows which it had seen, so that adding wins over removing at the same time; of writes to
a register at the same time the one of the later replica in the list wins, where Firn asks the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from firn._codec import Packed
from firn._component import ReplicatedEntity
from firn.data import Data, GrowSet, Map, MultiMap, RegisterMap, Set, Vote
from firn.data._base import normal
from firn.data._maps import Keyed
from firn.testing._kit import Kit
from firn.v1 import function_pb2 as pb

Name = tuple[int, int]
"""A change: how many its replica had seen, and which replica made it. So they are ordered as well."""


@dataclass(frozen=True)
class _Change:
    delta: pb.Delta
    seen: frozenset[Name]


class _Replica:
    """What is known of one replica."""

    def __init__(self, kit: Kit, place: int, members: int) -> None:
        self.kit = kit
        self.place = place
        self.members = members
        self.changes: dict[Name, _Change] = {}
        self.read = 0

    def collect(self) -> None:
        """Takes in what the kit's handlers have changed."""
        for delta in self.kit._deltas[self.read :]:
            name = (max((count for count, _ in self.changes), default=0) + 1, self.place)
            self.changes[name] = _Change(delta, frozenset(self.changes))
        self.read = len(self.kit._deltas)

    def learn(self, changes: dict[Name, _Change]) -> None:
        """Takes in what others have changed, and tells the function."""
        self.changes.update(changes)
        merged = self._merged()
        delta = _difference(self.kit.data, merged)
        if delta is not None:
            self.kit.data._apply(delta)
            if not self.kit._deltas:
                self.kit._deltas.append(delta)
                self.read = 1
            self.kit._send(pb.Change(incarnation=self.kit._incarnation, delta=delta))

    def _merged(self) -> Data:
        data = self.kit.component.new_data()
        if isinstance(data, Vote):
            votes = {name[1]: self.changes[name].delta.vote.own for name in sorted(self.changes)}
            own = votes.get(self.place, False)
            data._apply(pb.Delta(vote=pb.Votes(own=own, yes=sum(votes.values()), members=self.members)))
            return data
        for name in sorted(self.changes):
            data._apply(self._kept(name, data))
        return data

    def _kept(self, name: Name, data: Data) -> pb.Delta:
        """A change that removes only what it had seen."""
        change = self.changes[name]
        delta = pb.Delta()
        delta.CopyFrom(change.delta)
        inner: Any = getattr(delta, delta.WhichOneof("delta") or "")
        if not hasattr(inner, "removed"):
            return delta
        unseen = (other for other in self.changes if other < name and other not in change.seen)
        kept = {key for other in unseen for key in _adds(self.changes[other].delta)}
        removed = {(any.type_url, any.value) for any in inner.removed}
        if inner.cleared:
            removed |= set(data._elements if isinstance(data, Set) else data._entries)  # type: ignore[attr-defined]
        inner.cleared = False
        del inner.removed[:]
        for url, value in removed - kept:
            inner.removed.add(type_url=url, value=value)
        return delta


def _adds(delta: pb.Delta) -> Iterable[Packed]:
    """The elements or keys that a change adds or changes."""
    inner: Any = getattr(delta, delta.WhichOneof("delta") or "")
    if isinstance(inner, pb.SetDelta):
        return [(one.type_url, one.value) for one in inner.added]
    entries = [*inner.updated, *(inner.added if isinstance(inner, pb.MapDelta) else ())]
    return [(entry.key.type_url, entry.key.value) for entry in entries]


def replicas(component: ReplicatedEntity[Any], entity_id: str = "", count: int = 2) -> list[Kit]:
    """Kits of one replicated entity, each a replica of its own; see `exchange`."""
    kits = []
    for place in range(count):
        kit = Kit(component, entity_id)
        replica = kit._replica = _Replica(kit, place, count)
        if isinstance(kit.data, Vote):
            kit.data._apply(pb.Delta(vote=pb.Votes(members=count)))
            kit._deltas.append(kit.data._value())
            replica.read = 1
        kits.append(kit)
    return kits


def exchange(*kits: Kit) -> None:
    """Lets replicas hear of each other's changes; afterwards they have the same data."""
    all_replicas: list[_Replica] = [kit._replica for kit in kits]
    for replica in all_replicas:
        replica.collect()
    changes = {name: change for replica in all_replicas for name, change in replica.changes.items()}
    for replica in all_replicas:
        replica.learn(changes)


def _difference(old: Data, new: Data) -> pb.Delta | None:
    """The change that leads from one value to another of its type."""
    before, after = normal(old._value()), normal(new._value())
    if before == after:
        return None
    delta = pb.Delta()
    if isinstance(old, Set) and isinstance(new, Set):
        _set_difference(delta.set, old, new)
    elif isinstance(old, GrowSet) and isinstance(new, GrowSet):
        delta.grow_set.elements.extend(after.grow_set.elements)
    elif isinstance(old, Keyed) and isinstance(new, Keyed):
        _map_difference(delta, old, new)
    elif after.WhichOneof("delta") == "counter":
        delta.counter = after.counter - before.counter
    elif after.WhichOneof("delta") == "grow_counter":
        delta.grow_counter = after.grow_counter - before.grow_counter
    else:
        delta.CopyFrom(after)
    return delta


def _set_difference(delta: pb.SetDelta, old: Set[Any], new: Set[Any]) -> None:
    delta.SetInParent()
    for url, value in old._elements.keys() - new._elements.keys():
        delta.removed.add(type_url=url, value=value)
    for url, value in new._elements.keys() - old._elements.keys():
        delta.added.add(type_url=url, value=value)


def _map_difference(delta: pb.Delta, old: Keyed[Any], new: Keyed[Any]) -> None:
    inner: Any = getattr(delta, normal(new._value()).WhichOneof("delta") or "")
    inner.SetInParent()
    for url, value in old._entries.keys() - new._entries.keys():
        inner.removed.add(type_url=url, value=value)
    for key, entry in new._entries.items():
        before = old._entries.get(key)
        if isinstance(new, Map):
            if before is None or type(before) is not type(entry):
                added = inner.added.add(delta=entry._value())
            else:
                change = _difference(before, entry)
                if change is None:
                    continue
                added = inner.updated.add(delta=change)
        elif isinstance(new, MultiMap):
            added = inner.updated.add()
            _set_difference(added.change, before or Set(), entry)
        elif isinstance(new, RegisterMap):
            if before == entry:
                continue
            added = inner.updated.add()
            added.write.value.type_url, added.write.value.value = entry
        else:
            added = inner.updated.add(change=entry - (before or 0))
        added.key.type_url, added.key.value = key
