// Holds the samples of policy files against the published JSON Schema, with ajv:
// node schema.js POLICY_DIR. What the schema should say of them is in
// POLICY_DIR/testdata/README.md; the loader is tested on the same files.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv/dist/2020.js";

const folder = process.argv[2];
const read = (...path) => JSON.parse(readFileSync(join(folder, ...path), "utf8"));
const schema = read("schema.json");
const ajv = new Ajv({ strict: true, strictRequired: false, allErrors: true });
ajv.addSchema(schema);
const policy = ajv.getSchema(schema.$id);
const overlay = ajv.getSchema(`${schema.$id}#/$defs/overlay`);

let wrong = 0;
const counts = {};
const fail = (message) => {
  wrong++;
  console.error(`FAIL  ${message}`);
};
for (const [kind, good] of [["ok", true], ["form", false], ["meaning", true]]) {
  const files = readdirSync(join(folder, "testdata", kind)).filter((name) => name.endsWith(".json"));
  counts[kind] = files.length;
  if (files.length < 10) fail(`only ${files.length} samples of ${kind}`);
  for (const name of files) {
    const value = read("testdata", kind, name);
    if (policy(value) !== good) fail(`${kind}/${name}: the schema says ${!good}: ${ajv.errorsText(policy.errors)}`);
    if (good && !overlay(value)) fail(`${kind}/${name}: no overlay: ${ajv.errorsText(overlay.errors)}`);
  }
}

// An overlay says only what it changes, and is checked as strictly.
const overlays = [
  [true, { version: 1 }],
  [true, { version: 1, session: { idle: "1m" } }],
  [true, { version: 1, attributes: { cart: { rollback: "refuse" } } }],
  [false, {}],
  [false, { version: 1, session: { idel: "1m" } }],
  [false, { version: 1, attributes: { cart: { ttl: 1 } } }],
  [false, { version: 1, extra: 1 }],
];
for (const [good, value] of overlays) {
  if (overlay(value) !== good) fail(`overlay ${JSON.stringify(value)}: the schema says ${!good}`);
  if (policy(value)) fail(`${JSON.stringify(value)} is no policy of its own`);
}

console.log(`schema: ${counts.ok} good, ${counts.form} of bad form, ${counts.meaning} that contradict themselves, ${overlays.length} overlays`);
process.exit(wrong === 0 ? 0 : 1);
