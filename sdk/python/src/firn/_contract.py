"""The contract: what a function tells Firn about its components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, cast

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from firn import _schema
from firn._component import Component, Handler
from firn._errors import DeclarationError
from firn.v1 import function_pb2 as pb


def contract_of(components: Sequence[Component[Any]]) -> pb.Contract:
    """The contract of components."""
    if not components:
        raise DeclarationError("the function has no components: add some")
    files = descriptor_pb2.FileDescriptorSet()
    for file in _schema.with_imports(_generated_files(components)):
        file.CopyToProto(files.file.add())
    files.file.extend(_declared_files(components))
    contract = pb.Contract(descriptors=files.SerializeToString(deterministic=True))
    for component in components:
        contract.components.append(_component(component))
    return contract


def _component(component: Component[Any]) -> pb.Component:
    if not component.handlers:
        raise DeclarationError(f"{component.service} has no handlers: declare some with .handler")
    message = pb.Component(
        service=component.service,
        model=component.model,
        id=component.id,
        storage=component.storage,
        headers=[header.lower() for header in component.headers],
    )
    for handler in component.handlers:
        message.methods.add(name=handler.name, id=handler.id)
    after = component.passivate_after
    if after is not None:
        message.passivate_after.FromTimedelta(
            after if isinstance(after, timedelta) else timedelta(seconds=after)
        )
    component._options(message)
    return message


def _generated_files(components: Iterable[Component[Any]]) -> list[FileDescriptor]:
    """The files of generated code that components use."""
    files: list[FileDescriptor] = []
    for component in components:
        if component.descriptor is not None:
            files.append(component.descriptor.file)
        for kind in _types(component):
            if issubclass(kind, Message):
                files.append(cast(FileDescriptor, kind.DESCRIPTOR.file))
    return files


def _types(component: Component[Any]) -> list[type]:
    kinds = [kind for handler in component.handlers for kind in (handler.request, handler.reply)]
    return [*kinds, *component.stored]


def _declared_files(components: Sequence[Component[Any]]) -> list[descriptor_pb2.FileDescriptorProto]:
    """The files of services that are declared in code.

    A type that several services of a package use is in the file of the first, which the others import.
    """
    files: list[descriptor_pb2.FileDescriptorProto] = []
    services = {component.service for component in components}
    # By full name: the type, and the file that has it.
    places: dict[str, tuple[type, str]] = {}
    for component in components:
        if component.descriptor is not None:
            continue
        file = _schema.new_file(component.package, component.name)
        imports: dict[str, None] = {}
        kinds = _types(component)
        for kind in kinds:
            if issubclass(kind, Message):
                imports[kind.DESCRIPTOR.file.name] = None
        for kind in _schema.reachable(kind for kind in kinds if not issubclass(kind, Message)):
            name = _schema.full_name(kind, component.package)
            if name in services:
                raise DeclarationError(f"{name} is a service and a type at once; rename one of them")
            known, place = places.setdefault(name, (kind, file.name))
            if known is not kind:
                raise DeclarationError(f"two types are called {name}; rename one of them")
            if place != file.name:
                imports[place] = None
            else:
                _schema.describe(file.message_type.add(), kind, component.package)
        service = file.service.add(name=component.name)
        for handler in component.handlers:
            _method(service.method.add(), handler, component.package)
            if handler.http:
                imports["google/api/annotations.proto"] = None
        file.dependency.extend(imports)
        files.append(file)
    return files


def _method(method: descriptor_pb2.MethodDescriptorProto, handler: Handler, package: str) -> None:
    method.name = handler.name
    method.input_type = f".{_schema.full_name(handler.request, package)}"
    method.output_type = f".{_schema.full_name(handler.reply, package)}"
    method.client_streaming = handler.streams_in
    method.server_streaming = handler.streams_out
    if handler.http:
        verb, _, path = handler.http.partition(" ")
        verb = verb.lower()
        if verb not in ("get", "put", "post", "delete", "patch") or not path.startswith("/"):
            raise DeclarationError(
                f'{handler.name}: http="{handler.http}" must be a verb and a path, like "GET /carts/{{cart_id}}"'
            )
        rule = method.options.Extensions[annotations_pb2.http]
        setattr(rule, verb, path)
        if verb in ("put", "post", "patch"):
            rule.body = "*"
