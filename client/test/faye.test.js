import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import { BlobStore, sealedFaye } from "../index.js";
import { defaultAnswer, leave, push, startFaye, startScripted, until } from "./support.js";

const faye = createRequire(import.meta.url)("faye");
const LARGE = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`slot${i}`, "x".repeat(10 * 1024)]));

after(leave);

/**
 * @param {string} url
 * @param {BlobStore} store
 * @param {string} transport
 */
function open(url, store, transport) {
  const client = new faye.Client(url, { retry: 0.05 });
  client.disable("autodisconnect");
  client.disable("eventsource");
  if (transport === "long-polling") client.disable("websocket");
  client.addExtension(sealedFaye(store));
  return client;
}

// Faye shakes hands by long-polling always, and then moves on to a WebSocket if it may.
for (const transport of ["long-polling", "websocket"]) {
  test(`Faye, ${transport}: presents a set of 200 KiB, takes the pushes, comes back with them`, async (t) => {
    const server = await startScripted(t);
    let connects = 0;
    server.state.answer = async (message) => {
      if (Array.isArray(message)) return null;
      const reply = await defaultAnswer(message);
      if (message.channel === "/meta/handshake") return { ...reply, ext: { sealed: { v: 1, state: "restored", gen: "1.0" } } };
      if (message.channel !== "/meta/connect") return reply;
      connects++;
      if (connects === 1) return [reply, { channel: "/service/sealed", data: push("1.1", { a: "A" }) }];
      if (connects === 2) return { channel: message.channel, id: message.id, successful: false, error: "401:x:Unknown client", advice: { reconnect: "handshake", interval: 0 } };
      return reply;
    };
    const store = new BlobStore({ storage: null, events: null });
    store.apply(push("0.7", LARGE));
    const client = open(server.url, store, transport);
    client.connect();
    await until(() => server.seen.filter((m) => m.channel === "/meta/handshake").length === 2);
    const [first, second] = server.seen.filter((m) => m.channel === "/meta/handshake").map((m) => m.ext.sealed);
    assert.deepEqual(first.blobs, LARGE);
    assert.deepEqual(second.blobs, { a: "A" });
    assert.notEqual(first.attempt, second.attempt);
    await until(() => server.seen.some((m) => m.channel === "/meta/connect" && m.via === transport && m.ext.sealed.gen === "1.1"));
    await client.disconnect();
  });
}

test("Faye: a server that knows nothing of sealing", async (t) => {
  const server = await startFaye(t);
  const store = new BlobStore({ storage: null, events: null });
  store.apply(push("0.7", LARGE));
  const client = open(server.url, store, "long-polling");
  /** @type {unknown[]} */
  const got = [];
  await client.subscribe("/chat", (/** @type {unknown} */ data) => got.push(data));
  await client.publish("/chat", { text: "hello" });
  await until(() => got.length === 1);
  assert.deepEqual(server.seen[0].ext.sealed.blobs, LARGE);
  assert.equal(store.version, "0.7");
  await client.disconnect();
});
