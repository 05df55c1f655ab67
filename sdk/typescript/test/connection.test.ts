/** The connection: dialing, refusals, streams, credit, chunks, calls and the end. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { action, client, Code, Failure, FirnFunction, RefusedError } from "../src/index.js";
import { FirnFrameSchema, FunctionFrameSchema } from "../src/generated/firn/v1/function_pb.js";
import { rpc, service } from "../src/schema.js";
import { Answer, Ask, At, decoded, encoded, functionOf, Gates, Records, Values } from "./support/fixtures.js";
import { FakeFirn, WELCOME, type FakeConnection, type FirnFrameInit } from "./support/fake-firn.js";

let firn: FakeFirn;
let folder: string;
const running: FirnFunction[] = [];

beforeEach(async () => {
  firn = await FakeFirn.start();
  folder = mkdtempSync(join(tmpdir(), "firn-sdk-"));
});

afterEach(async () => {
  await Promise.all(running.splice(0).map((fn) => fn.stop()));
  firn.stop();
  rmSync(folder, { recursive: true });
});

async function connected(fn: FirnFunction, welcome: object = {}): Promise<FakeConnection> {
  running.push(fn);
  const started = fn.start();
  const connection = await firn.connection();
  await connection.welcome(welcome);
  await started;
  return connection;
}

function action_(id: number, method: number, text: string, data = new Uint8Array()): FirnFrameInit {
  return {
    case: "command",
    value: { id: BigInt(id), component: At.actions, method, message: encoded(Ask, { text, data }) },
  };
}

function message(command: number, text: string | undefined, end = false): FirnFrameInit {
  const value = { command: BigInt(command), end };
  return { case: "message", value: text === undefined ? value : { ...value, message: encoded(Ask, { text }) } };
}

test("a token is sent as a header", async () => {
  const connection = await connected(functionOf(firn.address, new Gates(), { token: "secret", stopGrace: 0 }));
  assert.deepEqual(connection.metadata.get("authorization"), ["Bearer secret"]);
});

test("a refused token is told with its code, and dialed again", async () => {
  firn.refuse = { code: 16, details: "the token is wrong", firnCode: "FIRN-2025" };
  const logger = new Records();
  const fn = functionOf(firn.address, new Gates(), { logger, stopGrace: 0 });
  running.push(fn);
  const started = fn.start();
  await firn.connection();
  await firn.connection();
  const [record] = logger.all.filter((it) => it.level === "error");
  assert.equal(record?.fields["code"], "FIRN-2025");
  assert.equal(record?.fields["cause"], "the token is wrong");
  firn.refuse = undefined;
  await (await firn.connection()).welcome();
  await started;
});

test("a refusal is told finding by finding, and dialed again", async () => {
  const logger = new Records();
  const fn = functionOf(firn.address, new Gates(), { logger, stopGrace: 0 });
  running.push(fn);
  const started = fn.start();
  const connection = await firn.connection();
  await connection.next("hello");
  connection.send({
    case: "refusal",
    value: { findings: [{ code: "FIRN-2006", text: "no id", remedy: "name it" }, { code: "FIRN-2010", text: "same" }] },
  });
  connection.fail(9, "refused");
  const second = await firn.connection();
  assert.deepEqual(logger.of("error"), ["no id", "same"]);
  assert.deepEqual(logger.all[0]?.fields, { code: "FIRN-2006", remedy: "name it", service: "", location: "" });
  await second.welcome();
  await started;
});

test("run rejects with the findings if it is told to", async () => {
  const fn = functionOf(firn.address, new Gates(), { failOnRefusal: true });
  const run = fn.run();
  const connection = await firn.connection();
  await connection.next("hello");
  connection.send({ case: "refusal", value: { findings: [{ code: "FIRN-2006", text: "no id", remedy: "name it" }] } });
  connection.fail(9, "refused");
  await assert.rejects(run, (error: RefusedError) => {
    assert.match(error.message, /FIRN-2006: no id: name it/);
    return error instanceof RefusedError;
  });
});

test("a notice is told by its severity", async () => {
  const logger = new Records();
  const connection = await connected(functionOf(firn.address, new Gates(), { logger, stopGrace: 0 }));
  connection.send(
    { case: "notice", value: { finding: { code: "FIRN-2015", text: "hm" }, severity: 1 } },
    { case: "notice", value: { finding: { code: "FIRN-3031", text: "oh" }, severity: 2 } },
    action_(1, 1, ""),
  );
  await connection.next("decision");
  assert.deepEqual([logger.of("warn"), logger.of("error")], [["hm"], ["oh"]]);
});

test("a lost connection voids what was open, and another begins anew", async () => {
  const gates = new Gates();
  const fn = functionOf(firn.address, gates, { stopGrace: 0 });
  const first = await connected(fn);
  first.send(action_(1, 0, "open"));
  first.send({ case: "goodbye", value: {} });
  first.fail(14, "restart");
  const second = await firn.connection();
  const hello = await second.welcome();
  assert.equal(hello.info?.process.length, 36);
  gates.of("open").open();
  second.send(action_(1, 1, ""));
  assert.equal((await second.next("decision")).answer.case, undefined);
  assert.equal(second.unseen, 0);
});

test("Firn that is not there yet is dialed until it is", async () => {
  const { address } = firn;
  firn.stop();
  const logger = new Records();
  const fn = functionOf(address, new Gates(), { logger, stopGrace: 0 });
  running.push(fn);
  const started = fn.start();
  while (logger.of("warn").length === 0) await new Promise((resolve) => setImmediate(resolve));
  firn = await FakeFirn.start(address.replace("http://", ""));
  await (await firn.connection()).welcome();
  await started;
});

test("a unix socket and TLS are addresses", async () => {
  const socket = `unix:${join(folder, "firn.sock")}`;
  const overUnix = await FakeFirn.start(socket);
  const key = join(folder, "key.pem");
  const cert = join(folder, "cert.pem");
  execFileSync("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(" "),
    ..."-subj /CN=localhost -addext subjectAltName=DNS:localhost".split(" "),
    ...["-keyout", key, "-out", cert],
  ], { stdio: "ignore" });
  const overTls = await FakeFirn.start("localhost:0", { key: readFileSync(key), cert: readFileSync(cert) });
  for (const [fake, ca] of [[overUnix, undefined], [overTls, cert]] as const) {
    const fn = functionOf(fake.address, new Gates(), { stopGrace: 0, ...(ca === undefined ? {} : { ca }) });
    const started = fn.start();
    await (await fake.connection()).welcome();
    await started;
    await fn.stop();
    fake.stop();
  }
});

test("Firn is not reached through a proxy", async () => {
  process.env["http_proxy"] = "http://127.0.0.1:1";
  try {
    await connected(functionOf(firn.address, new Gates(), { stopGrace: 0 }));
  } finally {
    delete process.env["http_proxy"];
  }
});

test("a wrong address is told at once", async () => {
  await assert.rejects(functionOf("localhost:9001").start(), /no address of Firn: write http:/);
});

test("replies wait for credit, and the first has the headers", async () => {
  const connection = await connected(functionOf(firn.address, new Gates(), { stopGrace: 0 }), { callMessages: 2 });
  connection.send(action_(1, 2, "5"));
  const first = await connection.next("reply");
  assert.equal(first.metadata?.entries[0]?.key, "x-first");
  await connection.next("reply");
  connection.send(action_(2, 1, ""));
  assert.equal((await connection.next("decision")).command, 2n); // nothing came between
  connection.send({ case: "credit", value: { command: 1n, amount: 3 } });
  const counts = [];
  for (let i = 0; i < 3; i++) counts.push(decoded(Answer, (await connection.next("reply")).message).count);
  assert.deepEqual(counts, [2n, 3n, 4n]);
  assert.equal((await connection.next("decision")).answer.case, undefined);
});

test("requests are streamed, and credit is granted as they are taken", async () => {
  const fn = functionOf(firn.address, new Gates(), { callMessages: 4, stopGrace: 0 });
  const connection = await connected(fn);
  connection.send(action_(1, 3, ""), message(1, "a"), message(1, "b"), message(1, "c"));
  assert.equal((await connection.next("credit")).amount, 2);
  connection.send(message(1, "d"), message(1, undefined, true));
  const { answer } = await connection.next("decision");
  assert.equal(decoded(Answer, answer.value).text, "abcd");
});

test("a message without credit fails the call", async () => {
  const fn = functionOf(firn.address, new Gates(), { callMessages: 2, stopGrace: 0 });
  const connection = await connected(fn);
  connection.send(action_(1, 3, ""), message(1, "a"), message(1, "b"), message(1, "c"));
  const { answer } = await connection.next("decision");
  assert.ok(answer.case === "failure");
  assert.match(answer.value.message, /FIRN-3036/);
});

test("both sides stream", async () => {
  const connection = await connected(functionOf(firn.address, new Gates(), { stopGrace: 0 }));
  connection.send(action_(1, 4, ""), message(1, "a"));
  assert.equal(decoded(Answer, (await connection.next("reply")).message).text, "a");
  connection.send(message(1, "b", true));
  assert.equal(decoded(Answer, (await connection.next("reply")).message).text, "b");
  await connection.next("decision");
});

const Big = service("test.Big", { big: rpc(Ask, Answer), call: rpc(Ask, Answer) });

function bigFunction(): FirnFunction {
  const values = client(Values);
  const big = action(Big, {
    handlers: {
      big: ({ text, data }) => ({ text, data: data.length > 0 ? data : new Uint8Array(Number(text)).fill(7) }),
      async call({ text }, context) {
        try {
          return { text: `got ${(await context.call(values.get({ id: text }), { timeout: 700 })).text}` };
        } catch (error) {
          if (error instanceof Failure && error.code === Code.NotFound) return { text: error.message };
          throw error;
        }
      },
    },
  });
  return new FirnFunction("big", { address: firn.address, logger: new Records(), stopGrace: 0 }).add(big);
}

function big(id: number, text: string, method = 0): FirnFrameInit {
  return { case: "command", value: { id: BigInt(id), method, message: encoded(Ask, { text }) } };
}

/** Puts the transfers together that come until this many frames are whole; small frames come as they are. */
async function whole(connection: FakeConnection, count: number) {
  const parts = new Map<bigint, Buffer[]>();
  const order: bigint[] = [];
  const frames: { command: bigint; bytes: number }[] = [];
  while (frames.length < count) {
    let frame = await connection.any();
    if (frame.case === "chunk") {
      const { transfer, data, last } = frame.value;
      order.push(transfer);
      const known = parts.get(transfer) ?? [];
      parts.set(transfer, [...known, Buffer.from(data)]);
      if (!last) continue;
      frame = fromBinary(FunctionFrameSchema, Buffer.concat(parts.get(transfer)!)).frame;
    }
    assert.ok(frame.case === "decision");
    const reply = frame.value.answer.case === "reply" ? decoded(Answer, frame.value.answer.value) : undefined;
    frames.push({ command: frame.value.command, bytes: reply?.data.length ?? -1 });
  }
  return { frames, order };
}

