"""Names of methods, and calls of them that can be made, forwarded, delayed or put on a timer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor

from firn._codec import codec_of
from firn._errors import DeclarationError
from firn._metadata import Metadata
from firn.v1 import function_pb2 as pb

Req = TypeVar("Req")
Rep = TypeVar("Rep")


@dataclass(frozen=True)
class Target(Generic[Rep]):
    """A call of a method: the method and its request.

    Give it to `ctx.call`, `ctx.forward`, `ctx.effect` or `ctx.timer`.
    """

    service: str
    """The full name of the service."""
    method: str
    """The method's name."""
    message: bytes
    """The encoded request."""
    metadata: Metadata = field(default_factory=Metadata)
    """Headers for the called method."""
    decode: Callable[[bytes], Rep] | None = field(default=None, compare=False, repr=False)
    """Turns the encoded reply into a value; without it a call gives nothing."""

    def _fill(self, message: pb.Target) -> None:
        message.service = self.service
        message.method = self.method
        message.message = self.message
        if self.metadata:
            self.metadata._fill(message.metadata)


class Method(Generic[Req, Rep]):
    """A method of a service. Calling it with a request describes a call: `add_item(request)`.

    Decorating a handler gives one; for services of other functions use `Service`.
    """

    def __init__(self, service: str, name: str, request: type[Req], reply: type[Rep] | None) -> None:
        """`reply` is none for methods that answer nothing but `google.protobuf.Empty`."""
        self.service = service
        self.name = name
        self.request = request
        self._encode = codec_of(request).encode
        self._decode: Callable[[bytes], Any] = codec_of(reply).decode if reply else _nothing

    def __call__(self, request: Req, *, metadata: Metadata | None = None) -> Target[Rep]:
        """Describes a call of the method."""
        return Target(self.service, self.name, self._encode(request), metadata or Metadata(), self._decode)

    def __repr__(self) -> str:
        return f"<method {self.service}/{self.name}>"


def _nothing(_: bytes) -> None:
    return None


class Service:
    """A service of this or another function, to be called through Firn.

    With the descriptor of a generated file every method is an attribute:
    `Service(cart_pb2.DESCRIPTOR.services_by_name["Cart"]).AddItem(request)`. A service that is declared
    in code by another function is named by text, and its methods with their types by `method`.
    """

    def __init__(self, service: ServiceDescriptor | str) -> None:
        self._descriptor = None if isinstance(service, str) else service
        self.name: str = service if isinstance(service, str) else service.full_name

    def method(self, name: str, request: type[Req], reply: type[Rep] | None = None) -> Method[Req, Rep]:
        """A method with the types of its request and reply."""
        return Method(self.name, name, request, reply)

    def __getattr__(self, name: str) -> Method[Any, Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._descriptor is None:
            raise DeclarationError(
                f'{self.name} is known by name only: use method("{name}", request type, reply type)'
            )
        described = self._descriptor.methods_by_name.get(name)
        if described is None:
            raise AttributeError(f"{self.name} has no method {name}")
        method: Method[Any, Any] = Method(
            self.name,
            name,
            message_factory.GetMessageClass(described.input_type),
            message_factory.GetMessageClass(described.output_type),
        )
        setattr(self, name, method)
        return method
