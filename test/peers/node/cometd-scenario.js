/**
 * What the published CometD client does with a server, in Node.js and in pages.
 *
 * @module
 */

import { AckExtension } from "cometd/AckExtension.js";
import { BinaryExtension } from "cometd/BinaryExtension.js";
import { CometD } from "cometd/cometd.js";
import { ReloadExtension } from "cometd/ReloadExtension.js";
import { TimeStampExtension } from "cometd/TimeStampExtension.js";
import { TimeSyncExtension } from "cometd/TimeSyncExtension.js";
import { same, sleep, until } from "./control.js";

/** The smallest and the largest byte, and a length that Z85 must pad. */
const BYTES = Uint8Array.from({ length: 259 }, (_, i) => i % 256);

/** @param {CometD} cometd @param {string} transport The only one it may use. */
function only(cometd, transport) {
  for (const type of cometd.getTransportTypes()) if (type !== transport) cometd.unregisterTransport(type);
}

export class Scenario {
  #cometd = new CometD("peer");
  #timesync = new TimeSyncExtension();
  #control;
  #url;
  #transport;
  /** What came, by channel. @type {Record<string, unknown[]>} */
  #got = {};
  /** The replies to handshakes. @type {any[]} */
  #handshakes = [];
  /** Every message that came. @type {any[]} */
  #incoming = [];

