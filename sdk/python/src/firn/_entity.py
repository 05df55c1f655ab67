"""One incarnation of an entity in memory.

Pure: it holds what the opening brought and what decisions made of it, and knows no connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from firn.v1 import function_pb2 as pb

if TYPE_CHECKING:
    from firn._codec import Packed
    from firn._component import Component
    from firn._context import Context, _Changes
    from firn.data import Data


class Entity:
    """An entity while Firn keeps it with this process."""

    __slots__ = (
        "busy",
        "closed",
        "component",
        "data",
        "deleted",
        "draining",
        "drafts",
        "entity_id",
        "incarnation",
        "packed",
        "queue",
        "state",
        "tags",
        "tasks",
        "version",
        "watchers",
    )

    def __init__(self, component: Component[Any], incarnation: int, entity_id: str, version: int) -> None:
        self.component = component
        self.incarnation = incarnation
        self.entity_id = entity_id
        self.version = version
        # Value and actor: the state as it is stored, and what it is decoded, if it was. The bytes bring
        # the state back when a handler broke off and may have changed what it was shown.
        self.packed: Packed | None = None
        self.state: Any = None
        self.tags: dict[str, str] = {}
        self.data: Any = None
        self.deleted = False
        self.drafts: list[Data] = []
        self.watchers: list[_Changes] = []
        # What the session keeps of it: whether a handler waits, and what came meanwhile.
        self.busy = False
        self.queue: deque[pb.Command] | None = None
        self.draining = False
        self.tasks: dict[asyncio.Task[None], Context] | None = None
        self.closed = False

    def apply(self, delta: pb.Delta) -> None:
        """Takes a change of the data in that it has not seen."""
        self.data._apply(delta)
        self.changed(delta)

    def changed(self, delta: pb.Delta) -> None:
        """Tells a change of the data to those who look at it."""
        for draft in self.drafts:
            draft._apply(delta)
        for watcher in self.watchers:
            watcher.tell()

    def is_deleted(self) -> None:
        """The entity is gone for ever."""
        self.deleted = True
        self.data = self.component.new_data()
        for watcher in self.watchers:
            watcher.tell()


def open_entity(component: Component[Any], incarnation: int, opening: pb.Opening) -> Entity:
    """An entity as Firn knows it; fails where the user's code fails (R43)."""
    entity = Entity(component, incarnation, opening.entity_id, opening.version)
    component._open(entity, opening)
    return entity
