/**
 * The extension for the Faye client: `client.addExtension(sealedFaye(store))`.
 *
 * @module
 */

import { SealedProtocol } from "./protocol.js";
import { BlobStore } from "./store.js";

/** @typedef {import("./protocol.js").BayeuxMessage} BayeuxMessage */
/** @typedef {(message: BayeuxMessage | null) => void} FayeCallback */

/**
 * Returns an extension for one Faye client.
 *
 * @param {BlobStore} [store]
 */
export function sealedFaye(store = new BlobStore()) {
  const protocol = new SealedProtocol(store);
  return {
    store,

    /**
     * @param {BayeuxMessage} message
     * @param {FayeCallback} callback
     */
    outgoing(message, callback) {
      callback(attempt(message, () => protocol.outgoing(message)));
    },

    /**
     * @param {BayeuxMessage} message
     * @param {FayeCallback} callback
     */
    incoming(message, callback) {
      callback(attempt(message, () => protocol.incoming(message)));
    },
  };
}

/**
 * @param {BayeuxMessage} message
 * @param {() => BayeuxMessage | null} step
 */
function attempt(message, step) {
  try {
    return step();
  } catch {
    return message;
  }
}
