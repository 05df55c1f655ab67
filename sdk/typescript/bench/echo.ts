/**
 * Commands per second of processor time: this SDK, and a bare unary echo server of @grpc/grpc-js.
 *
 * `npm run bench`. Each server is a process of its own; this one loads it for some seconds, with the
 * same messages and as many requests open, and asks it how much processor time it took. Compare the
 * two figures of one run only. The bench of the repository runs the servers behind a real Firn: the bare
 * one listens on `PORT`.
 */

import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from "@grpc/grpc-js";
import { action, eventSourcedEntity, FirnFunction, valueEntity } from "../src/index.js";
import { FirnBatchSchema } from "../src/generated/firn/v1/function_pb.js";
import { Reader } from "../src/protocol/wire.js";
import { message, rpc, service, string, uint64 } from "../src/schema.js";

const SECONDS = Number(process.env["SECONDS"] ?? 5);
const IN_FLIGHT = Number(process.env["IN_FLIGHT"] ?? 64);

const Ping = message("Ping", { id: string(), text: string() });
const State = message("State", { count: uint64() });
const Happened = message("Happened", { text: string() });
const Echo = service("bench.Echo", { echo: rpc(Ping, Ping) });
const Values = service("bench.Values", { add: rpc(Ping, Ping) });
const Events = service("bench.Events", { add: rpc(Ping, Ping) });

const echo = action(Echo, { handlers: { echo: (request) => request } });
const values = valueEntity(Values, {
  id: "id",
  state: State,
  handlers: {
    add(request, context) {
      context.set({ count: (context.state?.count ?? 0n) + 1n });
      return request;
    },
  },
});
const events = eventSourcedEntity(Events, {
  id: "id",
  state: State,
  events: [Happened],
  apply(state) {
    state.count++;
  },
  handlers: {
    add(request, context) {
      context.emit(Happened, { text: request.text });
      return request;
    },
  },
});

const same = (bytes: Buffer): Buffer => bytes;
const PING = toBinary(Ping, create(Ping, { id: "a", text: "hello, hello, hello, hello, hello" }));

/** The bare echo server, as a process. */
async function serveBare(): Promise<void> {
  const server = new Server();
  const method = {
    path: "/bench.Echo/Echo",
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: (bytes: Buffer) => fromBinary(Ping, bytes),
    responseSerialize: (reply: object) => Buffer.from(toBinary(Ping, reply as never)),
    responseDeserialize: same,
  } as const;
  server.addService(
    { echo: method },
    { echo: (call: ServerUnaryCall<object, object>, done: sendUnaryData<object>) => done(null, call.request) },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${process.env["PORT"] ?? 0}`, ServerCredentials.createInsecure(), (error, it) => (error ? reject(error) : resolve(it)));
  });
  process.send?.({ port });
}

/** How much processor time the process took when it is asked. */
function tellUsage(): void {
  process.on("disconnect", () => process.exit(0));
  process.on("message", (it) => {
    if (it === "usage") {
      const { user, system } = process.cpuUsage();
      process.send?.({ usage: (user + system) / 1e6, memory: process.memoryUsage.rss() });
    }
  });
}

async function usageOf(child: ChildProcess): Promise<number> {
  child.send("usage");
  const [answer] = (await once(child, "message")) as [{ usage: number }];
  return answer.usage;
}

async function loadBare(): Promise<void> {
  const child = fork(import.meta.filename, ["bare"]);
  const [{ port }] = (await once(child, "message")) as [{ port: number }];
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  let done = 0;
  let isOver = false;
  const one = (): void => {
    client.makeUnaryRequest("/bench.Echo/Echo", same, same, Buffer.from(PING), (error) => {
      if (error && !isOver) throw error;
      done++;
      if (!isOver) one();
    });
  };
  for (let i = 0; i < IN_FLIGHT; i++) one();
  await measure("bare unary echo", child, () => done);
  isOver = true;
  client.close();
  child.kill();
}

/** Sends a new command for every decision that comes, without looking at anything but their number. */
async function loadSdk(name: string, component: number, entities: number): Promise<void> {
  const server = new Server({ "grpc.max_receive_message_length": 64 << 20 });
  const method = {
    path: "/firn.v1.Functions/Connect",
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  } as const;
  let done = 0;
  let isOver = false;
  const connected = (call: ServerDuplexStream<Buffer, Buffer>): void => {
    let next = 0;
    const command = () => {
      const id = ++next;
      const incarnation = entities === 0 ? 0 : 1 + (id % entities);
      const opening = entities > 0 && id <= entities ? { entityId: `e${incarnation}` } : undefined;
      return {
        frame: {
          case: "command" as const,
          value: {
            id: BigInt(id),
            component,
            incarnation: BigInt(incarnation),
            message: PING,
            timeoutMs: 60_000n,
            ...(opening === undefined ? {} : { opening }),
          },
        },
      };
    };
    const send = (count: number): void => {
      const frames = Array.from({ length: count }, command);
      call.write(Buffer.from(toBinary(FirnBatchSchema, create(FirnBatchSchema, { frames }))));
    };
    let isWelcome = false;
    call.on("data", (batch: Buffer) => {
      if (!isWelcome) {
        isWelcome = true;
        const welcome = { case: "welcome" as const, value: { frameBytes: 1n << 24n, chunkBytes: 1 << 20 } };
        call.write(Buffer.from(toBinary(FirnBatchSchema, create(FirnBatchSchema, { frames: [{ frame: welcome }] }))));
        send(IN_FLIGHT);
        return;
      }
      const reader = new Reader(batch);
      let count = 0;
      while (reader.next() !== 0) {
        reader.skip();
        count++;
      }
      done += count;
      if (!isOver) send(count);
    });
    call.on("error", () => {});
  };
  server.addService({ connect: method }, { connect: connected });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, it) => (error ? reject(error) : resolve(it)));
  });
  const child = fork(import.meta.filename, ["sdk"], { env: { ...process.env, FIRN_ADDRESS: `http://127.0.0.1:${port}` } });
  await measure(name, child, () => done);
  isOver = true;
  child.kill("SIGKILL");
  server.forceShutdown();
}

async function measure(name: string, child: ChildProcess, done: () => number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1500)); // the compiler has to see the code first
  const [cpu, count, at] = [await usageOf(child), done(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const [cpuAfter, countAfter, atAfter] = [await usageOf(child), done(), performance.now()];
  const commands = countAfter - count;
  const perCpu = commands / (cpuAfter - cpu);
  const perSecond = (commands * 1000) / (atAfter - at);
  console.log(
    `${name.padEnd(24)} ${Math.round(perCpu).toString().padStart(9)} per CPU second  ` +
      `${Math.round(perSecond).toString().padStart(9)} per second  ${(1e6 / perCpu).toFixed(1)} us each`,
  );
}

const [, , role] = process.argv;
if (role === "bare") {
  tellUsage();
  // A component binds the messages that the bare server uses as well.
  if (echo.service.typeName !== "") await serveBare();
} else if (role === "sdk") {
  tellUsage();
  const fn = new FirnFunction("bench").add(echo).add(values).add(events);
  await fn.run();
} else {
  console.log(`${IN_FLIGHT} in flight, ${SECONDS} s, node ${process.versions.node}`);
  await loadBare();
  await loadSdk("action", 0, 0);
  await loadSdk("value entity", 1, 1000);
  await loadSdk("event sourced entity", 2, 1000);
  process.exit(0);
}
