/**
 * The extension for the published CometD client, and for our own {@link BayeuxClient}.
 *
 * @module
 */

import { SealedProtocol } from "./protocol.js";
import { BlobStore } from "./store.js";
import { isObject } from "./wire.js";

/** @typedef {import("./protocol.js").BayeuxMessage} BayeuxMessage */

/**
 * The part of the CometD client that this extension touches.
 *
 * @typedef {object} CometDLike
 * @property {() => Record<string, any>} getConfiguration
 * @property {() => {type?: string, getType?: () => string} | null | undefined} [getTransport] Its type is a property from release 8 on.
 * @property {() => string[]} [getTransportTypes]
 * @property {(type: string) => {reset(init: boolean): void} | null | undefined} [findTransport]
 */

const CALLBACK_POLLING = "callback-polling";
const LONG_POLLING = "long-polling";

/** Room for the names around our part of the message. */
const SLACK = 64;

/**
 * Keeps the sealed blobs in step over a Bayeux client.
 *
 * Register it before CometD's reload extension: `cometd.registerExtension("sealed", new SealedExtension())`. Use one extension for each client.
 */
export class SealedExtension {
  /** The store, for its events and for `clear()` at logout. */
  store;
  #protocol;
  /** @type {CometDLike | null} */
  #cometd = null;
  #unhook = () => {};
  /** Characters of the handshake under way that do not count against the client's limit on outgoing messages. */
  #exempt = 0;
  /** Messages that CometD counts before its first connect; one that an extension swallows would be waited for without end. */
  #counted = 0;

  /** @param {{store?: BlobStore, key?: import("./key.js").SessionKey}} [options] */
  constructor(options = {}) {
    this.store = options.store ?? new BlobStore();
    this.#protocol = new SealedProtocol(this.store, options.key);
  }

  /**
   * @param {string} _name
   * @param {any} client
   */
  registered(_name, client) {
    if (typeof client?.getConfiguration !== "function") return;
    this.#cometd = client;
    this.#unhook = hookConfiguration(client, () => this.#exempt);
  }

  unregistered() {
    this.#unhook();
    this.#unhook = () => {};
    this.#cometd = null;
  }

  /**
   * @template {BayeuxMessage} M
   * @param {M} message
   * @returns {M}
   */
  outgoing(message) {
    try {
      return message.channel === "/meta/handshake" ? this.#handshake(message) : this.#protocol.outgoing(message);
    } catch {
      return message;
    }
  }

  /**
   * @template {BayeuxMessage} M
   * @param {M} message
   * @returns {M | null}
   */
  incoming(message) {
    try {
      return this.#receive(message);
    } catch {
      return message;
    }
  }

  /**
   * @template {BayeuxMessage} M
   * @param {M} message
   * @returns {M}
   */
  #handshake(message) {
    this.#exempt = 0;
    const full = this.#protocol.outgoing(message);
    const sealed = isObject(full.ext) ? full.ext.sealed : undefined;
    if (this.#cometd && !steer(this.#cometd, full)) return this.#protocol.outgoing(message, { present: false });
    this.#exempt = JSON.stringify(sealed).length + SLACK;
    return full;
  }

  /**
   * @template {BayeuxMessage} M
   * @param {M} message
   * @returns {M | null}
   */
  #receive(message) {
    const passed = this.#protocol.incoming(message);
    if (message.channel === "/meta/handshake") {
      this.#exempt = 0;
      this.#counted = Number(message["x-messages"]) || 0;
    } else if (this.#counted > 0 && message.data !== undefined) {
      this.#counted--;
      return passed ?? { ...message, data: {} };
    }
    return passed;
  }
}

/**
 * Widens the limit on outgoing messages by what the handshake under way needs, and by nothing else. CometD's transports ask for the configuration at each
 * send; its `configure()` would do too, but starts one more timer worker at each call.
 *
 * @param {CometDLike} cometd
 * @param {() => number} exempt
 * @returns {() => void} takes the hook away
 */
function hookConfiguration(cometd, exempt) {
  const own = Object.hasOwn(cometd, "getConfiguration");
  const original = cometd.getConfiguration;
  const hook = () => {
    const configuration = original.call(cometd);
    const limit = configuration.maxSendBayeuxMessageSize;
    if (typeof limit === "number") configuration.maxSendBayeuxMessageSize = limit + exempt();
    return configuration;
  };
  cometd.getConfiguration = hook;
  return () => {
    if (cometd.getConfiguration !== hook) return;
    if (own) cometd.getConfiguration = original;
    else Reflect.deleteProperty(cometd, "getConfiguration");
  };
}

/**
 * Keeps a handshake that is too long for an address away from callback-polling. CometD falls back to it across origins as soon as one long poll has failed, and
 * then never looks at long-polling again. The send that is under way will fail by its length; with long-polling reset, the next one takes that.
 *
 * @param {CometDLike} cometd
 * @param {BayeuxMessage} message
 * @returns {boolean} false if this handshake can never leave
 */
function steer(cometd, message) {
  const transport = cometd.getTransport?.();
  if ((transport?.type ?? transport?.getType?.()) !== CALLBACK_POLLING) return true;
  const limit = Number(cometd.getConfiguration().maxURILength) || 2000;
  if (encodeURI(JSON.stringify([message])).length < limit - SLACK) return true;
  const others = (cometd.getTransportTypes?.() ?? []).filter((type) => type !== CALLBACK_POLLING);
  if (others.length === 0) return false;
  cometd.findTransport?.(LONG_POLLING)?.reset(false);
  return true;
}
