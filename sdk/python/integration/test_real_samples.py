"""The samples behind a real Firn."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator

import grpc
import main
import pytest
import quickstart
from board.leaderboard_pb2 import ScoreRequest, ShowRequest, Standings
from conftest import Call
from google.protobuf.empty_pb2 import Empty
from shop.cart_pb2 import AddItemRequest, CheckoutRequest, Contents, GetCartRequest

import firn
from firn.testing import LocalFirn


@pytest.fixture
async def samples(local: LocalFirn) -> AsyncIterator[firn.Function]:
    await main.function.start(local.function_address)
    await local.serves("shop.Cart")
    yield main.function
    await main.function.stop()


async def test_a_cart_is_filled_and_checked_out(samples: firn.Function, client: Call) -> None:
    assert samples.client_address
    for _ in range(3):
        request = AddItemRequest(cart_id="alice", product_id="tea", name="Tea", quantity=2)
        await client("shop.Cart/AddItem", request, Empty)
    contents = await client("shop.Cart/GetCart", GetCartRequest(cart_id="alice"), Contents)
    assert [(item.name, item.quantity) for item in contents.items] == [("Tea", 6)]
    closed = await client("shop.Cart/Checkout", CheckoutRequest(cart_id="alice"), Contents)
    assert closed.checked_out
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client("shop.Cart/Checkout", CheckoutRequest(cart_id="alice"), Contents)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.details() == "the cart is checked out already"


async def test_many_carts_at_once(samples: firn.Function, client: Call) -> None:
    async def fill(cart: int) -> None:
        for _ in range(5):
            request = AddItemRequest(cart_id=f"c{cart}", product_id="tea", name="Tea", quantity=1)
            await client("shop.Cart/AddItem", request, Empty)

    await asyncio.gather(*(fill(cart) for cart in range(100)))
    contents = await client("shop.Cart/GetCart", GetCartRequest(cart_id="c77"), Contents)
    assert contents.items[0].quantity == 5


async def test_a_leaderboard_is_watched(samples: firn.Function, client: Call) -> None:
    async def score(player: str, points: int) -> None:
        request = ScoreRequest(board_id="chess", player=player, points=points)
        await client("board.Leaderboard/Score", request, Empty)

    watching = client("board.Leaderboard/Watch", ShowRequest(board_id="chess"), Standings, stream=True)
    assert not (await watching.read()).places
    await score("ann", 3)
    assert [(place.player, place.points) for place in (await watching.read()).places] == [("ann", 3)]
    await score("bob", 5)
    assert [place.player for place in (await watching.read()).places] == ["bob", "ann"]
    watching.cancel()


async def test_the_quick_start_works_over_http(local: LocalFirn) -> None:
    await quickstart.function.start(local.function_address)
    await local.serves("bank.Account")
    try:

        def change(amount: int) -> object:
            request = urllib.request.Request(
                f"http://{local.client_address}/accounts/alice/change",
                json.dumps({"amount": amount}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)

        assert await asyncio.to_thread(change, 7) == {"amount": "7"}
        assert await asyncio.to_thread(change, -2) == {"amount": "5"}
        transfer = quickstart.transfer(quickstart.Transfer("alice", "bob", 4))
        await quickstart.function.call(transfer, timeout=30)
        booked = await quickstart.function.call(quickstart.book(quickstart.Change("bob", 1)), timeout=30)
        assert booked == quickstart.Balance(1)
        visit = quickstart.visit(quickstart.Change("alice", 2))
        assert (await quickstart.function.call(visit, timeout=30)).amount == 2
        shown = await quickstart.function.call(quickstart.change(quickstart.Change("bob", 0)), timeout=30)
        assert shown == quickstart.Balance(4)
    finally:
        await quickstart.function.stop()
