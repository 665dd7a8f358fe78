/**
 * Requests and their replies: which messages wait for an answer, and for how long.
 *
 * @module
 */

/** @typedef {import("./transports.js").Message} Message */

/**
 * @template T
 * @typedef {{promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void}} Deferred
 */

/** @typedef {{message: Message, reply: Deferred<Message>}} Item */

/**
 * An error of the client. `code` says which kind: refused (the server said no; see `reply`), transport, timeout, closed, queue, protocol.
 */
export class BayeuxError extends Error {
  /**
   * @param {string} message
   * @param {"refused" | "transport" | "timeout" | "closed" | "queue" | "protocol"} code
   * @param {Message} [reply]
   */
  constructor(message, code, reply) {
    super(typeof reply?.error === "string" ? `${message}: ${reply.error.slice(0, 200)}` : message);
    this.name = "BayeuxError";
    this.code = code;
    this.reply = reply;
  }
}

/**
 * Returns a promise with its two ends. That nobody waits for it is no fault.
 *
 * @template T
 * @returns {Deferred<T>}
 */
export function deferred() {
  /** @type {Partial<Deferred<T>>} */
  const result = {};
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }));
  result.promise.catch(() => {});
  return /** @type {Deferred<T>} */ (result);
}

/**
 * Says whether the server does not know the client any more. The advice decides; the code 402 alone does where there is no advice.
 *
 * @param {Message | undefined} reply
 */
export function isUnknownSession(reply) {
  if (!reply || reply.successful === true) return false;
  const reconnect = reply.advice?.reconnect;
  return reconnect === "handshake" || (typeof reconnect !== "string" && typeof reply.error === "string" && reply.error.startsWith("402"));
}

/** The messages of one client that wait for a reply. */
export class Exchange {
  #lastId = 0;
  /** @type {Map<string, {channel: string, reply: Deferred<Message>, done: () => void, fail: (error: Error) => void}>} */
  #waiting = new Map();

  /**
   * Gives each message an id and starts waiting for its reply.
   *
   * @param {Item[]} items
   * @param {number} timeout
   * @param {AbortSignal} signal
   */
  open(items, timeout, signal) {
    const abort = new AbortController();
    const ids = items.map(() => String(++this.#lastId));
    let open = items.length;
    /** @param {Error} error */
    const fail = (error) => {
      for (const id of ids) this.#take(id)?.reply.reject(error);
      abort.abort(error);
    };
    const stop = () => fail(new BayeuxError("stopped", "closed"));
    const timer = setTimeout(() => fail(new BayeuxError("no reply in time", "timeout")), timeout);
    const done = () => {
      if (--open > 0) return;
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    };
    items.forEach(({ message, reply }, i) => this.#waiting.set(ids[i], { channel: message.channel, reply, done, fail }));
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    return { messages: items.map(({ message }, i) => ({ ...message, id: ids[i] })), signal: abort.signal, fail };
  }

  /**
   * Hands a reply to whoever waits for it; says whether it was one.
   *
   * @param {Message} message
   * @returns {boolean}
   */
  settle(message) {
    const id = String(message.id);
    if (typeof message.successful !== "boolean" || this.#waiting.get(id)?.channel !== message.channel) return false;
    this.#take(id)?.reply.resolve(message);
    return true;
  }

  /**
   * Gives up on all that wait, and aborts what is under way for them.
   *
   * @param {Error} error
   */
  failAll(error) {
    for (const { fail } of [...this.#waiting.values()]) fail(error);
  }

  /** @param {string} id */
  #take(id) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.done();
    return waiting;
  }
}
