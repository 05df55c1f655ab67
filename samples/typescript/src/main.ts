/** A function with a shopping cart and a leaderboard. Firn is at FIRN_ADDRESS. */

import { FirnFunction } from "firn-sdk";
import { cart } from "./cart.js";
import { leaderboard } from "./leaderboard.js";

await new FirnFunction("sample", { version: "0.1.0" }).add(cart).add(leaderboard).run();
