"""Faults of declarations are told where they are made, with what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import components as c
import pytest

import firn
from firn._contract import contract_of
from firn.data import Counter
from firn.v1 import function_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["Functions"]


@dataclass
class Needy:
    needed: int


def value() -> firn.ValueEntity[c.Total]:
    return firn.ValueEntity("test.Faulty", id="id", state=c.Total)


def plain(request: c.Ask, ctx: firn.ValueContext[c.Total]) -> c.Told:
    return c.Told()


async def streams(request: c.Ask, ctx: object) -> AsyncIterator[c.Told]:
    yield c.Told()


def no_types(request, ctx):  # type: ignore[no-untyped-def]
    return c.Told()


def no_generator(request: c.Ask, ctx: object) -> Iterator[c.Told]:
    return iter(())


def plain_stream(request: AsyncIterator[c.Ask], ctx: object) -> c.Told:
    return c.Told()


def wrong_type(request: int, ctx: object) -> c.Told:
    return c.Told()


def twice() -> None:
    component = value()
    component.handler(plain)
    component.handler(plain)


def no_events() -> None:
    entity = firn.EventSourcedEntity("test.Faulty", id="id", state=c.Total)
    entity.handler(lambda_free)
    contract_of([entity])


def lambda_free(request: c.Ask, ctx: firn.EventSourcedContext[c.Total]) -> c.Told:
    return c.Told()


def same_fold() -> None:
    entity = firn.EventSourcedEntity("test.Faulty", id="id", state=c.Total)
    entity.event(c.added)
    entity.event(c.added)


def type_and_service() -> None:
    entity = firn.ValueEntity("test.Told", id="id", state=c.Total)
    entity.handler(plain)
    contract_of([entity])


FAULTS: dict[str, Callable[[], object]] = {
    "must name a package": lambda: firn.Action("Lonely"),
    "in PascalCase": lambda: firn.Action("test.lower"),
    "has fields without defaults": lambda: firn.ValueEntity("test.Faulty", id="id", state=Needy),
    "not one of the types of firn.data": lambda: firn.ReplicatedEntity("test.Faulty", data=int),  # type: ignore[type-var]
    "request and reply are annotated": lambda: value().handler(no_types),
    "use an action or a replicated entity": lambda: value().handler(streams),
    "must `yield` them": lambda: firn.Action("test.Faulty").handler(no_generator),
    "must be `async def`": lambda: firn.Action("test.Faulty").handler(plain_stream),
    "have one: use an action": lambda: firn.ReplicatedEntity("test.Faulty", data=Counter).handler(plain_stream),
    "is not a dataclass": lambda: firn.Action("test.Faulty").handler(wrong_type),
    "has a handler already": twice,
    "apply and events belong together": lambda: firn.EventSourcedEntity("test.F", state=c.Total, events=[c.Added]),
    "must not be negative": lambda: firn.EventSourcedEntity("test.F", state=c.Total, snapshot_every=-1),
    "has no events": no_events,
    "is folded already": same_fold,
    "has no method Plain; it has Connect": lambda: firn.Action(SERVICE).handler(plain),
    "belongs into the .proto file": lambda: firn.Action(SERVICE).handler(http="GET /")(plain),
    "must be a message of one as well": lambda: firn.ValueEntity(SERVICE, state=c.Total),
    "must be a verb and a path": lambda: contract_of([http("FETCH /x")]),
    "a service and a type at once": type_and_service,
    "has no components": lambda: contract_of([]),
    "was added already": lambda: firn.Function("test", c.value, c.value),
    "is known by name only": lambda: firn.Service("test.Far").Near,
}


def http(rule: str) -> firn.Component:  # type: ignore[type-arg]
    component = value()
    component.handler(http=rule)(plain)
    return component


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_says_what_to_do(reason: str) -> None:
    with pytest.raises(firn.DeclarationError, match=reason.replace(".", r"\.")):
        FAULTS[reason]()


def test_services_of_other_functions_are_named() -> None:
    service = firn.Service(SERVICE)
    target = service.Connect(pb.FunctionBatch(), metadata=firn.Metadata([("a", "b")]))
    assert (target.service, target.method, target.message) == ("firn.v1.Functions", "Connect", b"")
    assert target.metadata["A"] == "b"
    with pytest.raises(AttributeError, match="has no method Other"):
        assert service.Other
    far = firn.Service("test.Far").method("Near", c.Ask, c.Told)
    assert far(c.Ask("x")).decode is not None and repr(far) == "<method test.Far/Near>"


def test_metadata_has_several_values_and_keys_in_lower_case() -> None:
    metadata = firn.Metadata([("X-One", "1"), ("x-one", "2"), ("x-bin", b"\x00")])
    assert metadata.all("x-ONE") == ["1", "2"] and metadata["X-one"] == "1"
    assert "x-one" in metadata and "x-two" not in metadata and len(metadata) == 3
    assert metadata.get("x-two") is None
    with pytest.raises(KeyError):
        assert metadata["x-two"]
    for key, wrong in (("x-bin", "text"), ("x-text", b"bytes")):
        with pytest.raises(ValueError, match="all others text"):
            metadata.add(key, wrong)


def test_a_failure_has_a_code_and_details() -> None:
    failure = firn.Failure(firn.Code.NOT_FOUND, "gone", [pb.Info(name="x")])
    assert str(failure) == "NOT_FOUND: gone"
    assert failure.details[0].type_url == "type.googleapis.com/firn.v1.Info"
    with pytest.raises(ValueError):
        firn.Failure(0, "fine")  # type: ignore[arg-type]
