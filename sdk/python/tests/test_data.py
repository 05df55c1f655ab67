"""Replicated data: what a handler does is told as a delta, and what failed is undone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from firn._codec import Types
from firn.data import (
    Clock,
    Counter,
    CounterMap,
    Data,
    Flag,
    GrowCounter,
    GrowSet,
    Map,
    MultiMap,
    Register,
    RegisterMap,
    Set,
    Vote,
)
from firn.v1 import function_pb2 as pb

KINDS: list[type[Data]] = [
    GrowCounter, Counter, GrowSet, Set, Flag, Register, Map, Vote, CounterMap, RegisterMap, MultiMap,
]  # fmt: skip
NAMES = "abcd"


def step(chance: random.Random, data: Any, depth: int = 0) -> None:
    """Does something to data of any type."""
    name, other = chance.choice(NAMES), chance.choice(NAMES)
    match data:
        case GrowCounter():
            data.add(chance.randrange(3))
        case Counter():
            data.add(chance.randrange(-3, 4))
        case GrowSet():
            data.add(name)
        case Set():
            chance.choice([lambda: data.add(name), lambda: data.discard(name), data.clear])()
        case Flag():
            data.enable()
        case Register():
            data.set(name, chance.choice(list(Clock)), 5)
        case Vote():
            data.vote(chance.random() < 0.5)
        case CounterMap():
            chance.choice([lambda: data.add(name, chance.randrange(-3, 4)), lambda: data.remove(name), data.clear])()
        case RegisterMap():
            chance.choice([lambda: data.set(name, other), lambda: data.remove(name), data.clear])()
        case MultiMap():
            does: list[Callable[[], None]] = [
                lambda: data.add(name, other),
                lambda: data.discard(name, other),
                lambda: data.at(name).clear(),
                lambda: data.remove(name),
                data.clear,
            ]
            chance.choice(does)()
        case Map():
            does = [lambda: data.remove(name), data.clear]
            if depth < 2:
                kinds = [kind for kind in KINDS if kind is not Vote]
                into = lambda: step(chance, data.at(name, chance.choice(kinds)), depth + 1)  # noqa: E731
                does += [into] * 5
            chance.choice(does)()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(40))
def test_deltas_lead_another_replica_to_the_same_value(kind: type[Data], seed: int) -> None:
    chance = random.Random(seed)
    types = Types("test")
    data, mirror = kind(types), kind(types)
    if isinstance(data, Vote):
        data._apply(pb.Delta(vote=pb.Votes(members=3, yes=1)))
    for _ in range(30):
        before = data._copy()
        draft = data._copy()
        data._root.begin()
        state = chance.getstate()
        count = chance.randrange(4)
        for _ in range(count):
            step(chance, data)
        after_steps = chance.getstate()
        if chance.random() < 0.3:
            data._root.undo()
            assert data == before, "what failed is undone"
            continue
        delta = data._take()
        # A copy on which the same is done tells the same.
        chance.setstate(state)
        assert chance.randrange(4) == count
        for _ in range(count):
            step(chance, draft)
        assert draft._take() == delta
        chance.setstate(after_steps)
        if delta is not None:
            assert pb.Delta.FromString(delta.SerializeToString()) == delta
            if isinstance(mirror, Vote):
                assert delta.vote.own == data.own  # type: ignore[attr-defined]
                continue
            mirror._apply(delta)
        if not isinstance(mirror, Vote):
            assert mirror == data
        whole = kind(types)
        whole._apply(data._value())
        assert whole == data


def test_data_changes_only_while_a_handler_runs() -> None:
    data = Counter()
    with pytest.raises(RuntimeError, match="only while a handler"):
        data.add(1)
    data._root.begin()
    data.add(1)
    assert data._take() == pb.Delta(counter=1)
    with pytest.raises(RuntimeError, match="only while a handler"):
        data.add(1)


def test_what_changes_nothing_is_not_told() -> None:
    data: Map[str] = Map()
    data._root.begin()
    data.at("s", Set).add("x")
    data.at("f", Flag).enable()
    data._take()
    data._root.begin()
    data.at("s", Set).add("x")
    data.at("s", Set).discard("y")
    data.at("f", Flag).enable()
    data.remove("not there")
    assert data._take() is None


def test_an_entry_that_was_removed_cannot_be_changed() -> None:
    data: Map[str] = Map()
    data._root.begin()
    counter = data.at("a", Counter)
    data.remove("a")
    with pytest.raises(RuntimeError, match="was removed from its map"):
        counter.add(1)
    # What came and went within one command is not told.
    assert data._take() is None


def test_a_vote_that_is_withdrawn_is_told() -> None:
    data = Vote()
    for own in (True, False):
        data._root.begin()
        data.vote(own)
        assert data._take() == pb.Delta(vote=pb.Votes(own=own))


def test_an_entry_of_another_type_is_replaced() -> None:
    data: Map[str] = Map()
    data._root.begin()
    data.at("a", Counter).add(1)
    data._take()
    data._root.begin()
    data.at("a", Flag).enable()
    delta = data._take()
    assert delta is not None and len(delta.map.removed) == 1 and delta.map.added[0].delta.flag
    # A change of what is gone, or of another type, is ignored.
    key = delta.map.added[0].key
    data._apply(pb.Delta(map=pb.MapDelta(updated=[pb.MapEntry(key=key, delta=pb.Delta(counter=5))])))
    assert isinstance(data.get("a"), Flag)


def test_elements_are_compared_by_their_bytes() -> None:
    data: Set[object] = Set()
    data._root.begin()
    for element in ("1", 1, b"1", True, 1.0, pb.Info(name="1"), pb.Info(name="1")):
        data.add(element)
    assert len(data) == 6 and pb.Info(name="1") in data and 2 not in data


def test_a_grow_counter_does_not_shrink() -> None:
    with pytest.raises(ValueError, match="use a Counter"):
        GrowCounter().add(-1)
