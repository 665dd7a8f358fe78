// The whole way against the project's own server: two nodes behind one address, one of them killed.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { BayeuxClient, BlobStore, SealedExtension, compareVersions } from "../index.js";
import { browser, until } from "./support.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const hasGo = spawnSync("go", ["version"]).status === 0;
const skip = !hasGo && "no Go toolchain";
const policy = { version: 1, session: { idle: "30m", absolute: "12h" }, attributes: { login: { ttl: "60s", on_expiry: "drop" }, cart: { ttl: "1h" }, ticket: { ttl: "10m", once: true } } };

let folder = "";

before(() => {
  if (!hasGo) return;
  folder = mkdtempSync(join(tmpdir(), "sealedblob-client-"));
  execFileSync("go", ["build", "-o", join(folder, "blobctl"), "./cmd/blobctl"], { cwd: root });
  execFileSync(join(folder, "blobctl"), ["keyring", "init", "--dir", join(folder, "ring")]);
  writeFileSync(join(folder, "policy.json"), JSON.stringify(policy));
});

after(() => {
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/**
 * Starts a node; the nodes of a test share a store.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} name
 */
async function startNode(t, name) {
  const store = `file:${join(folder, `replay-${t.name.replaceAll(/\W/g, "")}`)}`;
  const args = ["serve", "--listen", "127.0.0.1:0", "--name", name, "--keyring", join(folder, "ring"), "--policy", join(folder, "policy.json"), "--replay", store];
  const child = spawn(join(folder, "blobctl"), args, { stdio: ["ignore", "pipe", "ignore"] });
  t.after(() => child.kill("SIGKILL"));
  const line = await new Promise((resolve, reject) => {
    child.stdout.once("data", (data) => resolve(String(data)));
    child.once("exit", () => reject(new Error("the node did not start")));
  });
  return { port: Number(new URL(line.trim()).port), kill: () => child.kill("SIGKILL") };
}

/**
 * Starts the front: connections go to the node it points at.
 *
 * @param {import("node:test").TestContext} t
 */
async function startFront(t) {
  const front = { port: 0, url: "" };
  const server = createServer((socket) => {
    const node = connect(front.port, "127.0.0.1");
    socket.on("error", () => node.destroy()).on("close", () => node.destroy());
    node.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    socket.pipe(node).pipe(socket);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  t.after(() => server.close());
  front.url = `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}`;
  return front;
}

for (const transport of /** @type {const} */ (["websocket", "long-polling"])) {
  test(`${transport}: a session outlives its node`, { skip, timeout: 60_000 }, async (t) => {
    const [one, two] = [await startNode(t, "one"), await startNode(t, "two")];
    const front = await startFront(t);
    front.port = one.port;
    const page = browser(WebSocket);
    const call = async (/** @type {string} */ path, /** @type {object} */ body) => {
      const response = await page.fetch(front.url + path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      return /** @type {Promise<any>} */ (response.json());
    };
    await call("/api/login", { user: "Ada" });
    const first = (await call("/api/cart", { item: "programme" })).state;
    assert.equal(first.node, "one");

    const store = new BlobStore({ storage: null, events: null });
    /** @type {any[]} */
    const answers = [];
    store.addEventListener("answer", (event) => answers.push(/** @type {CustomEvent} */ (event).detail));
    const client = new BayeuxClient(`${front.url}/bayeux`, { transports: [transport], extensions: [new SealedExtension({ store })], backoffBase: 50, backoffMax: 200, ...page });
    t.after(() => client.disconnect());
    await client.connect();
    await until(() => compareVersions(store.version, first.version) > 0, "the set");
    assert.deepEqual(Object.keys(store.snapshot()?.blobs ?? {}).length, 2);

    const second = (await call("/api/cart", { item: "poster" })).state;
    await until(() => compareVersions(store.version, second.version) > 0, "the next set");

    front.port = two.port;
    one.kill();
    await until(() => answers.some((answer) => answer.state === "restored"), "restored on the other node");
    await until(() => store.version?.startsWith("1."), "the set of the new fence");
    const there = (await call("/api/cart", { item: "mug" })).state;
    assert.equal(there.node, "two");
    assert.equal(there.session, second.session);
    assert.deepEqual(there.attributes.map((/** @type {any} */ a) => a.name).sort(), ["cart", "login"]);
    await until(() => compareVersions(store.version, there.version) > 0, "the set after the restore");

    await call("/api/logout", {});
    await until(() => store.version === null, "dropped at logout");
  });
}
