// The extension in the published CometD clients, as an application has them: default configuration.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import { adapt } from "cometd-nodejs-client";
import { BlobStore, SealedExtension } from "../index.js";
import { defaultAnswer, leave, push, startCometD, startScripted, until } from "./support.js";

adapt();
const require = createRequire(import.meta.url);
const { CometD } = await import("cometd");
const { ReloadExtension } = await import("cometd/ReloadExtension.js");
const page = /** @type {any} */ (globalThis).window;
page.console = { info() {}, warn() {}, debug() {} };

after(leave);

/** @type {Record<string, () => any>} */
const RELEASES = {
  9: () => new CometD(),
  7: () => new (require("cometd7").CometD)(),
};

const LARGE = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`slot${i}`, "x".repeat(10 * 1024)]));

/**
 * @param {import("node:test").TestContext} t
 * @param {any} cometd
 * @param {string} url
 * @param {{set?: Record<string, string>, transports?: string[], configuration?: object}} [options]
 */
function prepare(t, cometd, url, { set, transports = ["long-polling"], configuration = {} } = {}) {
  const store = new BlobStore({ storage: null, events: null });
  if (set) store.apply(push("0.7", set));
  const extension = new SealedExtension({ store });
  cometd.configure({ url, ...configuration });
  for (const type of cometd.getTransportTypes()) if (!transports.includes(type)) cometd.unregisterTransport(type);
  assert.equal(cometd.registerExtension("sealed", extension), true);
  t.after(() => new Promise((resolve) => (cometd.isDisconnected() ? resolve(undefined) : cometd.disconnect(resolve))));
  return { store, extension };
}

/**
 * @param {any} cometd
 * @param {object} [props]
 * @returns {Promise<any>}
 */
function handshake(cometd, props = {}) {
  return new Promise((resolve) => cometd.handshake(props, resolve));
}

/**
 * Answers as a node that restores what it gets.
 *
 * @param {any} message
 */
function restoring(message) {
  const reply = defaultAnswer(message);
  if (message.channel === "/meta/handshake") reply.ext = { sealed: { v: 1, state: message.ext.sealed.attempt ? "restored" : "none", gen: "1.0" } };
  return reply;
}

