/** The model program of the conformance kit: `node dist/tck/main.js HOST:PORT` (or `unix:PATH`). */

import {
  action,
  actor,
  eventSourcedEntity,
  FirnFunction,
  replicatedEntity,
  valueEntity,
  type Component,
  type DataType,
  type View,
} from "../src/index.js";
import { dataSteps, TYPES, watching } from "./data.js";
import * as model from "./generated/firn/tck/v1/model_pb.js";
import { actionSteps, actors, emptyWork, eventSteps, replyOf, values, valuesTwo, valueSteps } from "./steps.js";

const actionModel = action(model.ActionModel, {
  headers: ["x-tck", "x-tck-bin"],
  handlers: {
    async unary(request, context) {
      const work = emptyWork();
      for await (const _ of actionSteps(request.steps, context, work, { count: 0n }));
      return work.forward === undefined ? replyOf(work) : context.forward(work.forward);
    },
    async collect(requests, context) {
      const work = emptyWork();
      for await (const request of requests) {
        for await (const _ of actionSteps(request.steps, context, work, { count: 0n }));
      }
      return work.forward === undefined ? replyOf(work) : context.forward(work.forward);
    },
    spread: (request, context) => actionSteps(request.steps, context, emptyWork(), { count: 0n }),
    async *converse(requests, context) {
      const [work, sent] = [emptyWork(), { count: 0n }];
      for await (const request of requests) yield* actionSteps(request.steps, context, work, sent);
    },
  },
});

const valueModel = valueEntity(model.ValueModel, {
  id: "id",
  storage: "tck-value",
  state: model.StateSchema,
  handlers: {
    async process({ id, steps }, context) {
      const work = await valueSteps(steps, context, (inner) => values.process({ id, steps: inner }));
      return work.forward === undefined ? replyOf(work) : context.forward(work.forward);
    },
  },
});

const valueModelTwo = valueEntity(model.ValueModelTwo, {
  id: "id",
  storage: "tck-two",
  state: model.StateSchema,
  passivateAfter: 60_000,
  handlers: {
    async process({ id, steps }, context) {
      const work = await valueSteps(steps, context, (inner) => valuesTwo.process({ id, steps: inner }));
      return work.forward === undefined ? replyOf(work) : context.forward(work.forward);
    },
  },
});

const eventSourcedModel = eventSourcedEntity(model.EventSourcedModel, {
  id: "id",
  storage: "tck-events",
  state: model.StateSchema,
  events: [model.AppendedSchema],
  snapshotEvery: 5,
  apply(state, event) {
    state.text += event.text;
    state.count++;
  },
  handlers: {
    async process({ steps }, context) {
      const work = await eventSteps(steps, context);
      return work.forward === undefined ? replyOf(work) : context.forward(work.forward);
    },
  },
});

const actorModel = actor(model.ActorModel, {
  id: "id",
  storage: "tck-actor",
  state: model.StateSchema,
  durability: "commit",
  handlers: {
    async process({ id, steps }, context) {
      const work = await valueSteps(steps, context, (inner) => actors.process({ id, steps: inner }));
      if (work.forward !== undefined) return context.forward(work.forward);
      return replyOf(work, Object.fromEntries(context.tags));
    },
  },
});

type DataService = typeof model.CounterModel;

/** The replicated models are alike: only the type of their data differs. */
function replicated(service: unknown, dataType: number, storage: string, options: object = {}): Component<DataService> {
  return replicatedEntity(service as DataService, {
    id: "id",
    storage,
    data: TYPES.get(dataType) as DataType<View>,
    ...options,
    handlers: { process: dataSteps, watch: watching },
  });
}

const [, , address = ""] = process.argv;
if (address === "") {
  console.error("usage: node dist/tck/main.js HOST:PORT | unix:PATH");
  process.exit(2);
}

const tck = new FirnFunction("tck", {
  address: address.startsWith("unix:") ? address : `http://${address}`,
  incarnationsMax: 64,
});
tck
  .add(actionModel)
  .add(valueModel)
  .add(valueModelTwo)
  .add(eventSourcedModel)
  .add(actorModel)
  .add(replicated(model.GrowCounterModel, 1, "tck-grow-counter"))
  .add(replicated(model.CounterModel, 2, "tck-counter", { consistency: "majority" }))
  .add(replicated(model.GrowSetModel, 3, "tck-grow-set"))
  .add(replicated(model.SetModel, 4, "tck-set"))
  .add(replicated(model.FlagModel, 5, "tck-flag"))
  .add(replicated(model.RegisterModel, 6, "tck-register"))
  .add(replicated(model.MapModel, 7, "tck-map"))
  .add(replicated(model.VoteModel, 8, "tck-vote"))
  .add(replicated(model.CounterMapModel, 9, "tck-counter-map"))
  .add(replicated(model.RegisterMapModel, 10, "tck-register-map"))
  .add(replicated(model.MultiMapModel, 11, "tck-multi-map"));
await tck.run();
