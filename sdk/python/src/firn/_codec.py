"""Between bytes and the user's types: generated messages, dataclasses and pydantic models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf import any_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

from firn import _schema
from firn._errors import DeclarationError

T = TypeVar("T")
URL_PREFIX = "type.googleapis.com/"
Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How values of a type become bytes, and bytes values."""

    type: type[T]
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


_CODECS: dict[type, Codec[Any]] = {}


def codec_of(kind: type[T]) -> Codec[T]:
    """The codec of a generated message, a dataclass or a pydantic model."""
    codec: Codec[Any] | None = _CODECS.get(kind)
    if codec is None:
        codec = _CODECS[kind] = _generated_codec(kind) if issubclass(kind, Message) else _declared(kind)
    return codec


def _generated_codec(kind: type[Any]) -> Codec[Any]:
    return Codec(kind, _checked(kind, kind.SerializeToString), kind.FromString)


def _checked(kind: type, encode: Callable[..., bytes]) -> Encode:
    def checked(value: Any) -> bytes:
        if value.__class__ is not kind:
            raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
        # Equal values must have equal bytes: elements of sets are compared by them.
        return encode(value, deterministic=True)

    return checked


def _declared(kind: type[T]) -> Codec[T]:
    """The codec of a declared type, by a message of its own that nobody else sees."""
    # Bytes do not depend on the package, so that one codec does for all services.
    package = "firn_declared"
    file = FileDescriptorProto(name="declared.proto", package=package, syntax="proto3")
    declared = _schema.reachable([kind])
    names: dict[str, type] = {}
    for one in declared:
        name = _schema.schema_of(one).name
        if names.setdefault(name, one) is not one:
            raise DeclarationError(f"two types are called {name}; rename one of them")
        _schema.describe(file.message_type.add(), one, package)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    converters: dict[type, _Converter] = {}
    for one in declared:
        descriptor = pool.FindMessageTypeByName(f"{package}.{one.__name__}")
        converters[one] = _Converter(one, message_factory.GetMessageClass(descriptor))
    for converter in converters.values():
        converter.link(converters)
    root = converters[kind]
    to_message, from_message, parse = root.to_message, root.from_message, root.message.FromString

    def encode(value: T) -> bytes:
        if not isinstance(value, kind):
            raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
        return to_message(value).SerializeToString(deterministic=True)

    def decode(data: bytes) -> T:
        return from_message(parse(data))  # type: ignore[no-any-return]

    return Codec(kind, encode, decode)


class _Converter:
    """Between a declared type and its message."""

    def __init__(self, kind: type, message: type[Message]) -> None:
        self.kind = kind
        self.message = message
        self.writers: list[tuple[str, Callable[[Any], Any] | None]] = []
        self.readers: list[tuple[str, Callable[[Any], Any]]] = []

    def link(self, converters: dict[type, _Converter]) -> None:
        for field in _schema.schema_of(self.kind).fields:
            nested = converters[field.message] if field.message is not None else None
            self.writers.append((field.name, _writer(field, nested)))
            self.readers.append((field.name, _reader(field, nested)))

    def to_message(self, value: Any) -> Message:
        given: dict[str, Any] = {}
        for name, write in self.writers:
            inner = getattr(value, name)
            given[name] = inner if write is None else write(inner)
        return self.message(**given)

    def from_message(self, message: Message) -> Any:
        return self.kind(**{name: read(message) for name, read in self.readers})


def _writer(field: _schema.Field, nested: _Converter | None) -> Callable[[Any], Any] | None:
    if nested is None:
        return None
    if field.shape == "list":
        return lambda values: [nested.to_message(value) for value in values]
    if field.shape == "map":
        return lambda values: {key: nested.to_message(value) for key, value in values.items()}
    return lambda value: None if value is None else nested.to_message(value)


def _reader(field: _schema.Field, nested: _Converter | None) -> Callable[[Any], Any]:
    name = field.name
    if field.shape == "optional":
        if nested is None:
            return lambda message: getattr(message, name) if message.HasField(name) else None
        return lambda message: nested.from_message(getattr(message, name)) if message.HasField(name) else None
    if field.shape == "list":
        if nested is None:
            return lambda message: list(getattr(message, name))
        return lambda message: [nested.from_message(one) for one in getattr(message, name)]
    if field.shape == "map":
        if nested is None:
            return lambda message: dict(getattr(message, name))
        return lambda message: {
            key: nested.from_message(value) for key, value in getattr(message, name).items()
        }
    if nested is None:
        return lambda message: getattr(message, name)
    return lambda message: nested.from_message(getattr(message, name))


# Text, numbers and bytes among the elements of replicated data travel as the wrappers of protobuf.
_WRAPPERS: dict[type, type[Message]] = {
    str: wrappers_pb2.StringValue,
    int: wrappers_pb2.Int64Value,
    bool: wrappers_pb2.BoolValue,
    float: wrappers_pb2.DoubleValue,
    bytes: wrappers_pb2.BytesValue,
}

Packed = tuple[str, bytes]
"""A type URL and bytes: what an `Any` holds."""


class Types:
    """What a component may pack into `Any` and find there."""

    def __init__(self, package: str) -> None:
        """`package` is that of the types declared in code."""
        self.package = package
        self._packers: dict[type, tuple[str, Encode]] = {}
        self._unpackers: dict[str, Decode] = {}
        for kind, wrapper in _WRAPPERS.items():
            url = URL_PREFIX + wrapper.DESCRIPTOR.full_name
            self._packers[kind] = (url, _wrap(wrapper))
            self._unpackers[url] = _unwrap(wrapper)

    def register(self, kind: type) -> str:
        """Makes a type known; gives its full name."""
        codec: Codec[Any] = codec_of(kind)
        name = _schema.full_name(kind, self.package)
        self._packers[kind] = (URL_PREFIX + name, codec.encode)
        self._unpackers[URL_PREFIX + name] = codec.decode
        return name

    def pack(self, value: object) -> Packed:
        """A value as type URL and bytes."""
        found = self._packers.get(value.__class__)
        if found is None:
            if isinstance(value, any_pb2.Any):
                return value.type_url, value.value
            if not isinstance(value, Message) and not _schema.is_declared(type(value)):
                raise TypeError(
                    f"{type(value).__name__} cannot be stored: use a message, a dataclass, str, int, bool, "
                    "float or bytes"
                )
            self.register(type(value))
            found = self._packers[type(value)]
        url, encode = found
        return url, encode(value)

    def unpack(self, url: str, data: bytes) -> Any:
        """The value of a type URL and bytes."""
        decode = self._unpackers.get(url)
        if decode is None:
            # Another prefix of the same name is the same type.
            name = url.rpartition("/")[2]
            decode = self._unpackers.get(URL_PREFIX + name) or _generated(name)
            self._unpackers[url] = decode
        return decode(data)

    def any(self, value: object) -> any_pb2.Any:
        """A value as `Any`."""
        url, data = self.pack(value)
        return any_pb2.Any(type_url=url, value=data)


def _generated(name: str) -> Decode:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        raise TypeError(f"there is data of the type {name}, which the component does not declare") from None
    return codec_of(message_factory.GetMessageClass(descriptor)).decode


def _wrap(wrapper: type[Any]) -> Encode:
    return lambda value: wrapper(value=value).SerializeToString()  # type: ignore[no-any-return]


def _unwrap(wrapper: type[Any]) -> Decode:
    parse = wrapper.FromString
    return lambda data: parse(data).value