for (const [release, create] of Object.entries(RELEASES)) {
  for (const transport of ["long-polling", "websocket"]) {
    test(`CometD ${release}, ${transport}: a handshake of 200 KiB leaves with the default configuration`, async (t) => {
      const server = await startScripted(t, { answer: restoring });
      const cometd = create();
      const { store } = prepare(t, cometd, server.url, { set: LARGE, transports: [transport] });
      const reply = await handshake(cometd);
      assert.equal(reply.successful, true);
      assert.ok(server.state.largest > 200 * 1024, `${server.state.largest}`);
      const handshakes = server.seen.filter((m) => m.channel === "/meta/handshake");
      assert.equal(handshakes.length, 1);
      assert.equal(handshakes[0].via, transport);
      assert.deepEqual(handshakes[0].ext.sealed.blobs, LARGE);
      await until(() => server.seen.some((m) => m.channel === "/meta/connect"));
      assert.deepEqual(server.seen.find((m) => m.channel === "/meta/connect").ext.sealed, { v: 1, gen: "0.7" });
      assert.equal(store.version, "0.7");
    });

    test(`CometD ${release}, ${transport}: the limit stays what the application configured for all else`, async (t) => {
      const server = await startScripted(t, { answer: restoring });
      const cometd = create();
      const { extension } = prepare(t, cometd, server.url, { set: LARGE, transports: [transport], configuration: { maxSendBayeuxMessageSize: 4000 } });
      await handshake(cometd);
      assert.equal(cometd.getConfiguration().maxSendBayeuxMessageSize, 4000);
      const publish = (/** @type {number} */ size) => new Promise((resolve) => cometd.publish("/chat", { text: "x".repeat(size) }, resolve));
      assert.equal(/** @type {any} */ (await publish(5000)).successful, false);
      assert.equal(/** @type {any} */ (await publish(3000)).successful, true);
      cometd.unregisterExtension("sealed");
      assert.equal(cometd.getConfiguration().maxSendBayeuxMessageSize, 4000);
      assert.equal(Object.hasOwn(cometd, "getConfiguration"), release === "7");
      assert.equal(extension.outgoing({ channel: "/chat" }).channel, "/chat");
    });
  }

  test(`CometD ${release}: an oversized part of the application's own still counts`, async (t) => {
    const server = await startScripted(t, { answer: restoring });
    const cometd = create();
    prepare(t, cometd, server.url, { set: LARGE });
    const reply = await handshake(cometd, { ext: { own: "x".repeat(9000) } });
    assert.equal(reply.successful, false);
    assert.match(String(reply.failure.exception?.message ?? reply.failure.exception), /maxSendBayeuxMessageSize/);
    assert.equal(server.seen.length, 0);
  });

  test(`CometD ${release}: pushes are persisted and hidden, and the server is asked for what is missing`, async (t) => {
    const server = await startScripted(t);
    const pushed = [push("0.1", { a: "A" }), push("0.2", { b: "B" }, { base: "0.1" }), push("0.4", { c: "C" }, { base: "0.3" })];
    server.state.answer = async (message) => {
      const reply = await restoring(message);
      const data = message.channel === "/meta/connect" && pushed.shift();
      return data ? [{ channel: "/service/sealed", data }, { ...reply, advice: { reconnect: "retry", interval: 0, timeout: 300 } }] : reply;
    };
    const cometd = create();
    const { store } = prepare(t, cometd, server.url);
    /** @type {any[]} */
    const seen = [];
    cometd.addListener("/**", (/** @type {any} */ message) => seen.push(message.channel));
    await handshake(cometd);
    await until(() => server.seen.filter((m) => m.channel === "/meta/connect").length >= 4);
    assert.deepEqual(
      server.seen.filter((m) => m.channel === "/meta/connect").slice(0, 4).map((m) => m.ext.sealed),
      [{ v: 1 }, { v: 1, gen: "0.1" }, { v: 1, gen: "0.2" }, { v: 1, gen: "0.2" }],
    );
    assert.deepEqual(store.snapshot()?.blobs, { a: "A", b: "B" });
    assert.ok(!seen.includes("/service/sealed"), String(seen));
  });

  test(`CometD ${release}: the server is lost, the set is presented with one token until it is answered`, async (t) => {
    const server = await startScripted(t);
    let handshakes = 0;
    let connects = 0;
    server.state.answer = async (message) => {
      const reply = await defaultAnswer(message);
      if (message.channel === "/meta/handshake") {
        handshakes++;
        if (handshakes === 1) return { ...reply, ext: { sealed: { v: 1, state: "none", gen: "0.1" } } };
        if (handshakes === 2) return { ...reply, successful: false, clientId: undefined, error: "503", advice: { reconnect: "handshake", interval: 10 }, ext: { sealed: { v: 1, state: "retry" } } };
        return { ...reply, ext: { sealed: { v: 1, state: "restored", gen: "1.0" } } };
      }
      if (message.channel === "/meta/connect") {
        connects++;
        if (connects === 1) return [{ channel: "/service/sealed", data: push("0.1", { a: "A" }) }, reply];
        if (connects === 2) return { ...reply, successful: false, error: "402::session_unknown", advice: { reconnect: "handshake", interval: 0 } };
        if (connects === 3) return [{ channel: "/service/sealed", data: push("1.1", { a: "B" }) }, reply];
      }
      return reply;
    };
    const cometd = create();
    const { store } = prepare(t, cometd, server.url, { configuration: { backoffIncrement: 20 } });
    await handshake(cometd);
    await until(() => store.version === "1.1");
    const presented = server.seen.filter((m) => m.channel === "/meta/handshake").map((m) => m.ext.sealed);
    assert.deepEqual(presented[0], { v: 1 });
    assert.deepEqual(presented[1], presented[2]);
    assert.deepEqual(presented[1].blobs, { a: "A" });
    await until(() => server.seen.some((m) => m.ext?.sealed?.gen === "1.1"));
  });

  test(`CometD ${release}: a push delivered with the handshake does not stop the client`, async (t) => {
    const server = await startScripted(t);
    server.state.answer = (message) => {
      const reply = restoring(message);
      return message.channel === "/meta/handshake" ? [{ ...reply, "x-messages": 1 }, { channel: "/service/sealed", data: push("1.1", { a: "A" }) }] : reply;
    };
    const cometd = create();
    const { store } = prepare(t, cometd, server.url);
    await handshake(cometd);
    await until(() => server.seen.some((m) => m.channel === "/meta/connect"));
    assert.equal(store.version, "1.1");
  });

  test(`CometD ${release}, across origins: a large handshake finds its way back from callback-polling to long-polling`, async (t) => {
    const server = await startScripted(t, { answer: restoring });
    page.location = { host: "elsewhere.test" };
    t.after(() => delete page.location);
    const cometd = create();
    prepare(t, cometd, server.url, { set: LARGE, transports: ["long-polling", "callback-polling"], configuration: { backoffIncrement: 20 } });
    /** @type {any[]} */
    const tries = [];
    cometd.onTransportException = (/** @type {any} */ _failure, /** @type {string} */ from, /** @type {string} */ to) => tries.push(`${from} -> ${to}`);
    server.state.down = true;
    cometd.handshake();
    await until(() => tries.length >= 2);
    server.state.down = false;
    await until(() => server.seen.some((m) => m.channel === "/meta/connect"));
    assert.equal(tries[0], "long-polling -> callback-polling");
    assert.equal(tries[1], "callback-polling -> long-polling");
    assert.equal(server.seen[0].via, "long-polling");
    assert.deepEqual(server.seen[0].ext.sealed.blobs, LARGE);
  });

  test(`CometD ${release}: against cometd-nodejs-server, which knows nothing of sealing`, async (t) => {
    const { url, cometd: server } = await startCometD(t);
    /** @type {any[]} */
    const seen = [];
    server.addExtension({
      /** @param {any} _server @param {any} _session @param {any} message @param {(error?: any, go?: boolean) => void} callback */
      incoming(_server, _session, message, callback) {
        seen.push(message);
        callback(undefined, true);
      },
    });
    const cometd = create();
    const { store } = prepare(t, cometd, url, { set: LARGE });
    assert.equal((await handshake(cometd)).successful, true);
    await until(() => seen.some((m) => m.channel === "/meta/connect"));
    assert.deepEqual(seen[0].ext.sealed.blobs, LARGE);
    assert.equal(store.version, "0.7");
  });
}