test("large frames travel in chunks, by turns, and small ones go first", async () => {
  const connection = await connected(bigFunction(), { chunkBytes: 1000 });
  connection.send(big(1, "100000"), big(2, "3000"), big(3, "10"));
  const { frames, order } = await whole(connection, 3);
  assert.deepEqual(frames, [
    { command: 3n, bytes: 10 },
    { command: 2n, bytes: 3000 },
    { command: 1n, bytes: 100000 },
  ]);
  assert.deepEqual(order.slice(0, 4), [1n, 2n, 1n, 2n]);
  assert.ok(connection.batches.every((it) => it.bytes <= 1 << 20));
});

test("batches of several frames stay below 1 MiB", async () => {
  const connection = await connected(bigFunction(), { chunkBytes: 1 << 22 });
  connection.send(...Array.from({ length: 30 }, (_, i) => big(i + 1, "100000")));
  await whole(connection, 30);
  assert.ok(connection.batches.every((it) => it.bytes <= 1 << 20 || it.frames === 1));
});

test("a decision that Firn does not take fails its command alone", async () => {
  const connection = await connected(bigFunction(), { frameBytes: 5000n });
  connection.send(big(1, "6000"), big(2, "10"));
  const first = await connection.next("decision");
  assert.ok(first.answer.case === "failure");
  assert.equal(first.answer.value.code, Code.ResourceExhausted);
  assert.equal((await connection.next("decision")).command, 2n);
});

