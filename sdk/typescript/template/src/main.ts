/** The function. Firn is at FIRN_ADDRESS, which `firn dev` sets. */

import { FirnFunction } from "firn-sdk";
import { counter } from "./counter.js";

await new FirnFunction("{{name}}", { version: "0.1.0" }).add(counter).run();
