/** Runs the quick start. */

import { quickstart } from "./quickstart.js";

await quickstart.run();
