/**
 * What the published Faye client does with a server, in Node.js and in pages.
 *
 * @module
 */

import { same, sleep, until } from "./control.js";

const TRANSPORTS = ["websocket", "long-polling", "callback-polling", "cross-origin-long-polling", "eventsource", "in-process"];

export class Scenario {
  #client;
  #control;
  #transport;
  /** What came, by channel. @type {Record<string, unknown[]>} */
  #got = {};
  /** Every message that came. @type {any[]} */
  #incoming = [];
  /** The connection type of the last connect that went. */
  #type = "";

  /**
   * @param {any} faye
   * @param {import("./control.js").Control} control
   * @param {string} url
   * @param {string} transport
   */
  constructor(faye, control, url, transport) {
    this.#control = control;
    this.#transport = transport;
    this.#client = new faye.Client(url, { timeout: 5, retry: 0.2 });
    // Faye shakes hands by HTTP, and opens its WebSocket meanwhile.
    const wanted = transport === "websocket" ? [transport, "long-polling", "callback-polling"] : [transport];
    for (const other of TRANSPORTS) if (!wanted.includes(other)) this.#client.disable(other);
    this.#client.addExtension({
      incoming: (message, pass) => {
        this.#incoming.push(structuredClone(message));
        pass(message);
      },
      outgoing: (message, pass) => {
        if (message.channel === "/meta/connect") this.#type = message.connectionType;
        pass(message);
      },
    });
  }

  #subscribe(channel) {
    return this.#client.subscribe(channel).withChannel((at, data) => (this.#got[at] ??= []).push(data));
  }

  async #expect(channel, want) {
    await until(`${want.length} messages on ${channel}`, () => (this.#got[channel] ?? []).length >= want.length);
    same(channel, this.#got[channel], want);
    this.#got[channel] = [];
  }

  #last(channel) {
    return this.#incoming.findLast((message) => message.channel === channel);
  }

  async handshake() {
    await new Promise((resolve) => this.#client.connect(resolve));
    // The first connect may go before the WebSocket is open.
    await until(`a connect over ${this.#transport}`, () => this.#type === this.#transport && this.#last("/meta/connect")?.successful);
    // The WebSocket was opened before the cookie of the handshake came, and nothing is lost by it.
    const refused = this.#incoming.filter((message) => message.successful === false);
    same("refused on a first visit", refused, []);
    await this.#control.step("handshake");
  }

  async messages() {
    const control = this.#control;
    const room = this.#subscribe("/peers/room");
    await room;
    await this.#subscribe("/peers/down");
    const text = { n: 1, text: "zażółć ✓ \u2028", list: [null, 1.5, {}] };
    await control.publish("/peers/room", text);
    await this.#expect("/peers/room", [text]);
    await control.step("receive");

    await this.#client.publish("/peers/up", "up");
    await this.#expect("/peers/down", ["up"]);
    await control.step("publish");

    // Two subscriptions cover /peers/wild/a; the message comes once, and goes to each handler.
    await this.#subscribe("/peers/wild/*");
    const deep = [];
    await this.#client.subscribe("/peers/wild/**", (data) => deep.push(data));
    await control.publish("/peers/wild/a", 1);
    await control.publish("/peers/wild/a/b", 2);
    await until("the deep message", () => deep.length >= 2);
    same("deep", deep, [1, 2]);
    await this.#expect("/peers/wild/a", [1]);
    await control.step("wildcard");

    // Faye puts into one request what is said at one time.
    const subscribed = this.#subscribe("/peers/batch");
    const published = [0, 1, 2, 3, 4].map((i) => this.#client.publish("/peers/batch", i));
    await Promise.all([subscribed, ...published]);
    await this.#expect("/peers/batch", [0, 1, 2, 3, 4]);
    await control.step("batch");

    for (const attempt of [this.#subscribe("/denied/a"), this.#client.publish("/denied/a", 1)]) {
      const error = await attempt.then(
        () => null,
        (error) => error,
      );
      same("what nobody may do", error?.code, 403);
    }
    await control.step("refused");

    room.cancel();
    await until("the unsubscription", () => this.#last("/meta/unsubscribe")?.successful);
    await control.publish("/peers/room", "too late");
    await control.publish("/peers/down", "marker");
    await this.#expect("/peers/down", ["marker"]);
    same("room on the wire", this.#incoming.filter((message) => message.data === "too late").length, 0);
    await control.step("unsubscribe");
  }

  /** The server forgets, dies, and is left. Faye renews its subscriptions. */
  async failures() {
    for (const [name, happen] of Object.entries({ forget: () => this.#control.forget(), restart: () => this.#control.restart() })) {
      const before = this.#last("/meta/handshake").clientId;
      const seen = this.#incoming.length;
      await happen();
      await until(`a new session after ${name}`, () => this.#last("/meta/handshake").clientId !== before);
      const unknown = this.#incoming.slice(seen).find((message) => message.channel === "/meta/connect" && message.successful === false);
      same(`the refusal after ${name}`, [unknown.error.slice(0, 4), unknown.advice.reconnect], ["402:", "handshake"]);
      await this.#roundTrip(name);
      await this.#control.sessions(1);
      await this.#control.step(name);
    }
    await this.#client.disconnect();
    same("disconnect", this.#last("/meta/disconnect")?.successful, true);
    await this.#control.sessions(0);
    await this.#control.step("disconnect");
  }

  /** Publishes until something comes back: the subscription may still be on its way. */
  async #roundTrip(what) {
    this.#got["/peers/down"] = [];
    for (let i = 0; i < 100; i++) {
      this.#client.publish("/peers/up", `${what} ${i}`);
      for (let j = 0; j < 20; j++) {
        if (this.#got["/peers/down"].length > 0) return;
        await sleep(10);
      }
    }
    throw new Error(`nothing came back after ${what}`);
  }
}
