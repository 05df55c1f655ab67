/** The quick start of the SDK's README: one component of each kind, declared in code. */

// region quick-start
import { action, client, Code, data, eventSourcedEntity, Failure, FirnFunction, replicatedEntity, valueEntity } from "firn-sdk";
import { int64, list, message, rpc, service, string } from "firn-sdk/schema";

// A value entity: its state is replaced as a whole.
const Increase = message("Increase", { counterId: string(), amount: int64() });
const CounterId = message("CounterId", { counterId: string() });
const Count = message("Count", { value: int64() });
const Counter = service("counter.Counter", {
  increase: rpc(Increase, Count, { http: { post: "/counters/{counter_id}/increase", body: "*" } }),
  get: rpc(CounterId, Count, { http: { get: "/counters/{counter_id}" } }),
});

export const counter = valueEntity(Counter, {
  id: "counterId",
  state: Count,
  handlers: {
    increase({ amount }, context) {
      if (amount <= 0n) throw new Failure(Code.InvalidArgument, `the amount must be positive, not ${amount}`);
      const value = (context.state?.value ?? 0n) + amount;
      context.set({ value });
      return { value };
    },
    get: (_, context) => context.state ?? {},
  },
});

// An event sourced entity: its state is what its events add up to.
const Say = message("Say", { room: string(), text: string() });
const Room = message("Room", { room: string() });
const Said = message("Said", { text: string() });
const Lines = message("Lines", { lines: list(string()) });
const Chat = service("chat.Chat", { say: rpc(Say, Lines), read: rpc(Room, Lines) });

export const chat = eventSourcedEntity(Chat, {
  id: "room",
  state: Lines,
  events: [Said],
  snapshotEvery: 100,
  apply: (state, event) => ({ lines: [...state.lines, event.text] }),
  handlers: {
    say({ text }, context) {
      context.emit(Said, { text });
      return context.state;
    },
    read: (_, context) => context.state,
  },
});

// A replicated entity: every node that is asked has a replica, and all agree in the end.
const Page = message("Page", { page: string() });
const Views = message("Views", { count: int64() });
const Pages = service("pages.Pages", {
  view: rpc(Page, Views),
  watch: rpc(Page, Views, { kind: "server_streaming" }),
});

export const pages = replicatedEntity(Pages, {
  id: "page",
  data: data.counter(),
  handlers: {
    view(_, context) {
      context.data.increment();
      return { count: context.data.value };
    },
    async *watch(_, context) {
      for await (const counter of context.changes()) yield { count: counter.value };
    },
  },
});

// An action: stateless code. It may call other components.
const Name = message("Name", { name: string() });
const Greeting = message("Greeting", { text: string() });
const Greeter = service("greeter.Greeter", { greet: rpc(Name, Greeting) });

export const greeter = action(Greeter, {
  handlers: {
    async greet({ name }, context) {
      const { value } = await context.call(client(Counter).increase({ counterId: name, amount: 1n }));
      return { text: `Hello ${name}, for the ${value}. time` };
    },
  },
});

export const quickstart = new FirnFunction("quickstart").add(counter).add(chat).add(pages).add(greeter);
// endregion
