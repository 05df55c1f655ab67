"""The samples, in memory; and that the README shows them as they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import firn
from firn import testing

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
SAMPLES = ROOT / "samples/python"
sys.path.insert(0, str(SAMPLES))

import cart  # noqa: E402
import leaderboard  # noqa: E402
import quickstart  # noqa: E402
from board.leaderboard_pb2 import ScoreRequest, ShowRequest  # noqa: E402
from shop.cart_pb2 import (  # noqa: E402
    AddItemRequest,
    CheckoutRequest,
    GetCartRequest,
    LineItem,
    RemoveItemRequest,
)


def test_a_cart_is_filled_and_checked_out() -> None:
    kit = testing.Kit(cart.cart, "alice")

    def refused(call: firn.Target[object]) -> str:
        return str(kit.send(call).failure)

    assert refused(cart.checkout(CheckoutRequest())) == "FAILED_PRECONDITION: the cart is empty"
    kit.send(cart.add_item(AddItemRequest(product_id="tea", name="Tea", quantity=2)))
    kit.send(cart.add_item(AddItemRequest(product_id="tea", name="Tea", quantity=1)))
    kit.send(cart.add_item(AddItemRequest(product_id="milk", name="Milk", quantity=1)))
    kit.send(cart.remove_item(RemoveItemRequest(product_id="milk")))
    bad = cart.add_item(AddItemRequest(product_id="tea", quantity=-1))
    assert refused(bad) == "INVALID_ARGUMENT: the quantity must be positive, not -1"
    socks = cart.remove_item(RemoveItemRequest(product_id="socks"))
    assert refused(socks) == 'NOT_FOUND: product "socks" is not in the cart'
    kit.restart()
    contents = kit.send(cart.get_cart(GetCartRequest())).reply
    assert list(contents.items) == [LineItem(product_id="tea", name="Tea", quantity=3)]
    assert kit.send(cart.checkout(CheckoutRequest())).reply.checked_out
    for call in (
        cart.add_item(AddItemRequest(product_id="tea", quantity=1)),
        socks,
        cart.checkout(CheckoutRequest()),
    ):
        assert refused(call) == "FAILED_PRECONDITION: the cart is checked out already"


def test_a_cart_has_snapshots() -> None:
    kit = testing.Kit(cart.cart, "alice")
    call = cart.add_item(AddItemRequest(product_id="tea", name="Tea", quantity=1))
    results = [kit.send(call) for _ in range(100)]
    assert results[99].snapshot.items[0].quantity == 100 and kit.events == []


async def test_a_leaderboard_is_watched() -> None:
    ours, theirs = testing.replicas(leaderboard.leaderboard, "chess")
    watching = ours.open(leaderboard.watch(ShowRequest()))
    assert not (await watching.next()).places
    for player, points in (("bob", 3), ("ann", 3), ("eve", 5)):
        theirs.send(leaderboard.score(ScoreRequest(player=player, points=points)))
    testing.exchange(ours, theirs)
    standings = await watching.next()
    assert [(place.player, place.points) for place in standings.places] == [("eve", 5), ("ann", 3), ("bob", 3)]
    assert ours.send(leaderboard.show(ShowRequest())).reply == standings
    nameless = ours.send(leaderboard.score(ScoreRequest(points=1)))
    assert str(nameless.failure) == "INVALID_ARGUMENT: the player has no name"


async def test_the_quick_start_works() -> None:
    account = testing.Kit(quickstart.account, "a")
    assert account.send(quickstart.change(quickstart.Change("a", 5))).reply == quickstart.Balance(5)
    assert account.send(quickstart.change(quickstart.Change("a", -6))).failure is not None
    ledger = testing.Kit(quickstart.ledger, "a")
    assert ledger.send(quickstart.book(quickstart.Change("a", 5))).events == [quickstart.Changed(5)]
    transfers = testing.Kit(quickstart.transfers)
    transfers.answer(quickstart.change, quickstart.Balance(1))
    await transfers.asend(quickstart.transfer(quickstart.Transfer("a", "b", 3)))
    assert transfers.calls == [
        quickstart.change(quickstart.Change("a", -3)),
        quickstart.change(quickstart.Change("b", 3)),
    ]
    ours, theirs = testing.replicas(quickstart.visits, "a")
    for kit in (ours, theirs):
        kit.send(quickstart.visit(quickstart.Change("a", 2)))
    testing.exchange(ours, theirs)
    assert ours.data.value == 4


def test_the_readme_shows_what_runs() -> None:
    spec = importlib.util.spec_from_file_location("readme", HERE / "scripts/readme.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    readme = (HERE / "README.md").read_text()
    pieces = script.PIECE.findall(readme)
    assert len(pieces) == readme.count("```python"), "every piece of code names where it is from"
    assert script.spliced(readme) == readme, "the README is stale: run python scripts/readme.py"
