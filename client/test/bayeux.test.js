import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { BayeuxClient } from "../index.js";
import { startFaye, until } from "./support.js";

const sockets = /** @type {any} */ (WebSocket);

for (const transport of /** @type {const} */ (["websocket", "long-polling"])) {
  test(`${transport}: connect, subscribe, publish, disconnect`, async (t) => {
    const faye = await startFaye(t);
    const client = new BayeuxClient(faye.url, { transports: [transport], WebSocket: sockets });
    t.after(() => client.disconnect());
    /** @type {string[]} */
    const states = [];
    client.on("state", ({ state }) => states.push(state));
    await client.connect();
    assert.equal(client.transport, transport);
    /** @type {unknown[]} */
    const got = [];
    await client.subscribe("/chat/*", (message) => got.push(message.data)).ready;
    await client.publish("/chat/room", { text: "hello" });
    await until(() => got.length === 1);
    assert.deepEqual(got, [{ text: "hello" }]);
    await client.disconnect();
    assert.deepEqual(states, ["handshaking", "connecting", "connected", "disconnecting", "disconnected"]);
  });
}
