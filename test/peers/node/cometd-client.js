// The published CometD client in Node.js: CONTROL URL TRANSPORT.
import { adapt } from "cometd-nodejs-client";
import { WebSocket } from "ws";
import { Control } from "./control.js";

/** As much of sessionStorage as the reload extension uses: what a window keeps while its pages come and go. */
class Storage {
  #items = new Map();

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, String(value));
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

/** @type {any} */ (globalThis).window = { sessionStorage: new Storage() };
adapt();

// The adapter's WebSocket keeps no cookies, so that a session would end with its connection. Applications can mend that.
let cookie = "";
/** @type {any} */ (globalThis.window).WebSocket = class extends /** @type {any} */ (WebSocket) {
  constructor(url, protocols) {
    super(url, protocols, { headers: cookie ? { Cookie: cookie } : {} });
    this.on("upgrade", ({ headers }) => headers["set-cookie"] && ([cookie] = headers["set-cookie"][0].split(";")));
  }
};

const { Scenario } = await import("./cometd-scenario.js");
const [host, url, transport] = process.argv.slice(2);
const control = new Control(host);
try {
  const page = new Scenario(control, url, transport);
  await page.handshake();
  await page.messages();
  await page.extensions();
  const left = await page.leave();
  const next = new Scenario(control, url, transport);
  await next.enter(left);
  await next.idle();
  await next.failures();
  process.exit(0);
} catch (error) {
  await control.fail(error);
  process.exit(1);
}
