/** The quick start in memory. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { client, Code } from "firn-sdk";
import { kit } from "firn-sdk/testing";
import { chat, counter, greeter, pages } from "../src/quickstart.js";

test("a counter counts, and takes positive amounts only", async () => {
  const one = kit(counter);
  await one.call("increase", { amount: 2n });
  one.reload();
  assert.equal((await one.call("increase", { amount: 3n })).reply?.value, 5n);
  assert.equal((await one.call("get", {})).reply?.value, 5n);
  assert.equal((await one.call("increase", { amount: 0n })).failure?.code, Code.InvalidArgument);
});

test("a chat keeps its lines", async () => {
  const room = kit(chat);
  await room.call("say", { text: "hello" });
  room.reload();
  assert.deepEqual((await room.call("say", { text: "you" })).reply?.lines, ["hello", "you"]);
});

test("a page counts its views", async () => {
  const page = kit(pages);
  await page.call("view", {});
  assert.equal((await page.call("view", {})).reply?.count, 2n);
});

test("the greeter counts through Firn", async () => {
  const one = kit(greeter).answer(counter.service.method.increase, ({ counterId }) => ({ value: BigInt(counterId.length) }));
  assert.equal((await one.call("greet", { name: "Ann" })).reply?.text, "Hello Ann, for the 3. time");
  assert.equal(client(counter).get({ counterId: "Ann" }).service, "counter.Counter");
});
