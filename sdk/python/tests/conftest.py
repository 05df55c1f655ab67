"""What the protocol tests share: a function that serves the tests' components to a fake Firn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import components
import pytest
from fake_firn import FakeFirn, Link

import firn
from firn._codec import codec_of
from firn.v1 import function_pb2 as pb

ask = codec_of(components.Ask)
told = codec_of(components.Told)
total = codec_of(components.Total)
added = codec_of(components.Added)


def place(method: firn.Method[Any, Any]) -> dict[str, int]:
    """Where a method is in the contract, as the fields of a command."""
    for number, component in enumerate(components.COMPONENTS):
        for index, handler in enumerate(component.handlers):
            if handler.method is method:
                return {"component": number, "method": index}
    raise AssertionError(f"{method} is not served")


def command(method: firn.Method[Any, Any], number: int = 0, text: str = "", **fields: Any) -> dict[str, Any]:
    """The fields of a command with an `Ask`."""
    message = ask.encode(components.Ask("a", number, text))
    return {**place(method), "message": message, **fields}


@dataclass
class World:
    """A function connected to a fake Firn."""

    firn: FakeFirn
    function: firn.Function
    link: Link
    hello: pb.Hello


async def connected(fake: FakeFirn, function: firn.Function, **welcome: Any) -> World:
    """Starts a function and takes it."""
    starting = asyncio.create_task(function.start(fake.address))
    link = await fake.accept()
    hello = await link.welcome(**welcome)
    await starting
    return World(fake, function, link, hello)


async def stopped(world: World) -> None:
    """Stops a function as Firn does when nothing is open."""
    stopping = asyncio.create_task(world.function.stop())
    world.link.end()
    await stopping


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A function of all components, connected."""
    async with FakeFirn() as fake:
        world = await connected(fake, components.function(stop_seconds=0.5))
        yield world
        await stopped(world)


@pytest.fixture
async def link(world: World) -> Link:
    """The connection of a function of all components."""
    return world.link
