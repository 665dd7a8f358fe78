import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { WebSocket } from "ws";
import { BayeuxClient, BayeuxError, BlobStore, SealedExtension } from "../index.js";
import { browser, defaultAnswer, listen, push, sleep, startCometD, startFaye, startScripted, until } from "./support.js";

/** @typedef {import("../bayeux.js").BayeuxOptions} BayeuxOptions */

const BOTH = /** @type {const} */ (["websocket", "long-polling"]);

/**
 * A client that is quick to try again, and gone with its test.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} url
 * @param {BayeuxOptions} [options]
 */
function open(t, url, options = {}) {
  const client = new BayeuxClient(url, { WebSocket: /** @type {any} */ (WebSocket), backoffBase: 10, backoffMax: 50, maxNetworkDelay: 1000, ...options });
  t.after(() => client.disconnect());
  return client;
}

/** @param {{seen: any[]}} server @param {string} channel */
function sent(server, channel) {
  return server.seen.filter((message) => message.channel === channel);
}

for (const transport of BOTH) {
  test(`${transport}: connect, subscribe, publish, disconnect`, async (t) => {
    const faye = await startFaye(t);
    const client = open(t, faye.url, { transports: [transport] });
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

  test(`${transport}: an unknown session is followed by a handshake, and by the subscriptions`, async (t) => {
    const server = await startScripted(t);
    let lost = false;
    server.state.answer = (message) => {
      if (message.channel === "/meta/connect" && lost) {
        lost = false;
        return { channel: message.channel, id: message.id, successful: false, error: "402::session_unknown", advice: { reconnect: "handshake", interval: 0 } };
      }
      return defaultAnswer(message);
    };
    const client = open(t, server.url, { transports: [transport] });
    await client.connect();
    await client.subscribe("/a", () => {}).ready;
    await client.subscribe("/b/**", () => {}).ready;
    const before = client.clientId;
    server.seen.length = 0;
    lost = true;
    await until(() => client.clientId !== before && client.state === "connected");
    assert.equal(sent(server, "/meta/handshake").length, 1);
    assert.deepEqual(sent(server, "/meta/subscribe").map((m) => m.subscription), ["/a", "/b/**"]);
    const connects = sent(server, "/meta/connect");
    assert.deepEqual(connects.find((m) => m.clientId === client.clientId).advice, { timeout: 0 }, "the first connect asks for an answer at once");
  });

  test(`${transport}: replies are matched by id, and listeners hear only their channels`, async (t) => {
    const server = await startScripted(t);
    server.state.answer = (message) => {
      if (message.channel !== "/pub") return defaultAnswer(message);
      return [
        { channel: "/pub", id: "999", successful: false, error: "403::not yours" },
        { channel: "/chat/a/b", data: 1 },
        { channel: "/pub", id: Number(message.id), successful: true },
      ];
    };
    const client = open(t, server.url, { transports: [transport] });
    await client.connect();
    /** @type {string[]} */
    const heard = [];
    for (const pattern of ["/chat/a/b", "/chat/a/*", "/chat/*", "/chat/**", "/**", "/*"]) client.subscribe(pattern, () => heard.push(pattern));
    assert.equal((await client.publish("/pub", {})).successful, true);
    assert.deepEqual(heard, ["/chat/a/b", "/chat/a/*", "/chat/**", "/**"]);
  });

  test(`${transport}: hostile replies end nothing and block nothing`, async (t) => {
    const server = await startScripted(t);
    /** @type {any[]} */
    const junk = [null, 7, "x", [], [[]], {}, { channel: 7 }, { channel: "/meta/connect" }, { channel: "/meta/handshake", successful: true, clientId: {} }];
    junk.push({ channel: "/meta/connect", id: "2", successful: "yes" }, { channel: "__proto__", data: 1 }, { channel: "/x", data: 1, advice: { timeout: 1e99, interval: "now" } });
    let bad = 3;
    server.state.answer = async (message) => {
      const reply = await defaultAnswer(message);
      if (message.channel === "/meta/handshake" && bad-- > 0) return { ...reply, clientId: bad === 2 ? 7 : "", advice: [] };
      return [...junk, reply];
    };
    const client = open(t, server.url, { transports: [transport] });
    await client.connect();
    assert.equal((await client.publish("/chat", {})).successful, true);
    assert.equal(client.state, "connected");
  });

  test(`${transport}: what comes in is bounded`, async (t) => {
    const server = await startScripted(t);
    let large = true;
    server.state.answer = async (message) => {
      const reply = await defaultAnswer(message);
      return large ? { ...reply, padding: "x".repeat(20_000) } : reply;
    };
    const client = open(t, server.url, { transports: [transport], maxIncoming: 10_000 });
    /** @type {string[]} */
    const errors = [];
    client.on("error", ({ error }) => errors.push(error.message));
    const connected = client.connect();
    await until(() => errors.length >= 2);
    assert.ok(errors.includes("too large"), String(errors));
    large = false;
    await connected;
  });

  test(`${transport}: a connect that is never answered is tried again`, async (t) => {
    const server = await startScripted(t);
    let silent = false;
    server.state.answer = (message) => (silent && message.channel === "/meta/connect" ? new Promise(() => {}) : defaultAnswer(message));
    const client = open(t, server.url, { transports: [transport], maxNetworkDelay: 100 });
    await client.connect();
    silent = true;
    await until(() => client.state === "connecting");
    silent = false;
    await until(() => client.state === "connected");
  });

  test(`${transport}: the server goes away and comes back`, async (t) => {
    const server = await startScripted(t);
    const client = open(t, server.url, { transports: [transport] });
    await client.connect();
    await client.subscribe("/a", () => {}).ready;
    server.state.down = true;
    for (const ws of server.sockets.clients) ws.terminate();
    await until(() => client.state !== "connected");
    await sleep(100);
    server.state.down = false;
    await until(() => client.state === "connected");
    assert.equal((await client.publish("/a", {})).successful, true);
  });

  test(`${transport}: a batch goes out in one piece, and publishing keeps its order`, async (t) => {
    const server = await startScripted(t);
    const client = open(t, server.url, { transports: [transport] });
    await client.connect();
    const posts = server.state.http;
    const replies = client.batch(() => {
      client.subscribe("/a", () => {});
      return [1, 2, 3].map((n) => client.publish("/a", n));
    });
    await Promise.all(replies);
    await Promise.all([4, 5, 6, 7].map((n) => client.publish("/a", n)));
    assert.deepEqual(sent(server, "/a").map((m) => m.data), [1, 2, 3, 4, 5, 6, 7]);
    assert.ok(server.state.http - posts <= 5, `${server.state.http - posts} posts`);
  });

  test(`${transport}: rehandshake takes a new connection and keeps the subscriptions`, async (t) => {
    const server = await startScripted(t);
    const client = open(t, server.url, { transports: [transport] });
    await client.connect();
    await client.subscribe("/a", () => {}).ready;
    const [before, sockets] = [client.clientId, server.state.websockets];
    await client.rehandshake();
    assert.notEqual(client.clientId, before);
    assert.equal(client.state, "connected");
    assert.equal(server.state.websockets - sockets, transport === "websocket" ? 1 : 0);
    await until(() => sent(server, "/meta/subscribe").length === 2);
    await Promise.all([client.rehandshake(), client.rehandshake()]);
    assert.equal(client.state, "connected");
  });
}

test("long-polling against cometd-nodejs-server", async (t) => {
  const { url } = await startCometD(t);
  const client = open(t, url, { transports: ["long-polling"], ...browser(WebSocket) });
  await client.connect();
  /** @type {unknown[]} */
  const got = [];
  await client.subscribe("/chat", (message) => got.push(message.data)).ready;
  await client.publish("/chat", { text: "hello" });
  await until(() => got.length === 1);
  await client.disconnect();
});

test("long-polling posts to the URL with the type of the message", async (t) => {
  const server = await startScripted(t);
  const client = open(t, server.url, { transports: ["long-polling"] });
  await client.connect();
  await client.publish("/a", {});
  await client.disconnect();
  assert.deepEqual([...new Set(server.paths)].sort(), ["/bayeux", "/bayeux/connect", "/bayeux/disconnect", "/bayeux/handshake"]);
  server.paths.length = 0;
  const other = open(t, `${server.url}?app=shop`, { transports: ["long-polling"] });
  await other.connect();
  assert.deepEqual([...new Set(server.paths)], ["/bayeux?app=shop"]);
});

test("without WebSocket on the way, long-polling is used, and stays", async (t) => {
  const server = await startScripted(t, { websocket: false });
  const client = open(t, server.url);
  await client.connect();
  assert.equal(client.transport, "long-polling");
  await client.rehandshake();
  assert.equal(client.transport, "long-polling");
  assert.equal(sent(server, "/meta/handshake").length, 2);
});

test("a WebSocket that opens and says nothing gives way to long-polling", async (t) => {
  const server = await startScripted(t);
  server.state.answer = (message, client) => (client.transport === "websocket" ? null : defaultAnswer(message));
  const client = open(t, server.url, { maxNetworkDelay: 100 });
  await client.connect();
  assert.equal(client.transport, "long-polling");
});

test("a server that is down takes nothing from WebSocket", async (t) => {
  const server = await startScripted(t);
  server.state.down = true;
  const client = open(t, server.url);
  const connected = client.connect();
  await sleep(100);
  server.state.down = false;
  await connected;
  assert.ok(BOTH.includes(/** @type {any} */ (client.transport)));
});

test("the server decides on the transport", async (t) => {
  const server = await startScripted(t);
  server.state.answer = async (message) => {
    const reply = await defaultAnswer(message);
    return message.channel === "/meta/handshake" ? { ...reply, supportedConnectionTypes: ["long-polling", "callback-polling"] } : reply;
  };
  const client = open(t, server.url);
  await client.connect();
  assert.equal(client.transport, "long-polling");
  assert.equal(sent(server, "/meta/connect")[0].via, "long-polling");
});

test("no transport in common ends it", async (t) => {
  const server = await startScripted(t);
  server.state.answer = async (message) => ({ ...(await defaultAnswer(message)), supportedConnectionTypes: ["pigeon"] });
  const client = open(t, server.url);
  await assert.rejects(client.connect(), BayeuxError);
  assert.equal(client.state, "disconnected");
});

test("advice: none ends it, whether to a handshake or to a connect", async (t) => {
  const server = await startScripted(t);
  server.state.answer = (message) => ({ channel: message.channel, id: message.id, successful: false, error: "403::handshake_denied", advice: { reconnect: "none" } });
  const client = open(t, server.url);
  await assert.rejects(client.connect(), (error) => error instanceof BayeuxError && error.code === "refused");
  assert.equal(client.state, "disconnected");
  server.state.answer = (message) => (message.channel === "/meta/connect" ? { channel: message.channel, id: message.id, successful: true, advice: { reconnect: "none" } } : defaultAnswer(message));
  await client.connect();
  await until(() => client.state === "disconnected");
});

test("advice: a refused handshake waits for the interval", async (t) => {
  const server = await startScripted(t);
  /** @type {number[]} */
  const times = [];
  server.state.answer = (message) => {
    if (message.channel !== "/meta/handshake") return defaultAnswer(message);
    times.push(Date.now());
    if (times.length > 1) return defaultAnswer(message);
    return { channel: message.channel, id: message.id, successful: false, error: "503", advice: { reconnect: "handshake", interval: 200 } };
  };
  await open(t, server.url).connect();
  assert.ok(times[1] - times[0] >= 195, `${times[1] - times[0]} ms`);
});

test("advice to a message does not outlive its reply", async (t) => {
  const server = await startScripted(t);
  server.state.answer = (message) => {
    if (message.channel !== "/x") return defaultAnswer(message);
    return { channel: "/x", id: message.id, successful: true, advice: { reconnect: "handshake", timeout: 300, interval: 0 } };
  };
  const client = open(t, server.url);
  await client.connect();
  await client.publish("/x", {});
  const connects = sent(server, "/meta/connect").length;
  await until(() => sent(server, "/meta/connect").length > connects + 1);
  assert.equal(client.state, "connected");
});

test("a publish to a server that forgot the client brings a handshake", async (t) => {
  const server = await startScripted(t);
  let lost = true;
  server.state.answer = (message) => {
    if (message.channel !== "/x" || !lost) return defaultAnswer(message);
    lost = false;
    return { channel: "/x", id: message.id, successful: false, error: "402::session_unknown", advice: { reconnect: "handshake", interval: 0 } };
  };
  const client = open(t, server.url);
  await client.connect();
  const before = client.clientId;
  await assert.rejects(client.publish("/x", {}), (error) => error instanceof BayeuxError && error.code === "refused" && error.reply?.error === "402::session_unknown");
  await until(() => client.state === "connected" && client.clientId !== before);
  assert.equal((await client.publish("/x", {})).successful, true);
});

test("a handshake that holds and connects that do not is no busy loop", async (t) => {
  const server = await startScripted(t);
  server.state.answer = (message) => {
    if (message.channel !== "/meta/connect") return defaultAnswer(message);
    return { channel: message.channel, id: message.id, successful: false, error: "402::session_unknown", advice: { reconnect: "handshake", interval: 0 } };
  };
  const client = open(t, server.url, { backoffBase: 50, backoffMax: 1000 });
  client.connect();
  await sleep(600);
  assert.ok(sent(server, "/meta/handshake").length <= 6, `${sent(server, "/meta/handshake").length} handshakes`);
});

test("connects answered at once are no busy loop", async (t) => {
  const server = await startScripted(t);
  server.state.answer = (message) => (message.channel === "/meta/connect" ? { channel: message.channel, id: message.id, successful: true } : defaultAnswer(message));
  await open(t, server.url).connect();
  await sleep(600);
  assert.ok(sent(server, "/meta/connect").length <= 12, `${sent(server, "/meta/connect").length} connects`);
});

test("a subscription that is refused is gone, one whose request was lost is repeated", async (t) => {
  const server = await startScripted(t);
  let drop = 1;
  server.state.answer = (message) => {
    if (message.channel !== "/meta/subscribe") return defaultAnswer(message);
    if (message.subscription === "/secret") return { channel: message.channel, id: message.id, successful: false, error: "403::subscribe_denied", subscription: "/secret" };
    return drop-- > 0 ? null : defaultAnswer(message);
  };
  const client = open(t, server.url, { transports: ["websocket"], maxNetworkDelay: 100 });
  await client.connect();
  await assert.rejects(client.subscribe("/secret", () => {}).ready, BayeuxError);
  await client.subscribe("/a", () => {}).ready;
  assert.deepEqual(sent(server, "/meta/subscribe").map((m) => m.subscription), ["/secret", "/a", "/a"]);
});

test("unsubscribing the last listener tells the server", async (t) => {
  const server = await startScripted(t);
  const client = open(t, server.url);
  await client.connect();
  const one = client.subscribe("/a", () => {});
  const two = client.subscribe("/a", () => {});
  await Promise.all([one.ready, two.ready]);
  assert.equal(sent(server, "/meta/subscribe").length, 1);
  one.unsubscribe();
  one.unsubscribe();
  assert.equal(sent(server, "/meta/unsubscribe").length, 0);
  two.unsubscribe();
  await until(() => sent(server, "/meta/unsubscribe").length === 1);
});

test("what is published before the connection waits for it; what cannot wait is refused", async (t) => {
  const server = await startScripted(t);
  const client = open(t, server.url, { maxQueue: 2 });
  await assert.rejects(client.publish("/a", 0), (error) => error instanceof BayeuxError && error.code === "closed");
  const connected = client.connect();
  const waiting = [client.publish("/a", 1), client.publish("/a", 2)];
  await assert.rejects(client.publish("/a", 3), (error) => error instanceof BayeuxError && error.code === "queue");
  await Promise.all([connected, ...waiting]);
  assert.deepEqual(sent(server, "/a").map((m) => m.data), [1, 2]);
});

test("bad channels are refused here", () => {
  const client = new BayeuxClient("http://localhost/bayeux", { transports: ["long-polling"] });
  const bad = ["", "a", "/", "//", "/a/", "/a//b", "/meta/connect", "/a\n", "/ä", `/${"x".repeat(300)}`];
  for (const channel of bad) {
    assert.throws(() => client.publish(channel, {}), TypeError, channel);
    assert.throws(() => client.subscribe(channel, () => {}), TypeError, channel);
  }
  assert.throws(() => client.subscribe(/** @type {any} */ (null), () => {}), TypeError);
});

test("extensions: in as registered, out in reverse, null drops, a fault is passed over", async (t) => {
  const server = await startScripted(t);
  /** @type {string[]} */
  const log = [];
  const named = (/** @type {string} */ name) => ({
    outgoing(/** @type {any} */ message) {
      if (message.channel === "/x") log.push(`${name} out`);
      return message.data === "dropped" ? null : { ...message, id: "hijacked" };
    },
    incoming(/** @type {any} */ message) {
      if (message.channel === "/x") log.push(`${name} in`);
      if (message.channel === "/x") throw new Error("fault");
    },
  });
  const client = open(t, server.url, { extensions: [named("one"), named("two")] });
  /** @type {string[]} */
  const errors = [];
  client.on("error", ({ during }) => errors.push(during));
  await client.connect();
  await client.publish("/x", 1);
  assert.deepEqual(log, ["two out", "one out", "one in", "two in"]);
  assert.deepEqual(errors, ["extension", "extension"]);
  await assert.rejects(client.publish("/x", "dropped"), BayeuxError);
});

test("a listener that throws harms no other", async (t) => {
  const server = await startScripted(t);
  server.state.answer = (message) => (message.channel === "/x" ? [{ channel: "/a", data: 1 }, { channel: "/x", id: message.id, successful: true }] : defaultAnswer(message));
  const client = open(t, server.url);
  let heard = 0;
  client.subscribe("/a", () => {
    throw new Error("fault");
  });
  client.subscribe("/a", () => heard++);
  await client.connect();
  await client.publish("/x", 1);
  assert.equal(heard, 1);
});

test("disconnect is bounded, idempotent, and connect works again after it", async (t) => {
  const server = await startScripted(t);
  const client = open(t, server.url, { maxNetworkDelay: 200 });
  await client.connect();
  server.state.answer = (message) => (message.channel === "/meta/disconnect" ? null : defaultAnswer(message));
  const pending = client.publish("/a", 1);
  const start = Date.now();
  await Promise.all([client.disconnect(), client.disconnect()]);
  assert.ok(Date.now() - start < 1000);
  await pending.catch(() => {});
  await client.disconnect();
  const again = client.connect();
  await again;
  assert.equal(client.state, "connected");
  const closing = client.disconnect();
  await client.connect();
  await closing;
  assert.equal(client.state, "connected");
});

test("disconnect while nothing answers", async (t) => {
  const url = `${await listen(t, createServer(() => {}))}/bayeux`;
  const client = open(t, url, { transports: ["long-polling"] });
  const connected = client.connect();
  await sleep(20);
  await client.disconnect();
  await assert.rejects(connected, BayeuxError);
});

test("statuses and bodies that are none of Bayeux", async (t) => {
  const bodies = ["", "<html>", "null", "7", '"x"', "{", "[[[[", "[]", '[{"channel":"/meta/handshake","successful":true}]'];
  let n = 0;
  const url = `${await listen(
    t,
    createServer((request, response) => {
      request.resume();
      n++;
      response.statusCode = [200, 500, 302, 404, 204][n % 5];
      response.end(bodies[n % bodies.length]);
    }),
  )}/bayeux`;
  const client = open(t, url, { transports: ["long-polling"], backoffBase: 1, backoffMax: 2 });
  let errors = 0;
  client.on("error", () => errors++);
  client.connect();
  await until(() => errors > 60);
  assert.equal(client.state, "handshaking");
});

test("the sealed extension: a set of 200 KiB over both transports, and the pushes", async (t) => {
  for (const transport of BOTH) {
    const server = await startScripted(t);
    let connects = 0;
    server.state.answer = async (message) => {
      const reply = await defaultAnswer(message);
      if (message.channel === "/meta/handshake") return { ...reply, ext: { sealed: { v: 1, state: "restored", gen: "1.0" } } };
      if (message.channel === "/meta/connect" && ++connects === 1) return [reply, { channel: "/service/sealed", data: push("1.1", { a: "A" }) }];
      return reply;
    };
    const store = new BlobStore({ storage: null, events: null });
    const large = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`slot${i}`, "x".repeat(10 * 1024)]));
    store.apply(push("0.7", large));
    const client = open(t, server.url, { transports: [transport], extensions: [new SealedExtension({ store })] });
    let seen = 0;
    client.on("message", () => seen++);
    await client.connect();
    await until(() => store.version === "1.1");
    assert.deepEqual(sent(server, "/meta/handshake")[0].ext.sealed.blobs, large);
    await until(() => sent(server, "/meta/connect").some((m) => m.ext.sealed.gen === "1.1"));
    assert.equal(seen, 0);
    await client.disconnect();
  }
});

test("the application's ext goes with each handshake", async (t) => {
  const server = await startScripted(t);
  let n = 0;
  const client = open(t, server.url, { ext: () => ({ token: ++n }), extensions: [new SealedExtension({ store: new BlobStore({ storage: null, events: null }) })] });
  await client.connect();
  await client.rehandshake();
  assert.deepEqual(sent(server, "/meta/handshake").map((m) => m.ext), [{ token: 1, sealed: { v: 1 } }, { token: 2, sealed: { v: 1 } }]);
});

test("after disconnect nothing of the client is left running", async (t) => {
  const resources = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  for (const transport of BOTH) {
    const server = await startScripted(t);
    const before = resources();
    const client = new BayeuxClient(server.url, { WebSocket: /** @type {any} */ (WebSocket), transports: [transport], backoffBase: 10 });
    await client.connect();
    await client.subscribe("/a", () => {}).ready;
    await client.rehandshake();
    client.publish("/a", 1);
    await client.disconnect();
    await until(() => resources() <= before, `timers: ${resources()}, before: ${before}`);
  }
});