  /**
   * @param {import("./control.js").Control} control
   * @param {string} url
   * @param {string} transport
   */
  constructor(control, url, transport) {
    this.#control = control;
    this.#url = url;
    this.#transport = transport;
    const cometd = this.#cometd;
    only(cometd, transport);
    cometd.registerExtension("watch", /** @type {any} */ ({ incoming: (message) => void this.#incoming.push(structuredClone(message)) }));
    cometd.registerExtension("ack", new AckExtension());
    cometd.registerExtension("timestamp", new TimeStampExtension());
    cometd.registerExtension("timesync", this.#timesync);
    cometd.registerExtension("binary", new BinaryExtension());
    cometd.registerExtension("reload", new ReloadExtension());
    cometd.configure({ url, logLevel: "warn", backoffIncrement: 200, maxBackoff: 1000, maxNetworkDelay: 20_000 });
    cometd.addListener("/meta/handshake", (message) => {
      this.#handshakes.push(message);
      if (message.successful) this.#subscribeAgain();
    });
    cometd.addListener("/service/echo", (message) => this.#take(message));
  }

  #take(message) {
    (this.#got[message.channel] ??= []).push(message.data);
  }

  // A handshake clears the subscriptions of the old session.
  #subscribeAgain() {
    this.#cometd.subscribe("/peers/down", (message) => this.#take(message));
  }

  #subscribe(channel, handle) {
    return new Promise((resolve) => {
      const subscription = this.#cometd.subscribe(channel, handle, (reply) => resolve([reply, subscription]));
    });
  }

  /** @returns {Promise<any>} the reply */
  #publish(channel, data) {
    return new Promise((resolve) => this.#cometd.publish(channel, data, resolve));
  }

  async #expect(channel, want) {
    await until(`${want.length} messages on ${channel}`, () => (this.#got[channel] ?? []).length >= want.length);
    same(channel, this.#got[channel], want);
    this.#got[channel] = [];
  }

  /** Publishes until something comes back: the client may be between two sessions. */
  async #roundTrip(what) {
    this.#got["/peers/down"] = [];
    for (let i = 0; i < 100; i++) {
      this.#cometd.publish("/peers/up", `${what} ${i}`);
      for (let j = 0; j < 20; j++) {
        if (this.#got["/peers/down"].length > 0) return;
        await sleep(10);
      }
    }
    throw new Error(`nothing came back after ${what}`);
  }

  async handshake() {
    const reply = await new Promise((resolve) => this.#cometd.handshake(resolve));
    same("handshake", reply.successful, true);
    await until("the connection", () => this.#cometd.getStatus() === "connected" && this.#incoming.some((m) => m.channel === "/meta/connect" && m.successful));
    same("transport", this.#cometd.getTransport()?.type, this.#transport);
    await this.#control.step("handshake");
  }

  /** Publish and subscribe. */
  async messages() {
    const control = this.#control;
    const [reply, room] = await this.#subscribe("/peers/room", (message) => this.#take(message));
    same("subscribe", reply.successful, true);
    const text = { n: 1, text: "zażółć ✓ \u2028", list: [null, 1.5, {}] };
    await control.publish("/peers/room", text);
    await this.#expect("/peers/room", [text]);
    await control.step("receive");

    same("publish", (await this.#publish("/peers/up", "up")).successful, true);
    await this.#expect("/peers/down", ["up"]);
    await control.step("publish");

    // Two subscriptions cover /peers/wild/a: each handler is called once.
    const deep = [];
    await this.#subscribe("/peers/wild/*", (message) => this.#take(message));
    await this.#subscribe("/peers/wild/**", (message) => deep.push(message.data));
    await control.publish("/peers/wild/a", 1);
    await control.publish("/peers/wild/a/b", 2);
    await until("the deep message", () => deep.length >= 2);
    same("deep", deep, [1, 2]);
    await this.#expect("/peers/wild/a", [1]);
    await control.step("wildcard");

    this.#cometd.batch(() => {
      this.#cometd.subscribe("/peers/batch", (message) => this.#take(message));
      for (let i = 0; i < 5; i++) this.#cometd.publish("/peers/batch", i);
    });
    await this.#expect("/peers/batch", [0, 1, 2, 3, 4]);
    await control.step("batch");

    const [no] = await this.#subscribe("/denied/a", () => {});
    same("denied subscription", [no.successful, no.error.slice(0, 4)], [false, "403:"]);
    const never = await this.#publish("/denied/a", 1);
    same("denied message", [never.successful, never.error.slice(0, 4)], [false, "403:"]);
    await control.step("refused");

    const left = await new Promise((resolve) => this.#cometd.unsubscribe(room, resolve));
    same("unsubscribe", left.successful, true);
    await control.publish("/peers/room", "too late");
    await control.publish("/peers/down", "marker");
    await this.#expect("/peers/down", ["marker"]);
    same("room", this.#got["/peers/room"], []);
    same("room on the wire", this.#incoming.filter((m) => m.data === "too late").length, 0);
    await control.step("unsubscribe");

    this.#cometd.publish("/service/echo", { a: [1] });
    await this.#expect("/service/echo", [{ a: [1] }]);
    await control.step("service");
  }

  async extensions() {
    const handshake = this.#incoming.find((m) => m.channel === "/meta/handshake");
    // Bayeux writes UTC without saying so.
    if (!(Math.abs(Date.parse(`${handshake.timestamp}Z`) - Date.now()) < 60_000)) throw new Error(`timestamp ${handshake.timestamp}`);
    await this.#control.step("timestamp");

    const answers = this.#incoming.filter((m) => m.ext?.timesync).map((m) => m.ext.timesync);
    if (answers.length === 0) throw new Error("no timesync");
    for (const { tc, ts, p, a } of answers) same("timesync", [tc, ts, p, a].map((n) => typeof n), ["number", "number", "number", "number"]);
    // One clock: what is left is the time on the way.
    if (Math.abs(this.#timesync.getTimeOffset()) > 500) throw new Error(`time offset ${this.#timesync.getTimeOffset()} ms`);
    await this.#control.step("timesync");

    same("ack", typeof this.#incoming.findLast((m) => m.channel === "/meta/connect").ext.ack, "number");
    const clientId = this.#cometd.getClientId();
    await this.#control.lose("/peers/down", "lost once");
    await this.#control.publish("/peers/down", "after it");
    await this.#expect("/peers/down", ["lost once", "after it"]);
    same("clientId", this.#cometd.getClientId(), clientId);
    await this.#control.step("ack");

    const back = [];
    await this.#subscribe("/peers/binary/down", (message) => back.push(message.data));
    this.#cometd.publishBinary("/peers/binary/up", BYTES, true, { name: "bytes" });
    await until("the bytes", () => back.length > 0);
    same("bytes", [...new Uint8Array(back[0].data)], [...BYTES].reverse());
    same("bytes' meta", [back[0].last, back[0].meta], [true, { name: "bytes" }]);
    await this.#control.step("binary");
  }

  /** Leaves the page as an application would, and misses a message; returns what the next page must find again. */
  async leave() {
    const clientId = this.#cometd.getClientId();
    /** @type {any} */ (this.#cometd).reload();
    await this.#control.publish("/peers/down", "between two pages");
    return clientId;
  }

  /** @param {string | null} clientId Of the page before. */
  async enter(clientId) {
    const reply = await new Promise((resolve) => this.#cometd.handshake(resolve));
    same("reload", [reply.successful, reply.ext.reload, reply.clientId], [true, true, clientId]);
    await this.#expect("/peers/down", ["between two pages"]);
    await this.#roundTrip("reload");
    same("clientId", this.#cometd.getClientId(), clientId);
    same("handshakes sent", this.#incoming.filter((m) => m.channel === "/meta/handshake" && !m.ext?.reload).length, 0);
    await this.#control.sessions(1);
    await this.#control.step("reload");
  }

  /** Another client says nothing, and is told to go. */
  async idle() {
    const cometd = new CometD("idle");
    only(cometd, this.#transport);
    cometd.registerExtension("idle", /** @type {any} */ ({ outgoing: (message) => void (message.channel === "/meta/handshake" && (message.ext = { ...message.ext, idle: true })) }));
    cometd.configure({ url: this.#url, logLevel: "warn" });
    let advice = {};
    cometd.addListener("/meta/connect", (message) => (advice = message.advice ?? advice));
    same("idle handshake", (await new Promise((resolve) => cometd.handshake(resolve))).successful, true);
    await until("the end of an idle client", () => cometd.isDisconnected());
    same("last advice", advice.reconnect, "none");
    await this.#control.step("activity");
  }

  /** The server forgets, dies, and is left. */
  async failures() {
    for (const [name, happen] of Object.entries({ forget: () => this.#control.forget(), restart: () => this.#control.restart() })) {
      const before = this.#cometd.getClientId();
      const seen = this.#incoming.length;
      await happen();
      await until(`a new session after ${name}`, () => this.#cometd.getClientId() !== before && this.#cometd.getStatus() === "connected");
      const unknown = this.#incoming.slice(seen).find((m) => m.channel === "/meta/connect" && m.successful === false && m.error);
      same(`the refusal after ${name}`, [unknown.error.slice(0, 4), unknown.advice.reconnect], ["402:", "handshake"]);
      await this.#roundTrip(name);
      await this.#control.sessions(1);
      await this.#control.step(name);
    }
    const bye = await new Promise((resolve) => this.#cometd.disconnect(resolve));
    same("disconnect", bye.successful, true);
    await this.#control.sessions(0);
    await this.#control.step("disconnect");
  }
}
