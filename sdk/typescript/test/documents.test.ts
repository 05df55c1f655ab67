/** What is written in several places is the same: README and sample, generated code, versions. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { test } from "node:test";
import { VERSION } from "../src/index.js";

const HERE = join(import.meta.dirname, "..", "..");
const ROOT = join(HERE, "..", "..");

function text(...path: string[]): string {
  return readFileSync(join(...path), "utf8");
}

test("the code in the README is that of the sample", () => {
  const readme = text(HERE, "README.md");
  const snippets = [...readme.matchAll(/<!-- (\S+): (\S+) -->\n```ts\n(.*?)```/gs)];
  assert.equal(snippets.length, 2);
  for (const [, path = "", region = "", shown = ""] of snippets) {
    const pattern = new RegExp(`// region ${region}\n(.*?)// endregion`, "s");
    const expected = pattern.exec(text(ROOT, path))?.[1];
    assert.equal(shown, expected, `${path}, region ${region}: copy it into README.md`);
  }
});

test("versions are the same everywhere", () => {
  const json = JSON.parse(text(HERE, "package.json")) as { version: string };
  assert.equal(json.version, VERSION);
});

test("lock files name no registry", () => {
  for (const folder of [HERE, join(ROOT, "samples", "typescript")]) {
    assert.doesNotMatch(text(folder, "package-lock.json"), /"resolved": "http/);
  }
});

function filesBelow(folder: string): string[] {
  const all = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = all.filter((it) => it.isFile() && !/node_modules|dist/.test(it.parentPath));
  return files.map((it) => relative(folder, join(it.parentPath, it.name))).sort();
}

/** Generates into a copy of a folder's configuration, and compares with what is committed. */
function isFresh(folder: string, outputs: Record<string, string[]>): void {
  const copy = mkdtempSync(join(tmpdir(), "firn-generated-"));
  try {
    for (const [output, args] of Object.entries(outputs)) {
      const template = JSON.stringify({
        version: "v2",
        plugins: [
          {
            local: ["node", join(folder, "node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es")],
            out: join(copy, output),
            opt: ["target=ts", "import_extension=js"],
          },
        ],
      });
      const buf = join(folder, "node_modules/@bufbuild/buf/bin/buf");
      execFileSync(process.execPath, [buf, "generate", ...args, "--template", template], { cwd: folder });
      const committed = filesBelow(join(folder, output));
      assert.deepEqual(filesBelow(join(copy, output)), committed, "run npm run generate");
      for (const file of committed) {
        assert.equal(text(copy, output, file), text(folder, output, file), `${file}: run npm run generate`);
      }
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
}

test("generated code is fresh", () => {
  const [firn, google] = ["../../proto/firn", "../../proto/google"];
  isFresh(HERE, {
    "src/generated": ["../../proto", "--path", firn, "--path", google],
    "tck/generated": ["../../tck/proto", "--path", "../../tck/proto/firn/tck/v1"],
  });
});

test("the sample's generated code is fresh", { skip: !existsSync(join(ROOT, "samples/typescript/node_modules")) }, () => {
  isFresh(join(ROOT, "samples/typescript"), { "src/generated": ["../..", "--config", "buf.proto.yaml"] });
});

test("the template compiles and passes its tests", () => {
  const folder = mkdtempSync(join(tmpdir(), "firn-template-"));
  try {
    cpSync(join(HERE, "template"), folder, { recursive: true });
    const manifest = join(folder, "package.json");
    const written = text(manifest).replace("{{name}}", "made").replace("{{sdk}}", '"*"');
    writeFileSync(manifest, written);
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(HERE, join(folder, "node_modules", "firn-sdk"));
    for (const name of ["@types", "undici-types"]) {
      symlinkSync(join(HERE, "node_modules", name), join(folder, "node_modules", name));
    }
    const run = (...args: string[]) => {
      const { status, stdout } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8", env: {} });
      assert.equal(status, 0, stdout);
    };
    run(join(HERE, "node_modules/typescript/bin/tsc"));
    run(join(folder, "dist/test/counter.test.js"));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
