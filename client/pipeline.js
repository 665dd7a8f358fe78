/**
 * The extensions of a client, one after the other.
 *
 * @module
 */

import { asError } from "./transports.js";

/** @typedef {import("./transports.js").Message} Message */

/**
 * As in CometD: `outgoing` and `incoming` return the message to go on with, or null to drop it. Incoming runs in the order of registration, outgoing in reverse.
 *
 * @typedef {object} Extension
 * @property {(name: string, client: any) => void} [registered]
 * @property {() => void} [unregistered]
 * @property {(message: any) => any} [outgoing]
 * @property {(message: any) => any} [incoming]
 */

export class Pipeline {
  /** @type {Extension[]} */
  #extensions = [];
  #report;

  /** @param {(error: Error) => void} report Told of an extension that throws; its message goes on unchanged. */
  constructor(report) {
    this.#report = report;
  }

  /**
   * @param {Extension} extension
   * @param {unknown} client
   */
  add(extension, client) {
    this.#extensions.push(extension);
    extension.registered?.("", client);
  }

  /** @param {Extension} extension */
  remove(extension) {
    const at = this.#extensions.indexOf(extension);
    if (at < 0) return;
    this.#extensions.splice(at, 1);
    extension.unregistered?.();
  }

  /**
   * @param {Message} message
   * @returns {Message | null} null if an extension dropped it
   */
  outgoing(message) {
    const result = this.#run(this.#extensions.toReversed(), "outgoing", message);
    // The id is the client's own: the reply is found by it.
    return result && { ...result, id: message.id };
  }

  /**
   * @param {Message} message
   * @returns {Message | null} null if an extension dropped it
   */
  incoming(message) {
    return this.#run([...this.#extensions], "incoming", message);
  }

  /**
   * @param {Extension[]} extensions
   * @param {"outgoing" | "incoming"} direction
   * @param {Message} message
   * @returns {Message | null}
   */
  #run(extensions, direction, message) {
    /** @type {Message | null} */
    let current = message;
    for (const extension of extensions) {
      try {
        /** @type {Message | null | undefined} */
        const result = extension[direction]?.(current);
        if (result !== undefined) current = result;
      } catch (error) {
        this.#report(asError(error));
      }
      if (current === null) return null;
    }
    return current;
  }
}
