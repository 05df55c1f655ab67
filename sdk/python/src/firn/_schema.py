"""Code first: descriptors of dataclasses and pydantic models (section 10 of firn.v1).

A class becomes a message: its annotations become fields, whose numbers come from their names (R100),
so that the order of fields does not matter.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message

from firn._errors import DeclarationError


@dataclass(frozen=True)
class Scalar:
    """Which protobuf type an annotation stands for; see `Int32`, `UInt32` and `UInt64`."""

    name: str


@dataclass(frozen=True)
class Number:
    """The number of a field, instead of the one of its name: `Annotated[str, Number(3)]`."""

    value: int


Int32 = Annotated[int, Scalar("int32")]
"""A whole number of 32 bits. A plain `int` is an `int64`."""
UInt32 = Annotated[int, Scalar("uint32")]
"""A whole number of 32 bits that is not negative."""
UInt64 = Annotated[int, Scalar("uint64")]
"""A whole number of 64 bits that is not negative."""

# R101
_SCALARS: dict[type, str] = {bool: "bool", int: "int64", float: "double", str: "string", bytes: "bytes"}
_TYPES: dict[str, FieldDescriptorProto.Type.ValueType] = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}

FNV_OFFSET, FNV_PRIME = 0x811C9DC5, 0x01000193
# R100: above what people number by hand and what protobuf keeps for itself; below 2^25, so that a
# tag takes four bytes.
NUMBER_FIRST, NUMBERS = 20_000, 33_534_432
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PASCAL_CASE = re.compile(r"[A-Z][A-Za-z0-9]*")


def number_of(name: str) -> int:
    """The number of a field of this name."""
    # R100
    value = FNV_OFFSET
    for byte in name.encode():
        value = (value ^ byte) * FNV_PRIME & 0xFFFFFFFF
    return NUMBER_FIRST + value % NUMBERS


@dataclass(frozen=True)
class Field:
    """A field of a declared type."""

    name: str
    number: int
    shape: str
    """`single`, `optional`, `list` or `map`."""
    scalar: str
    """The scalar type; empty for messages."""
    message: type | None
    """The declared type of the message; none for scalars."""


@dataclass(frozen=True)
class Schema:
    """A declared type as a message."""

    kind: type
    name: str
    fields: tuple[Field, ...]

    def nested(self) -> Iterator[type]:
        """The declared types of the fields."""
        return (field.message for field in self.fields if field.message is not None)


def is_declared(kind: object) -> bool:
    """Whether a class is a type that code first can describe."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or _is_model(kind))


def _is_model(kind: type) -> bool:
    # Asked by what it has, so that pydantic need not be there.
    return hasattr(kind, "model_fields") and hasattr(kind, "model_validate")


_SCHEMAS: dict[type, Schema] = {}


def schema_of(kind: type) -> Schema:
    """The message that a dataclass or pydantic model stands for."""
    schema = _SCHEMAS.get(kind)
    if schema is None:
        schema = _SCHEMAS[kind] = _read(kind)
    return schema


def _read(kind: type) -> Schema:
    if not is_declared(kind):
        raise DeclarationError(
            f"{kind!r} is neither a dataclass, nor a pydantic model, nor a generated message"
        )
    if not PASCAL_CASE.fullmatch(kind.__name__):
        raise DeclarationError(f"{kind.__name__}: names of messages are in PascalCase; rename the class")
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{kind.__name__}: {error}; types of fields must be visible in the class's module"
        ) from error
    fields = tuple(_field(kind, name, hints[name]) for name in _names(kind))
    taken: dict[int, str] = {}
    for field in fields:
        if field.number in taken:
            raise DeclarationError(
                f"{kind.__name__}: {taken[field.number]} and {field.name} both have the number "
                f"{field.number}; give one of them another with Annotated[…, firn.Number(…)]"
            )
        taken[field.number] = field.name
    return Schema(kind, kind.__name__, fields)


def _names(kind: type) -> list[str]:
    if _is_model(kind):
        return list(kind.model_fields)  # type: ignore[attr-defined]
    fields = dataclasses.fields(kind)
    hidden = [field.name for field in fields if not field.init]
    if hidden:
        raise DeclarationError(f"{kind.__name__}.{hidden[0]} is not part of __init__ and cannot be read back")
    return [field.name for field in fields]