test("CometD 9 with its reload extension: the replay keeps the blobs, the real handshake presents them", async (t) => {
  const items = new Map();
  page.sessionStorage = {
    getItem: (/** @type {string} */ key) => items.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => items.set(key, value),
    removeItem: (/** @type {string} */ key) => items.delete(key),
  };
  t.after(() => delete page.sessionStorage);
  const server = await startScripted(t, { answer: restoring });
  const before = new CometD();
  prepare(t, before, server.url, { set: { a: "A" } });
  before.registerExtension("reload", new ReloadExtension());
  await handshake(before);
  await until(() => server.seen.filter((m) => m.channel === "/meta/connect").length >= 2);
  /** @type {any} */ (before).reload();
  assert.equal(items.size, 1);

  server.seen.length = 0;
  let connects = 0;
  server.state.answer = (message) => {
    if (message.channel !== "/meta/connect" || ++connects > 1) return restoring(message);
    return { channel: "/meta/connect", id: message.id, successful: false, error: "402::session_unknown", advice: { reconnect: "handshake", interval: 0 } };
  };
  const after = new CometD();
  const { store } = prepare(t, after, server.url, { set: { a: "A" } });
  after.registerExtension("reload", new ReloadExtension());
  await handshake(after);
  assert.equal(server.seen.length, 0, "the handshake was replayed");
  await until(() => server.seen.length >= 3);
  assert.deepEqual(server.seen.slice(0, 2).map((m) => m.channel), ["/meta/connect", "/meta/handshake"]);
  assert.deepEqual(server.seen[1].ext.sealed.blobs, { a: "A" });
  assert.equal(store.version, "0.7");
});
