import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "firn-sdk";
import { kit } from "firn-sdk/testing";
import { counter } from "../src/counter.js";

test("a counter counts, also after it was loaded again", async () => {
  const one = kit(counter);
  await one.call("increase", { by: 2n });
  one.reload();
  assert.equal((await one.call("increase", { by: 3n })).reply?.value, 5n);
  assert.equal((await one.call("get", {})).reply?.value, 5n);
});

test("a counter does not shrink", async () => {
  const { failure } = await kit(counter).call("increase", { by: -1n });
  assert.equal(failure?.code, Code.InvalidArgument);
});