def _field(kind: type, name: str, hint: Any) -> Field:
    where = f"{kind.__name__}.{name}"
    if not SNAKE_CASE.fullmatch(name):
        raise DeclarationError(f"{where}: names of fields are in snake_case; rename the field")
    number = number_of(name)
    hint, notes = _unwrapped(hint)
    shape, inner = "single", hint
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        others = [argument for argument in arguments if argument is not type(None)]
        if len(others) != 1 or len(others) == len(arguments):
            raise DeclarationError(f"{where}: of unions only `T | None` can be a field")
        shape, inner = "optional", others[0]
    elif origin is list:
        shape, inner = "list", arguments[0]
    elif origin is dict:
        if arguments[0] is not str:
            raise DeclarationError(f"{where}: the keys of a map are text: use dict[str, …]")
        shape, inner = "map", arguments[1]
    inner, inner_notes = _unwrapped(inner)
    notes += inner_notes
    for note in notes:
        if isinstance(note, Number):
            number = note.value
    scalar = next((note.name for note in notes if isinstance(note, Scalar)), _SCALARS.get(inner, ""))
    if scalar:
        return Field(name, number, shape, scalar, None)
    if is_declared(inner):
        return Field(name, number, shape, "", inner)
    raise DeclarationError(
        f"{where}: {inner!r} cannot be a field; use bool, int, float, str, bytes, firn.Int32, firn.UInt32, "
        "firn.UInt64, a dataclass, list[…], dict[str, …] or … | None"
    )


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A hint without its annotations, and the annotations."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return inner, tuple(notes)
    return hint, ()


def reachable(roots: Iterable[type]) -> list[type]:
    """Declared types and those of their fields, each once, in the order met."""
    found: dict[type, None] = {}
    waiting = list(roots)
    while waiting:
        kind = waiting.pop(0)
        if kind not in found:
            found[kind] = None
            waiting.extend(schema_of(kind).nested())
    return list(found)


def describe(message: DescriptorProto, kind: type, package: str) -> None:
    """Fills in the descriptor of a declared type."""
    schema = schema_of(kind)
    message.name = schema.name
    for field in schema.fields:
        described = message.field.add(name=field.name, number=field.number)
        repeated = field.shape in ("list", "map")
        described.label = (
            FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        )
        if field.shape == "map":
            entry = message.nested_type.add(name=_entry_name(field.name))
            entry.options.map_entry = True
            key = entry.field.add(name="key", number=1, type=FieldDescriptorProto.TYPE_STRING)
            value = entry.field.add(name="value", number=2)
            key.label = value.label = FieldDescriptorProto.LABEL_OPTIONAL
            _set_type(value, field, package)
            described.type = FieldDescriptorProto.TYPE_MESSAGE
            described.type_name = f".{package}.{schema.name}.{entry.name}"
            continue
        _set_type(described, field, package)
        if field.shape == "optional" and field.scalar:
            described.proto3_optional = True
            described.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")


def _entry_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_")) + "Entry"


def _set_type(described: FieldDescriptorProto, field: Field, package: str) -> None:
    if field.message is None:
        described.type = _TYPES[field.scalar]
    else:
        described.type = FieldDescriptorProto.TYPE_MESSAGE
        described.type_name = f".{package}.{schema_of(field.message).name}"


def new_file(package: str, service: str) -> FileDescriptorProto:
    """The file of a service that is declared in code."""
    # R102
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", service).lower()
    folder = package.replace(".", "/")
    return FileDescriptorProto(name=f"{folder}/{snake}.proto", package=package, syntax="proto3")


def with_imports(files: Iterable[FileDescriptor]) -> list[FileDescriptor]:
    """Files and what they import, imports first, each once, without those that Firn has (R10)."""
    found: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in found or is_known_to_firn(file.name):
            return
        for imported in file.dependencies:
            add(imported)
        found[file.name] = file

    for file in files:
        add(file)
    return list(found.values())


def is_known_to_firn(file_name: str) -> bool:
    """Whether Firn has a file itself."""
    return file_name.startswith(("google/protobuf/", "google/api/"))


def full_name(kind: type, package: str) -> str:
    """The full name of a declared type or a generated message."""
    if issubclass(kind, Message):
        return kind.DESCRIPTOR.full_name
    return f"{package}.{schema_of(kind).name}"
