// The published CometD client in Node.js: CONTROL URL TRANSPORT.
import { adapt } from "cometd-nodejs-client";
import { WebSocket } from "ws";
import { Control } from "./control.js";

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
const scenario = new Scenario(control, url, transport);
try {
  await scenario.handshake();
  await scenario.messages();
  await scenario.extensions();
  await scenario.failures();
  process.exit(0);
} catch (error) {
  await control.fail(error);
  process.exit(1);
}
