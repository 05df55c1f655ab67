/** The sample and the quick start behind a real Firn, which FIRN_BIN names. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { client, FirnFunction } from "firn-sdk";
import { startFirn, type LocalFirn } from "firn-sdk/testing";
import { cart } from "../src/cart.js";
import { Cart } from "../src/generated/shop/cart_pb.js";
import { Leaderboard } from "../src/generated/board/leaderboard_pb.js";
import { leaderboard } from "../src/leaderboard.js";
import { chat, counter, greeter, pages } from "../src/quickstart.js";

let firn: LocalFirn;
let fn: FirnFunction;

before(async () => {
  assert.ok(process.env["FIRN_BIN"], "FIRN_BIN does not name the firn binary: build it first");
  firn = await startFirn();
  fn = new FirnFunction("sample", { address: firn.functionAddress });
  for (const component of [cart, leaderboard, counter, chat, pages, greeter]) fn.add(component);
  await fn.start();
  await firn.untilServing();
});

after(async () => {
  await fn?.stop();
  await firn?.stop();
});

async function http(method: string, path: string, body?: object) {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const response = await fetch(`http://${firn.clientAddress}${path}`, init);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test("the cart over HTTP", async () => {
  assert.equal((await http("POST", "/carts/alice/items", { productId: "tea", name: "Tea", quantity: 2 })).status, 200);
  const { body } = await http("GET", "/carts/alice");
  assert.deepEqual(body["items"], [{ productId: "tea", name: "Tea", quantity: 2 }]);
  const refused = await http("POST", "/carts/alice/items", { productId: "tea", quantity: -1 });
  assert.equal(refused.status, 400);
  assert.deepEqual(refused.body, { code: 3, message: "the quantity must be positive, not -1", details: [] });
});

test("the leaderboard over HTTP and through the SDK", async () => {
  await http("POST", "/boards/b/scores", { player: "ann", points: 3 });
  await fn.call(client(Leaderboard).score({ boardId: "b", player: "bob", points: 5n }));
  const { body } = await http("GET", "/boards/b");
  assert.deepEqual(body["places"], [{ player: "bob", points: "5" }, { player: "ann", points: "3" }]);
});

test("the quick start: a counter over HTTP, and an action that calls it", async () => {
  await http("POST", "/counters/ann/increase", { amount: "4" });
  assert.deepEqual((await http("GET", "/counters/ann")).body, { value: "4" });
  const { text } = await fn.call(client(greeter).greet({ name: "ann" }));
  assert.equal(text, "Hello ann, for the 5. time");
  await fn.call(client(chat).say({ room: "r", text: "hi" }));
  assert.deepEqual((await fn.call(client(chat).read({ room: "r" }))).lines, ["hi"]);
});

test("a cart is the same for another process of the function", async () => {
  const carts = client(Cart);
  await fn.call(carts.addItem({ cartId: "carol", productId: "tea", quantity: 1 }));
  await fn.stop();
  const other = new FirnFunction("sample", { address: firn.functionAddress });
  for (const component of [cart, leaderboard, counter, chat, pages, greeter]) other.add(component);
  await other.start();
  await firn.untilServing();
  const contents = await other.call(carts.getCart({ cartId: "carol" }));
  assert.equal(contents.items[0]?.quantity, 1);
  await other.stop();
});
