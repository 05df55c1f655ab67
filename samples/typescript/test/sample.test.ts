/** The cart and the leaderboard in memory. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "firn-sdk";
import { kit, replicas } from "firn-sdk/testing";
import { cart } from "../src/cart.js";
import { leaderboard } from "../src/leaderboard.js";

const tea = { cartId: "alice", productId: "tea", name: "Tea", quantity: 2 };

// region test-cart
test("more of the same adds up, also after the cart was loaded again", async () => {
  const alice = kit(cart, { id: "alice" });
  await alice.call("addItem", { cartId: "alice", productId: "tea", name: "Tea", quantity: 2 });
  const added = await alice.call("addItem", { cartId: "alice", productId: "tea", name: "Tea", quantity: 3 });
  assert.deepEqual(added.events.map((it) => it.$typeName), ["shop.ItemAdded"]);

  alice.reload();
  const { reply } = await alice.call("getCart", { cartId: "alice" });
  assert.equal(reply?.items[0]?.quantity, 5);
});
// endregion

test("what the cart refuses changes nothing", async () => {
  const alice = kit(cart);
  const refused = async (outcome: ReturnType<typeof alice.call>, code: number, text: string) => {
    const { failure } = await outcome;
    assert.deepEqual([failure?.code, failure?.message], [code, text]);
  };
  await refused(alice.call("addItem", { ...tea, quantity: -1 }), Code.InvalidArgument, "the quantity must be positive, not -1");
  await refused(alice.call("removeItem", { productId: "socks" }), Code.NotFound, 'product "socks" is not in the cart');
  await refused(alice.call("checkout", {}), Code.FailedPrecondition, "the cart is empty");
  await alice.call("addItem", tea);
  const { reply } = await alice.call("checkout", {});
  assert.equal(reply?.checkedOut, true);
  await refused(alice.call("addItem", tea), Code.FailedPrecondition, "the cart is checked out already");
  await refused(alice.call("removeItem", { productId: "tea" }), Code.FailedPrecondition, "the cart is checked out already");
  assert.deepEqual(alice.events.map((it) => it.$typeName), ["shop.ItemAdded", "shop.CheckedOut"]);
});

test("a removed item is gone", async () => {
  const alice = kit(cart);
  await alice.call("addItem", tea);
  await alice.call("removeItem", { productId: "tea" });
  assert.deepEqual((await alice.call("getCart", {})).reply?.items, []);
});

test("a snapshot has all that the events add up to", async () => {
  const alice = kit(cart);
  for (let i = 0; i < 60; i++) await alice.call("addItem", { ...tea, quantity: 1 });
  alice.reload();
  assert.equal((await alice.call("getCart", {})).reply?.items[0]?.quantity, 60);
});

const place = (player: string, points: bigint) => ({ player, points });

test("replicas of a board agree when they have exchanged their changes", async () => {
  const boards = replicas(leaderboard, 2);
  const [here, there] = boards.kits;
  await here!.call("score", { player: "bob", points: 5n });
  await there!.call("score", { player: "bob", points: -2n });
  await there!.call("score", { player: "ann", points: 3n });
  boards.exchange();
  for (const one of [here!, there!]) {
    const { reply } = await one.call("show", {});
    assert.deepEqual(reply?.places.map(({ player, points }) => place(player, points)), [place("ann", 3n), place("bob", 3n)]);
  }
});

test("a player has a name", async () => {
  const { failure } = await kit(leaderboard).call("score", { points: 1n });
  assert.equal(failure?.message, "the player has no name");
});

test("who watches a board sees it now, and after every change", async () => {
  const board = kit(leaderboard);
  const watch = board.stream("watch", {});
  const seen: number[] = [];
  for await (const { places } of watch.replies) {
    seen.push(places.length);
    if (seen.length === 3) break;
    await board.call("score", { player: `player ${seen.length}`, points: 1n });
  }
  assert.deepEqual(seen, [0, 1, 2]);
  watch.cancel();
  assert.equal((await watch.outcome).failure, undefined);
});
