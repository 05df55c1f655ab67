/** Where the SDK tells what happens, and a hook for metrics. */

import { Failure } from "./failure.js";

/** Takes log records. `console`, and the common logging libraries' loggers, fit or are easily fitted. */
export interface Logger {
  /** Takes what helps to find a mistake. */
  debug(message: string, fields?: Record<string, unknown>): void;
  /** Takes what belongs to the life of the process. */
  info(message: string, fields?: Record<string, unknown>): void;
  /** Takes what works, but probably not as meant. */
  warn(message: string, fields?: Record<string, unknown>): void;
  /** Takes what went wrong, in `fields.error` with its stack. */
  error(message: string, fields?: Record<string, unknown>): void;
}

/** A command that was answered, for metrics. */
export interface CommandRecord {
  /** The full name of the service. */
  service: string;
  /** The name of the method. */
  method: string;
  /** The gRPC status code: 0 if it did not fail. */
  code: number;
  /** How many milliseconds passed from the command's coming to its answer. */
  ms: number;
}

/** Is told of every command when it was answered. */
export type CommandHook = (record: CommandRecord) => void;

/** Logs lines on the console; without those of level debug, unless FIRN_LOG is `debug`. */
export const consoleLogger: Logger = {
  debug: (message, fields) => {
    if (process.env["FIRN_LOG"] === "debug") console.debug(line("debug", message, fields));
  },
  info: (message, fields) => console.info(line("info", message, fields)),
  warn: (message, fields) => console.warn(line("warn", message, fields)),
  error: (message, fields) => console.error(line("error", message, fields)),
};

function line(level: string, message: string, fields: Record<string, unknown> = {}): string {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== "")
    .map(([name, value]) => `${name}=${shown(value)}`);
  return [`firn ${level}: ${message}`, ...parts].join(" ");
}

function shown(value: unknown): string {
  if (value instanceof Failure) return JSON.stringify(value.message);
  if (value instanceof Error) return value.stack ?? String(value);
  return typeof value === "string" && !/\s/.test(value) ? value : JSON.stringify(value);
}
