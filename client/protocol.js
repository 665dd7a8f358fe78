/**
 * The client's part of the sealed session protocol, free of any Bayeux library: what is added to outgoing messages, and what is taken from incoming ones.
 *
 * @module
 */

import { SessionKey } from "./key.js";
import { compareFences } from "./version.js";
import { PUSH_CHANNEL, WIRE_VERSION, isObject, readAnswer } from "./wire.js";

/** @typedef {import("./store.js").BlobStore} BlobStore */
/** @typedef {import("./store.js").Episode} Episode */

/**
 * A Bayeux message, as far as this module looks at it.
 *
 * @typedef {{channel?: unknown, id?: unknown, successful?: unknown, data?: unknown, ext?: unknown, [name: string]: unknown}} BayeuxMessage
 */

/** A session that another tab has restored elsewhere so soon after this one did is wanted by both. In milliseconds. */
const CONTESTED = 60_000;

/** The first pause before a contested session is taken back, and the longest, in milliseconds. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;

/**
 * Follows one Bayeux client over its handshakes. Use one for each client; they may share the store.
 *
 * A message is never changed: `outgoing` returns a copy, because its `ext` may be an object of the application that the next handshake uses again.
 */
export class SealedProtocol {
  #store;
  /** Whether the last handshake was answered; pushes count only then. */
  #answered = false;
  /**
   * The last handshake sent, and what it presented.
   *
   * @type {{id: unknown, presented: Episode | null}}
   */
  #asked = { id: undefined, presented: null };
  /**
   * The set that the server answered "none" to, with no session of its own: the next session owes nothing to its version.
   *
   * @type {Episode | null}
   */
  #disowned = null;
  #key;
  /**
   * The proof for a handshake that presents this, once it is made. Signing takes a moment, and a handshake can't wait for it: one that is sent too early is answered
   * with another challenge.
   *
   * @type {{presented: Episode | null, text: string} | null}
   */
  #proof = null;
  #challenged = false;
  /**
   * When the last handshake restored the session, if it did, and its version then.
   *
   * @type {{at: number, gen: string | null} | null}
   */
  #restored = null;
  /** How long the session was last left to who took it, in milliseconds. */
  #pause = 0;
  #now;
  #random;

  /**
   * @param {BlobStore} store
   * @param {SessionKey} [key]
   * @param {{now?: () => number, random?: () => number}} [clock]
   */
  constructor(store, key = new SessionKey(store.name), clock = {}) {
    this.#store = store;
    this.#key = key;
    this.#now = clock.now ?? Date.now;
    this.#random = clock.random ?? Math.random;
  }

