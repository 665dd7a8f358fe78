// Peers for the tests: Bayeux servers on loopback, a storage shared by tabs, a page for CometD.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { WebSocketServer } from "ws";

const require = createRequire(import.meta.url);

/** A localStorage of one origin, with its limits and its events. */
export class FakeStorage {
  /** @type {Map<string, string>} */
  items = new Map();
  quota = Infinity;
  denied = false;

  /** @param {string} key */
  getItem(key) {
    this.#check();
    return this.items.get(key) ?? null;
  }

  /**
   * @param {string} key
   * @param {string} value
   */
  setItem(key, value) {
    this.#check();
    if (value.length > this.quota) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, value);
  }

  /** @param {string} key */
  removeItem(key) {
    this.#check();
    this.items.delete(key);
  }

  #check() {
    if (this.denied) throw new DOMException("denied", "SecurityError");
  }
}

/**
 * Listens on loopback and stops with the test.
 *
 * @param {import("node:test").TestContext} t
 * @param {import("node:http").Server} server
 * @returns {Promise<string>} the address
 */
export async function listen(t, server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}`;
}

/**
 * Starts the server of the faye package; all messages that come in are in `seen`.
 *
 * @param {import("node:test").TestContext} t
 */
export async function startFaye(t) {
  const faye = require("faye");
  const bayeux = new faye.NodeAdapter({ mount: "/bayeux", timeout: 5 });
  /** @type {any[]} */
  const seen = [];
  bayeux.addExtension({
    /** @param {any} message @param {(m: any) => void} callback */
    incoming(message, callback) {
      seen.push(structuredClone(message));
      callback(message);
    },
  });
  const server = createServer();
  bayeux.attach(server);
  return { url: `${await listen(t, server)}/bayeux`, seen, bayeux };
}

/**
 * Starts the server of the cometd-nodejs-server package (long-polling only).
 *
 * @param {import("node:test").TestContext} t
 */
export async function startCometD(t) {
  const cometd = require("cometd-nodejs-server").createCometDServer({ timeout: 2000, maxInterval: 3000 });
  const server = createServer(cometd.handle);
  t.after(() => cometd.close());
  return { url: `${await listen(t, server)}/cometd`, cometd };
}

/**
 * @typedef {object} ScriptedOptions
 * @property {(message: any, client: ScriptedClient) => any} [answer] The reply to one message, or a list of messages, or null for none. Default: yes.
 * @property {boolean} [websocket]
 */

/** @typedef {{socket?: import("ws").WebSocket, transport: string}} ScriptedClient */

/**
 * Starts a Bayeux server that answers as the test says, over both transports.
 *
 * @param {import("node:test").TestContext} t
 * @param {ScriptedOptions} [options]
 */
export async function startScripted(t, options = {}) {
  /** @type {any[]} */
  const seen = [];
  /** @type {string[]} */
  const paths = [];
  const state = { seen, paths, answer: options.answer ?? defaultAnswer, url: "", largest: 0, websockets: 0, http: 0, down: false };
  /** @param {string} body @param {ScriptedClient} client */
  const handle = async (body, client) => {
    state.largest = Math.max(state.largest, body.length);
    const messages = JSON.parse(body);
    /** @type {any[]} */
    const replies = [];
    for (const message of Array.isArray(messages) ? messages : [messages]) {
      seen.push({ ...message, via: client.transport });
      const reply = await state.answer(message, client);
      replies.push(...(Array.isArray(reply) ? reply : reply ? [reply] : []));
    }
    return JSON.stringify(replies);
  };
  const server = createServer(async (request, response) => {
    if (state.down) return void request.socket.destroy();
    state.http++;
    paths.push(request.url ?? "");
    let body = "";
    for await (const chunk of request) body += chunk;
    const text = await handle(body, { transport: "long-polling" });
    response.setHeader("Content-Type", "application/json");
    response.end(text);
  });
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    if (options.websocket === false || state.down) return void socket.destroy();
    state.websockets++;
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.on("message", async (data) => {
        const text = await handle(String(data), { socket: ws, transport: "websocket" });
        if (text !== "[]") ws.send(text);
      });
    });
  });
  t.after(() => sockets.clients.forEach((ws) => ws.terminate()));
  state.url = `${await listen(t, server)}/bayeux`;
  return { ...state, state, sockets };
}

let clients = 0;

/**
 * Says yes to everything; holds connects for a while.
 *
 * @param {any} message
 * @returns {any}
 */
export function defaultAnswer(message) {
  const base = { channel: message.channel, id: message.id, successful: true };
  switch (message.channel) {
    case "/meta/handshake":
      return { ...base, version: "1.0", clientId: `client${++clients}`, supportedConnectionTypes: ["websocket", "long-polling"], advice: { reconnect: "retry", interval: 0, timeout: 300 } };
    case "/meta/connect":
      return message.advice?.timeout === 0 ? { ...base, advice: { reconnect: "retry", interval: 0, timeout: 300 } } : sleep(300).then(() => base);
    case "/meta/subscribe":
    case "/meta/unsubscribe":
      return { ...base, subscription: message.subscription };
    default:
      return base;
  }
}

/**
 * @param {number} ms
 * @returns {Promise<void>}
 */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Waits until the condition holds; fails after five seconds.
 *
 * @param {() => unknown} condition
 * @param {string} [what]
 */
export async function until(condition, what = condition.toString()) {
  const end = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await sleep(5);
  }
}

/**
 * A push as the server sends it.
 *
 * @param {string} gen
 * @param {Record<string, string>} set
 * @param {Record<string, unknown>} [more]
 */
export function push(gen, set, more = {}) {
  return { v: 1, gen, manifest: `manifest-${gen}`, set, ...more };
}

/**
 * A fetch and a WebSocket with the cookies of one browser.
 *
 * @param {any} WebSocket
 */
export function browser(WebSocket) {
  /** @type {Map<string, string>} */
  const jar = new Map();
  const cookie = () => [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
  /** @param {string[]} lines */
  const keep = (lines) => {
    for (const line of lines) {
      const [pair] = line.split(";");
      jar.set(pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1));
    }
  };
  return {
    jar,
    /** @param {RequestInfo | URL} input @param {RequestInit} [init] */
    async fetch(input, init = {}) {
      const response = await fetch(input, { ...init, headers: { ...init.headers, ...(jar.size > 0 && { Cookie: cookie() }) } });
      keep(response.headers.getSetCookie());
      return response;
    },
    WebSocket: /** @type {typeof globalThis.WebSocket} */ (
      /** @type {unknown} */ (
        class extends WebSocket {
          /** @param {string} url */
          constructor(url) {
            super(url, { headers: { Cookie: cookie() } });
            /** @type {any} */ (this).on("upgrade", (/** @type {any} */ response) => keep(response.headers["set-cookie"] ?? []));
          }
        }
      )
    ),
  };
}

/** Ends the process of a test file though a foreign client goes on repeating requests after it said good-bye. */
export function leave() {
  setTimeout(() => process.exit(), 500).unref();
}
