"""Stateful functions for Firn.

A `Function` has components; each implements one service: an `Action`, a `ValueEntity`, an
`EventSourcedEntity`, a `ReplicatedEntity` or an `Actor`. Their handlers get a request and a context,
and give a reply. `firn.data` has the types of replicated data, `firn.testing` what tests need.
"""

from firn._component import (
    Action,
    Actor,
    Component,
    Consistency,
    Durability,
    EventSourcedEntity,
    ReplicatedEntity,
    ValueEntity,
)
from firn._context import (
    ActionContext,
    ActorContext,
    Context,
    EntityContext,
    EventSourcedContext,
    ReplicatedContext,
    ValueContext,
)
from firn._errors import Code, ConnectionLost, DeclarationError, Failure, Finding, Refused
from firn._function import Function
from firn._metadata import Metadata
from firn._method import Method, Service, Target
from firn._schema import Int32, Number, UInt32, UInt64
from firn._session import Hooks

__all__ = [
    "Action",
    "ActionContext",
    "Actor",
    "ActorContext",
    "Code",
    "Component",
    "ConnectionLost",
    "Consistency",
    "Context",
    "DeclarationError",
    "Durability",
    "EntityContext",
    "EventSourcedContext",
    "EventSourcedEntity",
    "Failure",
    "Finding",
    "Function",
    "Hooks",
    "Int32",
    "Metadata",
    "Method",
    "Number",
    "Refused",
    "ReplicatedContext",
    "ReplicatedEntity",
    "Service",
    "Target",
    "UInt32",
    "UInt64",
    "ValueContext",
    "ValueEntity",
]
