"""Section 10 of firn.v1, code first: descriptors, numbers and codecs of declared types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pydantic
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.timestamp_pb2 import Timestamp

import firn
from firn._codec import Types, codec_of
from firn._contract import contract_of
from firn._schema import number_of, schema_of
from firn.v1 import function_pb2 as pb


@dataclass
class Part:
    name: str = ""
    weight: float = 0.0


@dataclass
class Whole:
    truth: bool = False
    number: int = 0
    small: firn.Int32 = 0
    natural: firn.UInt32 = 0
    large: firn.UInt64 = 0
    ratio: float = 0.0
    text: str = ""
    raw: bytes = b""
    part: Part = field(default_factory=Part)
    maybe: str | None = None
    maybe_part: Part | None = None
    parts: list[Part] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    numbered: Annotated[str, firn.Number(7)] = ""


FULL = Whole(
    True, -1, -2, 3, 1 << 63, 0.5, "text", b"\x00\xff", Part("a", 1.5), "", Part("b"), [Part("c"), Part()],
    [1, -2], {"d": Part("d")}, {"e": -5}, "seven",
)  # fmt: skip


@dataclass
class Tree:
    value: int = 0
    children: list[Tree] = field(default_factory=list)


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(default="", max_length=5)
    parts: list[Part] = []


def test_numbers_come_from_names() -> None:  # R100
    # The offset and the prime of FNV-1a give these: its published value for "a" is e40c292c.
    assert number_of("a") == 20_000 + 0xE40C292C % 33_534_432
    assert number_of("foobar") == 20_000 + 0xBF9CF968 % 33_534_432
    assert number_of("") == 20_000 + 0x811C9DC5 % 33_534_432
    assert {field.number for field in schema_of(Whole).fields if field.name == "numbered"} == {7}


@pytest.mark.parametrize("value", [FULL, Whole(), Tree(1, [Tree(2), Tree(3, [Tree(4)])]), Model(name="x", parts=[Part("y")])])
def test_values_come_back_as_they_were(value: object) -> None:
    codec = codec_of(type(value))
    assert codec.decode(codec.encode(value)) == value
    assert codec.encode(codec.decode(codec.encode(value))) == codec.encode(value)


def test_the_order_of_fields_does_not_matter() -> None:  # R100
    @dataclass
    class OneWay:
        first: str
        second: int

    @dataclass
    class OtherWay:
        second: int
        first: str

    data = codec_of(OneWay).encode(OneWay("x", 1))
    assert codec_of(OtherWay).decode(data) == OtherWay(1, "x")


def test_the_descriptors_say_what_the_codec_does() -> None:  # R101, R102
    entity = firn.ValueEntity("shop.spare.PartStore", id="text", state=Tree)

    @entity.handler(http="PUT /parts/{text}")
    def store(request: Whole, ctx: firn.ValueContext[Tree]) -> Part:
        return request.part

    other = firn.Action("shop.spare.PartChecks")

    @other.handler
    def check(request: Part, ctx: firn.ActionContext) -> Timestamp:
        return Timestamp()

    @other.handler
    def forget(request: Part, ctx: firn.ActionContext) -> None: ...

    contract = contract_of([entity, other])
    files = descriptor_pb2.FileDescriptorSet.FromString(contract.descriptors)
    assert [file.name for file in files.file] == ["shop/spare/part_store.proto", "shop/spare/part_checks.proto"]
    assert all(file.syntax == "proto3" and file.package == "shop.spare" for file in files.file)
    # A type of two services is in the file of the first.
    assert [message.name for message in files.file[0].message_type] == ["Whole", "Part", "Tree"]
    assert not files.file[1].message_type and "shop/spare/part_store.proto" in files.file[1].dependency
    assert files.file[1].service[0].method[1].output_type == ".google.protobuf.Empty"

    pool = descriptor_pool.DescriptorPool()
    default = descriptor_pool.Default()
    for name in ("descriptor", "any", "empty", "timestamp", "duration"):
        file = descriptor_pb2.FileDescriptorProto()
        default.FindFileByName(f"google/protobuf/{name}.proto").CopyToProto(file)
        pool.Add(file)
    for name in ("http", "annotations"):
        file = descriptor_pb2.FileDescriptorProto()
        default.FindFileByName(f"google/api/{name}.proto").CopyToProto(file)
        pool.Add(file)
    for file in files.file:
        pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.spare.Whole"))
    read = message.FromString(codec_of(Whole).encode(FULL))  # type: ignore[attr-defined]
    assert read.text == "text" and read.HasField("maybe") and read.by_name["d"].name == "d"
    assert read.SerializeToString(deterministic=True) == codec_of(Whole).encode(FULL)
    rule = files.file[0].service[0].method[0].options
    assert b"/parts/{text}" in rule.SerializeToString()


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"camelCase": "int"}, "snake_case"),
        ({"unions": "int | str"}, "of unions only"),
        ({"keys": "dict[int, str]"}, "keys of a map"),
        ({"anything": "object"}, "cannot be a field"),
        ({"a": "Annotated[int, firn.Number(1)]", "b": "Annotated[int, firn.Number(1)]"}, "both have the number 1"),
        ({"gone": "NotThere"}, "must be visible"),
    ],
)
def test_types_that_cannot_be_described_are_refused(annotations: dict[str, str], reason: str) -> None:
    namespace = {"__annotations__": annotations, "__module__": __name__}
    with pytest.raises(firn.DeclarationError, match=reason):
        schema_of(dataclass(type("Declared", (), namespace)))


def test_what_a_model_refuses_is_an_invalid_argument() -> None:
    from firn.testing import Kit

    action = firn.Action("test.Checked")

    @action.handler
    def check(request: Model, ctx: firn.ActionContext) -> None: ...

    long = codec_of(Part).encode(Part("far too long"))
    target: firn.Target[None] = firn.Target("test.Checked", "Check", long)
    failure = Kit(action).send(target).failure
    assert failure is not None and failure.code == firn.Code.INVALID_ARGUMENT


def test_elements_are_messages_types_and_plain_values() -> None:
    types = Types("test")
    for value in ("text", 7, True, 0.5, b"raw", Part("x"), pb.Info(name="x")):
        packed = types.pack(value)
        assert types.unpack(*packed) == value and type(types.unpack(*packed)) is type(value)
    assert types.pack(Part())[0] == "type.googleapis.com/test.Part"
    assert types.unpack("other.example/google.protobuf.StringValue", types.pack("x")[1]) == "x"
    with pytest.raises(TypeError, match="cannot be stored"):
        types.pack(object())
    with pytest.raises(TypeError, match="does not declare"):
        types.unpack("type.googleapis.com/test.Unknown", b"")


def test_a_value_of_another_type_is_not_encoded() -> None:
    for kind, value in ((Part, Tree()), (pb.Info, pb.Credit())):
        with pytest.raises(TypeError, match=f"expected {kind.__name__}, not {type(value).__name__}"):
            codec_of(kind).encode(value)  # type: ignore[arg-type]