  /**
   * Adds `ext.sealed` to a handshake or connect. With `present: false` a handshake says nothing of the blobs and leaves an open episode open.
   *
   * @template {BayeuxMessage} M
   * @param {M} message
   * @param {{present?: boolean}} [how]
   * @returns {M}
   */
  outgoing(message, how = {}) {
    switch (message.channel) {
      case "/meta/handshake":
        return withSealed(message, this.#handshake(message, how.present !== false));
      case "/meta/connect": {
        const gen = this.#store.version;
        return withSealed(message, gen === null ? { v: WIRE_VERSION } : { v: WIRE_VERSION, gen });
      }
      default:
        return message;
    }
  }

  /**
   * Takes in the answer to a handshake, or a push. A push is persisted before this returns; null says that the message was for us alone. When the session was
   * taken away soon after it was restored, the message that is returned advises a longer interval before the next handshake.
   *
   * @template {BayeuxMessage} M
   * @param {M} message
   * @returns {M | null}
   */
  incoming(message) {
    if (message.channel === "/meta/handshake") {
      this.#handshakeReply(message);
    } else if (message.channel === PUSH_CHANNEL && message.data !== undefined) {
      if (this.#answered) this.#store.apply(message.data, this.#disowned);
      return null;
    } else if (message.successful === false && isObject(message.advice) && message.advice.reconnect === "handshake") {
      return this.#calm(message, message.advice);
    }
    return message;
  }

  /**
   * Two tabs of one browser on two servers would take the session from each other for ever. Each leaves it to the other for longer each time. That it was the
   * other tab shows in the set they share, which has a newer fence then. Without one it was a login, a server that is drained, or a tab whose set is on its
   * way: that is waited for once.
   *
   * @template {BayeuxMessage} M
   * @param {M} message
   * @param {Record<string, unknown>} advice
   * @returns {M}
   */
  #calm(message, advice) {
    if (this.#restored === null) return message;
    const { at, gen } = this.#restored;
    this.#restored = null;
    const soon = this.#now() - at < CONTESTED;
    const version = this.#store.version;
    const contested = soon && gen !== null && version !== null && compareFences(version, gen) > 0;
    this.#pause = contested ? Math.min(Math.max(FIRST_PAUSE, this.#pause * 2), LONGEST_PAUSE) : 0;
    if (!soon) return message;
    const interval = Math.round(Math.max(FIRST_PAUSE, this.#pause) * (0.5 + this.#random() / 2));
    return { ...message, advice: { ...advice, interval: Math.max(interval, Number(advice.interval) || 0) } };
  }

  /**
   * @param {BayeuxMessage} message
   * @param {boolean} present
   */
  #handshake(message, present) {
    const episode = present ? this.#store.beginEpisode() : null;
    this.#answered = false;
    this.#disowned = null;
    this.#asked = { id: message.id, presented: episode };
    const proof = this.#proof && isSame(this.#proof.presented, episode) ? { proof: this.#proof.text } : {};
    if (!episode) return { v: WIRE_VERSION, ...proof };
    const { attempt, manifest, blobs } = episode;
    return { v: WIRE_VERSION, attempt, manifest, blobs, ...proof };
  }

  /** @param {string} challenge */
  async #sign(challenge) {
    const { presented } = this.#asked;
    const text = await this.#key.prove(challenge, presented);
    if (text !== null && this.#challenged) this.#proof = { presented, text };
  }

  /** @param {BayeuxMessage} message */
  #handshakeReply(message) {
    const ext = isObject(message.ext) ? message.ext : {};
    if (ext.reload === true) {
      // CometD's reload extension plays back the reply of an earlier page: no server has said anything now.
      this.#answered = message.successful === true;
      return;
    }
    if (message.id !== undefined && this.#asked.id !== undefined && String(message.id) !== String(this.#asked.id)) return;
    const answer = readAnswer(ext.sealed);
    // Without an answer of ours the server does not know of sealed sessions, or failed before it came to them: nothing was decided.
    if (answer && answer.state !== "retry") this.#conclude(answer);
    if (answer) this.#restored = answer.state === "restored" ? { at: this.#now(), gen: answer.gen } : null;
    this.#challenged = answer?.challenge !== undefined;
    if (answer?.challenge !== undefined) void this.#sign(answer.challenge);
    else if (answer) this.#proof = null;
    this.#answered = message.successful === true && answer?.state !== "retry";
    if (answer) this.#store.announce(answer);
  }

  /** @param {import("./wire.js").Answer} answer */
  #conclude(answer) {
    const { presented } = this.#asked;
    if (presented && conclude(this.#store, presented, answer)) this.#disowned = presented;
  }
}

/**
 * @param {Episode | null} one
 * @param {Episode | null} other
 */
function isSame(one, other) {
  return one?.attempt === other?.attempt && one?.manifest === other?.manifest;
}

/**
 * Does with a set what the server answered to it, unless that was "retry". Says whether the server has disowned the set: it knows of no session, so that the
 * next one owes nothing to the version of this one.
 *
 * @param {BlobStore} store
 * @param {Episode} presented
 * @param {import("./wire.js").Answer} answer
 * @returns {boolean}
 */
export function conclude(store, presented, answer) {
  if (!hasMoved(answer, presented)) store.endEpisode(presented, { refused: answer.state === "refused" });
  return answer.state === "none" && answer.gen === null;
}

/**
 * Says whether the session lives under a later fence than that of the set presented. Then the episode goes on until the first set of that fence is here: if the
 * server dies before, only the same attempt wins again.
 *
 * @param {import("./wire.js").Answer} answer
 * @param {Episode} presented
 */
function hasMoved(answer, presented) {
  if (answer.state === "refused") return false;
  return answer.state === "restored" || (answer.gen !== null && compareFences(answer.gen, presented.gen) > 0);
}

/**
 * @template {BayeuxMessage} M
 * @param {M} message
 * @param {object} sealed
 * @returns {M}
 */
function withSealed(message, sealed) {
  return { ...message, ext: { ...(isObject(message.ext) ? message.ext : {}), sealed } };
}
