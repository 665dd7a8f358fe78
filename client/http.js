/**
 * Restoring over plain HTTP: for requests that meet a server without our session, with no Bayeux connection or before its handshake is through.
 *
 * @module
 */

import { SessionKey } from "./key.js";
import { conclude } from "./protocol.js";
import { WIRE_VERSION, isObject, readAnswer } from "./wire.js";

/** @typedef {import("./store.js").BlobStore} BlobStore */
/** @typedef {import("./wire.js").Answer} Answer */

/**
 * @typedef {object} SealedHTTPOptions
 * @property {SessionKey} [key] Default that of the store's name.
 * @property {string | URL} [url] Where the server restores; default "/sealed/restore".
 * @property {typeof fetch} [fetch]
 * @property {RequestCredentials} [credentials] Default "same-origin".
 * @property {"safe" | "always" | "never"} [anew] Which requests begin a new session when ours is lost for good: those of a safe method (GET, HEAD), which is
 *   the default, since others were meant for the session that is lost; all; or none.
 * @property {number} [settle] Milliseconds for which no server has had our session, and none of ours would do, before it is lost for good; default 10,000.
 *   A login or a first answer on another server may have begun one whose set is still on its way, and a new cookie would take its place.
 * @property {number} [tries] How often a set is presented while the server can't tell; default 5.
 * @property {number} [timeout] Milliseconds for one answer of the server's; default 10,000.
 * @property {number} [backoffBase] First pause between two tries, in milliseconds; default 250. It doubles.
 * @property {() => number} [random]
 */

const STATUS_HEADER = "Sealed-Session";

/** The longest pause between two tries, in milliseconds. */
const MAX_PAUSE = 5_000;

/** The longest answer that is read: a set, and what is around it. */
const MAX_ANSWER = 1024 * 1024;

/**
 * Says whether a server answered that our session is not there yet. Nothing was done then, so that the request may be repeated, whatever its method.
 *
 * @param {Response} response
 */
export function isElsewhere(response) {
  return response.status === 503 && response.headers.get(STATUS_HEADER) === "required";
}

/** Requests that bring the session along when they need to. One for each store; it may be used next to a Bayeux client with the same store. */
export class SealedHTTP {
  #store;
  #options;
  /**
   * The restore under way: requests that fail together bring the set once.
   *
   * @type {Promise<Answer | null> | null}
   */
  #restoring = null;
  /**
   * Since when no server has our session, and when one last said so.
   *
   * @type {{since: number, last: number} | null}
   */
  #missing = null;

