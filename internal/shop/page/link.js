/**
 * The line to the server: the Bayeux client with the sealed extension, and what the last handshake was answered.
 *
 * @module
 */

import { BayeuxClient, BlobStore, SealedExtension } from "/sealedblob/index.js";

/** @typedef {"connecting" | "connected" | "reconnecting" | "restoring"} LinkState */
/** @typedef {{state: "restored" | "refused" | "none" | "retry", gen: string | null, dropped: string[]}} Answer */

/** Between two handshakes that we ask for ourselves. */
const RENEW_GAP = 1000;

/** Events: `state` and `answer` (detail: the {@link Answer}). */
export class Link extends EventTarget {
  store = new BlobStore({ key: "shop" });
  /** How many handshakes were answered. */
  answers = 0;
  /** Milliseconds from the loss of the connection to the last answer; 0 if none was lost. */
  gap = 0;
  /** When the connection was lost, or 0. */
  #lostAt = 0;
  #client;
  #ever = false;
  #renewedAt = 0;
  #following = 0;
  /** Whether a handshake was answered on the connection of now. */
  #reached = false;
  /** Whether the connection is down because we wanted it. */
  #renewing = false;
  /**
   * The session that the connection is attached to; "?" until a state told us which one it is.
   *
   * @type {string | null}
   */
  #attached = null;

  constructor() {
    super();
    this.#client = new BayeuxClient("/bayeux", { extensions: [new SealedExtension({ store: this.store })], backoffBase: 200, backoffMax: 4000 });
    this.#client.on("state", ({ previous }) => this.#stateChanged(previous));
    this.store.addEventListener("answer", (event) => this.#answered(/** @type {CustomEvent<Answer>} */ (event).detail));
  }

  /** @returns {LinkState} */
  get state() {
    // Once a handshake is answered there is a server; the first connect follows at once.
    if (this.#client.state === "connected" || this.#reached) return "connected";
    if (this.store.version !== null) return "restoring";
    return this.#ever ? "reconnecting" : "connecting";
  }

  start() {
    this.#client.connect().catch(() => {});
  }

  /** Shakes hands anew, with the cookies of now; not more than once a second. */
  renew() {
    if (this.#client.state !== "connected" || Date.now() - this.#renewedAt < RENEW_GAP) return;
    this.#renewedAt = Date.now();
    this.#renewing = true;
    this.#client.rehandshake().catch(() => {});
  }

  /**
   * Makes sure that the connection is attached to the session that our requests use: a WebSocket keeps the cookies of its beginning.
   *
   * @param {string} session Empty: none.
   */
  follow(session) {
    clearTimeout(this.#following);
    if (session === "") return;
    if (this.#attached === "?") this.#attached = session;
    if (this.#attached === session) return;
    this.renew();
    this.#following = window.setTimeout(() => this.follow(session), RENEW_GAP / 4);
  }

  /** Waits until a handshake after number `count` is answered; false if that takes too long. */
  async answerAfter(/** @type {number} */ count, /** @type {number} */ ms) {
    const signal = AbortSignal.timeout(ms);
    while (this.answers <= count && !signal.aborted) {
      await new Promise((resolve) => {
        this.addEventListener("answer", resolve, { once: true, signal });
        signal.addEventListener("abort", resolve, { once: true });
      });
    }
    return this.answers > count;
  }

  /** @param {string} previous */
  #stateChanged(previous) {
    const { state } = this.#client;
    if (state === "connected") {
      this.#ever = true;
      this.#renewing = false;
      this.#lostAt = 0;
    } else if (this.#ever && !this.#renewing) {
      this.#lostAt ||= Date.now();
    }
    if (state === "handshaking" || previous === "connected") {
      this.#attached = null;
      this.#reached = false;
    }
    this.dispatchEvent(new Event("state"));
  }

  /** @param {Answer} answer */
  #answered(answer) {
    if (answer.state !== "retry") {
      this.answers++;
      this.gap = this.#lostAt === 0 ? 0 : Date.now() - this.#lostAt;
      this.#attached = answer.gen === null ? null : "?";
      this.#reached = true;
    }
    this.dispatchEvent(new CustomEvent("answer", { detail: answer }));
    this.dispatchEvent(new Event("state"));
  }
}
