/** A process that serves the components of the tests at FIRN_ADDRESS until it is told to stop. */

import { FirnFunction } from "../../src/index.js";
import { componentsWith, Gates } from "./fixtures.js";

const { values, events, actors, counters, actions } = componentsWith(new Gates());
const fn = new FirnFunction("serve");
for (const component of [values, events, actors, counters, actions]) fn.add(component);
await fn.run();
