/** A counter for each name: a value entity. */

import { Code, Failure, valueEntity } from "firn-sdk";
import { int64, message, rpc, service, string } from "firn-sdk/schema";

/** Adds to a counter. */
const IncreaseRequest = message("IncreaseRequest", { counterId: string(), by: int64() });

/** Asks for a counter. */
const GetRequest = message("GetRequest", { counterId: string() });

/** What is stored of a counter, and shown of it. */
const Value = message("Value", { value: int64() });

export const Counter = service("demo.Counter", {
  increase: rpc(IncreaseRequest, Value, { http: { post: "/counters/{counter_id}/increase", body: "*" } }),
  get: rpc(GetRequest, Value, { http: { get: "/counters/{counter_id}" } }),
});

export const counter = valueEntity(Counter, {
  id: "counterId",
  state: Value,
  handlers: {
    increase({ by }, context) {
      if (by < 0n) throw new Failure(Code.InvalidArgument, `a counter cannot grow by ${by}`);
      const value = (context.state?.value ?? 0n) + by;
      context.set({ value });
      return { value };
    },

    get: (_, context) => context.state ?? {},
  },
});
