"""Counters, flags, registers and votes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from firn._codec import Packed, Types
from firn.data._base import Clock, Data, Root, any_of, packed_of
from firn.v1 import function_pb2 as pb

V = TypeVar("V")


class GrowCounter(Data):
    """A counter that only grows."""

    TYPE = pb.DATA_TYPE_GROW_COUNTER

    def __init__(self, root: Root | Types | None = None) -> None:
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

    def __init__(self, root: Root | Types | None = None) -> None:
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


class Flag(Data):
    """A flag that is off until anybody switches it on."""

    TYPE = pb.DATA_TYPE_FLAG

    def __init__(self, root: Root | Types | None = None) -> None:
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


def write_of(packed: Packed, clock: Clock, custom: int) -> pb.Write:
    return pb.Write(value=any_of(packed), clock=cast(Any, int(clock)), custom=custom)


class Register(Data, Generic[V]):
    """A value that is replaced as a whole; the write with the greatest stamp wins."""

    TYPE = pb.DATA_TYPE_REGISTER

    def __init__(self, root: Root | Types | None = None) -> None:
        super().__init__(root)
        self._packed: Packed | None = None

    @property
    def value(self) -> V | None:
        """The value; none before the first write."""
        return self._unpack(self._packed) if self._packed else None

    def set(self, value: V, clock: Clock = Clock.DEFAULT, custom: int = 0) -> None:
        """Writes a value. If it loses against the present one, Firn says so by a change."""
        packed = self._pack(value)
        self._change().write = write_of(packed, clock, custom)
        self._root.write(self.__dict__, "_packed", packed)

    def _delta(self) -> pb.Delta:
        return pb.Delta(register=self._pending.write if self._pending else None)

    def _apply(self, delta: pb.Delta) -> None:
        if delta.register.HasField("value"):
            self._packed = packed_of(delta.register.value)

    def _value(self) -> pb.Delta:
        return pb.Delta(register=pb.Write(value=any_of(self._packed) if self._packed else None))

    def __repr__(self) -> str:
        return f"Register({self.value!r})"


class Vote(Data):
    """A vote among the nodes."""

    TYPE = pb.DATA_TYPE_VOTE
    _EMPTY_COUNTS = True  # a vote that is withdrawn

    def __init__(self, root: Root | Types | None = None) -> None:
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
