"""Sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any, Generic, TypeVar

from firn._codec import Packed, Types
from firn.data._base import MISSING, Data, Pending, Root, anys_of, packed_of
from firn.v1 import function_pb2 as pb

E = TypeVar("E")


class GrowSet(Data, Generic[E]):
    """A set to which elements are only added."""

    TYPE = pb.DATA_TYPE_GROW_SET

    def __init__(self, root: Root | Types | None = None) -> None:
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
        return pb.Delta(grow_set=pb.Elements(elements=anys_of(self._pending.added if self._pending else ())))

    def _apply(self, delta: pb.Delta) -> None:
        self._elements.update(dict.fromkeys(map(packed_of, delta.grow_set.elements)))

    def _value(self) -> pb.Delta:
        return pb.Delta(grow_set=pb.Elements(elements=anys_of(self._elements)))

    def __repr__(self) -> str:
        return f"GrowSet({list(self)!r})"


class Set(Data, MutableSet[E], Generic[E]):  # type: ignore[misc]
    """A set; adding an element wins over removing it at the same time."""

    TYPE = pb.DATA_TYPE_SET

    def __init__(self, root: Root | Types | None = None) -> None:
        super().__init__(root)
        self._elements: dict[Packed, None] = {}

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:  # for the operators of sets
        return list(it)

    def add(self, element: E) -> None:
        """Adds an element, if it is not there."""
        key = self._pack(element)
        if key not in self._elements:
            note_added(self._change(), key)
            self._root.write(self._elements, key, None)

    def discard(self, element: E) -> None:
        """Removes an element, if it is there."""
        key = self._pack(element)
        if key in self._elements:
            note_removed(self._change(), key)
            self._root.write(self._elements, key, MISSING)

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
        return pb.Delta(set=set_delta(self._pending or Pending()))

    def _apply(self, delta: pb.Delta) -> None:
        apply_set(self._elements, delta.set)

    def _value(self) -> pb.Delta:
        return pb.Delta(set=pb.SetDelta(added=anys_of(self._elements)))

    __eq__ = Data.__eq__

    def __repr__(self) -> str:
        return f"Set({list(self)!r})"


def note_added(pending: Pending, key: Packed) -> None:
    pending.added[key] = None


def note_removed(pending: Pending, key: Packed) -> None:
    pending.added.pop(key, None)
    if not pending.cleared:
        pending.removed[key] = None


def set_delta(pending: Pending) -> pb.SetDelta:
    return pb.SetDelta(
        cleared=pending.cleared, removed=anys_of(pending.removed), added=anys_of(pending.added)
    )


def apply_set(elements: dict[Packed, None], delta: pb.SetDelta) -> None:
    if delta.cleared:
        elements.clear()
    for removed in delta.removed:
        elements.pop(packed_of(removed), None)
    for added in delta.added:
        elements[packed_of(added)] = None
