/**
 * Tests of functions: in memory with {@link kit} and {@link replicas}, or with a real Firn that
 * {@link startFirn} starts.
 *
 * @module
 */

export { kit, Kit, type KitOptions, type Outcome, type SeenEffect, type SeenTarget, type SeenTimer } from "./testing/kit.js";
export { replicas, Replicas } from "./testing/replicas.js";
export { LocalFirn, startFirn, type LocalFirnOptions } from "./testing/local.js";
