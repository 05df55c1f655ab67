"""The counter in memory, without Firn: `.venv/bin/python -m pytest`."""

import firn
from firn.testing import Kit
from main import GetRequest, IncreaseRequest, Value, counter, get, increase


def test_a_counter_grows() -> None:
    kit = Kit(counter, "a")
    assert kit.send(increase(IncreaseRequest("a", by=2))).reply == Value(2)
    assert kit.send(increase(IncreaseRequest("a", by=3))).reply == Value(5)
    assert kit.send(get(GetRequest("a"))).reply == Value(5)


def test_a_counter_does_not_shrink() -> None:
    failure = Kit(counter, "a").send(increase(IncreaseRequest("a", by=-1))).failure
    assert failure is not None and failure.code == firn.Code.INVALID_ARGUMENT