  /**
   * @param {BlobStore} store
   * @param {SealedHTTPOptions} [options]
   */
  constructor(store, options = {}) {
    this.#store = store;
    this.#options = {
      key: options.key ?? new SessionKey(store.name),
      url: options.url ?? "/sealed/restore",
      fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
      credentials: options.credentials ?? /** @type {const} */ ("same-origin"),
      anew: options.anew ?? /** @type {const} */ ("safe"),
      settle: options.settle ?? 10_000,
      tries: options.tries ?? 5,
      timeout: options.timeout ?? 10_000,
      backoffBase: options.backoffBase ?? 250,
      random: options.random ?? Math.random,
    };
  }

  /**
   * Like the global fetch. When the server says that our session is not there yet, brings the set and repeats the request, once. While the set is refused, or
   * there is none, the request is repeated, since a newer set may be on its way. When that lasts the session is lost for good, and the request is repeated
   * as a new visitor's, if the option `anew` lets it. A response that still says so is returned as it is: no server could tell, or the application has
   * to decide.
   *
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   */
  async fetch(input, init) {
    let [call, again] = twice(input, init);
    for (let tried = 1; ; tried++) {
      const response = await this.#options.fetch(...call);
      const found = isElsewhere(response) ? await this.#find() : "unknown";
      const left = this.#unsettled(response, found);
      if (found === "unknown" || (found === "lost" && left <= 0 && !this.#mayBeginAnew(input, init))) {
        discard(again);
        return response;
      }
      await response.body?.cancel();
      if (found === "there") return this.#options.fetch(...again);
      if (left <= 0) {
        this.#missing = null; // of the new one nothing is known yet
        return this.#options.fetch(...anew(again));
      }
      await this.#pause(tried, left, init?.signal ?? (isRequest(input) ? input.signal : undefined));
      [call, again] = twice(...again);
    }
  }

  /**
   * Returns how many milliseconds are left until a session that is not found is lost for good.
   *
   * @param {Response} response
   * @param {"there" | "lost" | "unknown"} found
   */
  #unsettled(response, found) {
    const { settle } = this.#options;
    if (found !== "lost") {
      if (found === "there" || !isElsewhere(response)) this.#missing = null;
      return settle;
    }
    const now = performance.now();
    if (this.#missing === null || now - this.#missing.last > settle) this.#missing = { since: now, last: now };
    this.#missing.last = now;
    return this.#missing.since + settle - now;
  }

  /**
   * Presents the set that is held. Returns what the server answered, or null if nothing is held or no server could tell.
   *
   * @returns {Promise<Answer | null>}
   */
  restore() {
    this.#restoring ??= this.#restore().finally(() => {
      this.#restoring = null;
    });
    return this.#restoring;
  }

  /**
   * Asks for the newest set: for pages without a Bayeux connection, after a change. Returns the version held then, or null.
   *
   * @returns {Promise<string | null>}
   */
  async sync() {
    const gen = this.#store.version;
    const { body } = await this.#ask(gen === null ? { v: WIRE_VERSION } : { v: WIRE_VERSION, gen }, null);
    if (isObject(body) && body.push !== undefined) this.#store.apply(body.push);
    return this.#store.version;
  }

  /**
   * Brings the set; says whether the session is on the server now, or no set that we have brings it there.
   *
   * @returns {Promise<"there" | "lost" | "unknown">}
   */
  async #find() {
    if (this.#store.version === null && this.#restoring === null) return "lost"; // there is nothing to bring
    const answer = await this.restore();
    if (answer === null) return "unknown";
    return answer.state === "restored" || answer.gen !== null ? "there" : "lost";
  }

  /**
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   */
  #mayBeginAnew(input, init) {
    const method = init?.method ?? (isRequest(input) ? input.method : "GET");
    return this.#options.anew === "always" || (this.#options.anew === "safe" && /^(get|head)$/i.test(method));
  }

  async #restore() {
    for (let tried = 0; tried < this.#options.tries; tried++) {
      if (tried > 0) await this.#pause(tried);
      const presented = this.#store.beginEpisode();
      if (!presented) return null;
      const { attempt, manifest, blobs } = presented;
      const { answer, body } = await this.#ask({ v: WIRE_VERSION, attempt, manifest, blobs }, presented);
      if (!answer || answer.state === "retry") continue; // the same attempt again
      const disowned = conclude(this.#store, presented, answer) ? presented : null;
      if (isObject(body) && body.push !== undefined) this.#store.apply(body.push, disowned);
      return answer;
    }
    return null;
  }

  /**
   * Sends the request, and once more with a proof if the server wants one.
   *
   * @param {object} request
   * @param {import("./key.js").Presented | null} presented
   */
  async #ask(request, presented) {
    const first = await this.#post(request);
    const challenge = first.answer?.challenge;
    const proof = challenge === undefined ? null : await this.#options.key.prove(challenge, presented);
    return proof === null ? first : this.#post({ ...request, proof });
  }

  /**
   * @param {object} request
   * @returns {Promise<{answer: Answer | null, body: unknown}>} Without an answer nothing is known.
   */
  async #post(request) {
    const { url, fetch, credentials, timeout } = this.#options;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(request),
        credentials,
        cache: "no-store",
        redirect: "error",
        signal: AbortSignal.timeout(timeout),
      });
      const text = await response.text();
      const body = text.length > MAX_ANSWER ? null : /** @type {unknown} */ (JSON.parse(text));
      return { answer: readAnswer(body), body };
    } catch {
      return { answer: null, body: null };
    }
  }

  /**
   * Ends early with the signal: the next fetch will say so.
   *
   * @param {number} tried
   * @param {number} [most]
   * @param {AbortSignal | null} [signal]
   * @returns {Promise<void>}
   */
  #pause(tried, most = MAX_PAUSE, signal = null) {
    const { backoffBase, random } = this.#options;
    const longest = Math.min(backoffBase * 2 ** (tried - 1), MAX_PAUSE);
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, Math.min(longest * (0.5 + random() / 2), most));
      signal?.addEventListener("abort", end);
      if (signal?.aborted) end();
    });
  }
}

/** @typedef {[RequestInfo | URL, RequestInit | undefined]} Call */

/**
 * Returns the arguments of a fetch for two calls: what can be read only once is split.
 *
 * @param {RequestInfo | URL} input
 * @param {RequestInit | undefined} init
 * @returns {[Call, Call]}
 */
function twice(input, init) {
  const stream = init?.body;
  if (stream instanceof ReadableStream) {
    const [one, two] = stream.tee();
    return [
      [input, { ...init, body: one }],
      [input, { ...init, body: two }],
    ];
  }
  return [
    [isRequest(input) ? input.clone() : input, init],
    [input, init],
  ];
}

/**
 * @param {RequestInfo | URL} input
 * @returns {input is Request}
 */
function isRequest(input) {
  return typeof Request === "function" && input instanceof Request;
}

/**
 * Returns the arguments of a fetch that says that its sender has no session.
 *
 * @param {Call} call
 * @returns {Call}
 */
function anew([input, init]) {
  const headers = new Headers(init?.headers ?? (isRequest(input) ? input.headers : undefined));
  headers.set(STATUS_HEADER, "none");
  return [input, { ...init, headers }];
}

/**
 * Lets go of what the call that is not made would have sent.
 *
 * @param {Call} call
 */
function discard([input, init]) {
  const body = init?.body instanceof ReadableStream ? init.body : input instanceof Request ? input.body : null;
  body?.cancel().catch(() => {});
}
