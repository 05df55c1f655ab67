/** A real Firn for integration tests: the `firn` binary, started and stopped by the test. */

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";

/** How long Firn may take until it is ready, and to stop, in milliseconds. */
const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 10_000;

/** How long to wait before Firn is asked again whether it is ready, in milliseconds. */
const POLL_MS = 5;

/** How many lines of Firn's log an error shows. */
const LINES_SHOWN = 40;

/** Options of a local Firn. */
export interface LocalFirnOptions {
  /** The binary; the one that FIRN_BIN names if unset, otherwise `firn` on the PATH. */
  binary?: string;
  /** The token that functions have to send. */
  functionToken?: string;
  /** Whether functions come in on a unix socket. */
  unixSocket?: boolean;
  /** Further arguments of `firn proxy`. */
  args?: readonly string[];
}

/** Starts Firn with a store in memory on free ports, and resolves when it is ready. */
export function startFirn(options: LocalFirnOptions = {}): Promise<LocalFirn> {
  return LocalFirn.start(options);
}

/** A Firn that a test has started. Made by {@link startFirn}. */
export class LocalFirn {
  /** Where functions connect: {@link FunctionOptions.address}. */
  functionAddress = "";
  /** Where clients come in: `HOST:PORT`, for gRPC and HTTP. */
  clientAddress = "";
  /** Where the admin interface is: `HOST:PORT`. */
  adminAddress = "";
  /** What Firn has logged: one JSON record a line. */
  readonly log: string[] = [];
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #exited: Promise<void>;

  private constructor(options: LocalFirnOptions) {
    const binary = options.binary ?? findBinary();
    this.#folder = mkdtempSync(join(tmpdir(), "firn-test-"));
    const functions = options.unixSocket ? `unix:${join(this.#folder, "firn.sock")}` : "127.0.0.1:0";
    const token = options.functionToken === undefined ? [] : ["--function-token", options.functionToken];
    const args = [
      ...["proxy", "--family", "firn", "--store", "memory:"],
      ...["--listen", "127.0.0.1:0", "--function-listen", functions, "--admin", "127.0.0.1:0"],
      ...token,
      ...(options.args ?? []),
    ];
    this.#process = spawn(binary, args, { cwd: this.#folder, stdio: ["ignore", "pipe", "pipe"] });
    this.#exited = new Promise((resolve) => this.#process.once("exit", () => resolve()));
  }

  /** @internal */
  static async start(options: LocalFirnOptions): Promise<LocalFirn> {
    const firn = new LocalFirn(options);
    try {
      await firn.#ready();
      return firn;
    } catch (error) {
      await firn.stop();
      throw error;
    }
  }

  /** Resolves when a function is connected and served: from then on clients are answered. */
  async untilServing(): Promise<void> {
    const deadline = performance.now() + READY_MS_MAX;
    for (;;) {
      const { status } = await fetch(`http://${this.adminAddress}/readyz`);
      if (status === 200) return;
      if (performance.now() > deadline) {
        throw new Error([`no function was served within ${READY_MS_MAX} ms`, ...this.log.slice(-LINES_SHOWN)].join("\n"));
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Stops Firn, and removes its folder. */
  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null && this.#process.pid !== undefined) {
      this.#process.kill("SIGTERM");
      const kill = setTimeout(() => this.#process.kill("SIGKILL"), STOP_MS_MAX);
      await this.#exited;
      clearTimeout(kill);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Waits for the log line that names the addresses. */
  #ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (what: string): void => {
        clearTimeout(timer);
        reject(new Error([what, ...this.log.slice(-LINES_SHOWN)].join("\n")));
      };
      const timer = setTimeout(() => fail(`Firn was not ready within ${READY_MS_MAX} ms`), READY_MS_MAX);
      this.#process.once("error", (error) => fail(`Firn cannot be started: ${error.message}`));
      this.#process.once("exit", (code) => fail(`Firn ended with exit code ${code} before it was ready`));
      for (const stream of [this.#process.stdout!, this.#process.stderr!]) {
        createInterface({ input: stream }).on("line", (line) => {
          this.log.push(line);
          if (!line.includes("Firn is up")) return;
          const { clients, functions, admin } = JSON.parse(line) as Record<string, string>;
          this.clientAddress = clients ?? "";
          this.adminAddress = admin ?? "";
          this.functionAddress = functions?.startsWith("unix:") ? functions : `http://${functions}`;
          clearTimeout(timer);
          resolve();
        });
      }
    });
  }
}

/** The binary that FIRN_BIN names, or `firn` on the PATH. */
function findBinary(): string {
  const named = process.env["FIRN_BIN"];
  if (named) return named;
  const found = (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "firn"))
    .find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error("there is no firn on the PATH: install it, or name the binary in FIRN_BIN");
  }
  return found;
}
