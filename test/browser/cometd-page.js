/**
 * What an application with the published CometD client does: a default configuration, and one extension more.
 */

import { CometD } from "/cometd/cometd.js";
import { BlobStore, SealedExtension } from "/sealedblob/index.js";

const cometd = new CometD();
const store = new BlobStore({ key: "cometd" });
/** @type {{state: string, gen: string | null}[]} */
const answers = [];
/**
 * The characters of each handshake that left.
 *
 * @type {number[]}
 */
const handshakes = [];

store.addEventListener("answer", (event) => answers.push(/** @type {CustomEvent} */ (event).detail));
const watch = {
  /** @param {any} message */
  outgoing(message) {
    if (message.channel === "/meta/handshake") handshakes.push(JSON.stringify(message).length);
    return message;
  },
};
cometd.registerExtension("watch", /** @type {any} */ (watch));
cometd.registerExtension("sealed", /** @type {any} */ (new SealedExtension({ store })));
if (location.search.includes("long-polling")) cometd.unregisterTransport("websocket");

Object.assign(window, {
  shop: {
    answers,
    handshakes,
    start() {
      cometd.configure({ url: `${location.origin}/bayeux` });
      cometd.handshake();
    },
    transport: () => cometd.getTransport()?.type,
    connected: () => cometd.getStatus() === "connected",
    held: () => store.snapshot(),
  },
});