test("a command may come in chunks, between others", async () => {
  const connection = await connected(bigFunction());
  const data = new Uint8Array(300_000).fill(3);
  const frame = create(FirnFrameSchema, {
    frame: { case: "command", value: { id: 1n, message: encoded(Ask, { text: "x", data }) } },
  });
  const bytes = toBinary(FirnFrameSchema, frame);
  const chunk = (from: number, to: number, last: boolean): FirnFrameInit => ({
    case: "chunk",
    value: { transfer: 9n, data: bytes.subarray(from, to), last },
  });
  connection.send(chunk(0, 100_000, false));
  connection.send(big(2, "1"), chunk(100_000, 200_000, false), chunk(200_000, bytes.length, true));
  const { frames } = await whole(connection, 2);
  assert.deepEqual(frames, [
    { command: 2n, bytes: 1 },
    { command: 1n, bytes: 300_000 },
  ]);
});

test("a call names its command, and gives reply or failure", async () => {
  const connection = await connected(bigFunction());
  connection.send(big(1, "a", 1));
  const call = await connection.next("call");
  assert.equal(call.command, 1n);
  assert.equal(call.target?.service, "test.Values");
  assert.equal(call.target?.method, "Get");
  assert.equal(call.timeoutMs, 700n);
  assert.equal(decoded(Ask, call.target?.message).id, "a");
  connection.send({ case: "callResult", value: { id: call.id, result: { case: "reply", value: encoded(Answer, { text: "it" }) } } });
  assert.equal(decoded(Answer, (await connection.next("decision")).answer.value).text, "got it");
  connection.send(big(2, "a", 1));
  const failing = await connection.next("call");
  assert.ok(failing.id > call.id);
  connection.send({ case: "callResult", value: { id: failing.id, result: { case: "failure", value: { code: 5, message: "none" } } } });
  assert.equal(decoded(Answer, (await connection.next("decision")).answer.value).text, "none");
});

