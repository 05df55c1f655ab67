"""What the integration tests share: the real Firn, and clients of it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from firn.testing import LocalFirn

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "tests"))
sys.path.insert(0, str(HERE.parent.parent / "samples/python"))


@pytest.fixture
def firn_bin() -> str:
    """The binary. Without one the tests fail: the build is missing."""
    binary = os.environ.get("FIRN_BIN", "")
    assert binary, "FIRN_BIN must name the firn binary"
    return binary


@pytest.fixture
def local(firn_bin: str) -> Iterator[LocalFirn]:
    """A Firn of its own; its log is shown when the test fails."""
    firn = LocalFirn(firn_bin)
    with firn:
        yield firn
        print(firn.log)


Call = Callable[..., Any]


@pytest.fixture
async def client(local: LocalFirn) -> AsyncIterator[Call]:
    """Calls a method as a client: `await client("shop.Cart/AddItem", request, Reply)`."""
    async with grpc.aio.insecure_channel(local.client_address) as channel:

        def call(method: str, request: Any, reply: Any, *, stream: bool = False, **options: Any) -> Any:
            make = channel.unary_stream if stream else channel.unary_unary
            encode, decode = type(request).SerializeToString, reply.FromString
            return make(f"/{method}", encode, decode)(request, timeout=30, **options)

        yield call