test("calls wait for credit, and results give it back", async () => {
  const connection = await connected(bigFunction(), { calls: 1 });
  connection.send(big(1, "a", 1), big(2, "b", 1), big(3, "c", 1));
  const first = await connection.next("call");
  connection.send(big(4, "1"));
  await connection.next("decision");
  const result = (id: bigint): FirnFrameInit => ({
    case: "callResult",
    value: { id, result: { case: "reply", value: new Uint8Array() } },
  });
  connection.send(result(first.id));
  const second = await connection.next("call");
  assert.equal((await connection.next("decision")).command, 1n);
  connection.send({ case: "credit", value: { amount: 1 } });
  await connection.next("call");
  connection.send(result(second.id));
  assert.equal((await connection.next("decision")).command, 2n);
});

test("a cancelled command cancels its calls", async () => {
  const connection = await connected(bigFunction());
  connection.send(big(1, "a", 1));
  const call = await connection.next("call");
  connection.send({ case: "cancel", value: { id: 1n } });
  const frames = [await connection.any(), await connection.any()];
  assert.deepEqual(frames.map((it) => it.case).sort(), ["cancel", "decision"]);
  const cancel = frames.find((it) => it.case === "cancel");
  assert.equal((cancel?.value as { id: bigint }).id, call.id);
});

test("a function calls outside of any command", async () => {
  const fn = bigFunction();
  await assert.rejects(fn.call(client(Values).get({})), (error: Failure) => error.code === Code.Unavailable);
  const connection = await connected(fn);
  const reply = fn.call(client(Values).get({ id: "a" }));
  const call = await connection.next("call");
  assert.equal(call.command, 0n);
  connection.send({ case: "callResult", value: { id: call.id, result: { case: "reply", value: encoded(Answer, { text: "it" }) } } });
  assert.equal((await reply).text, "it");
  const lost = fn.call(client(Values).get({ id: "a" }));
  await connection.next("call");
  connection.fail(14, "gone");
  await assert.rejects(lost, (error: Failure) => error.code === Code.Unavailable);
});

test("stop says Goodbye, and waits until Firn has ended the call", async () => {
  const gates = new Gates();
  const fn = functionOf(firn.address, gates);
  const connection = await connected(fn);
  connection.send(action_(1, 0, "last"));
  const stopped = fn.stop();
  await connection.next("goodbye");
  gates.of("last").open();
  assert.equal((await connection.next("decision")).command, 1n);
  connection.end();
  await stopped;
});

test("stop gives up what is open when its time is over", async () => {
  const fn = functionOf(firn.address, new Gates(), { stopGrace: 20 });
  const connection = await connected(fn);
  connection.send(action_(1, 0, "never"));
  await fn.stop();
  await connection.ended();
});

test("SIGTERM stops a running function", async () => {
  const script = join(import.meta.dirname, "support", "serve.js");
  const child = spawn(process.execPath, [script], { env: { ...process.env, FIRN_ADDRESS: firn.address }, stdio: "ignore" });
  const exited = once(child, "exit");
  const connection = await firn.connection();
  await connection.welcome();
  connection.send(action_(1, 1, ""));
  await connection.next("decision");
  child.kill("SIGTERM");
  await connection.next("goodbye");
  connection.end();
  assert.deepEqual(await exited, [0, null]);
});

test("Firn's frames with unknown Welcome fields of 0 keep the defaults", async () => {
  const connection = await connected(bigFunction(), { ...(WELCOME.value as object), frameBytes: 0n, chunkBytes: 0 });
  connection.send(big(1, "70000"));
  assert.equal((await connection.next("decision")).command, 1n);
});
