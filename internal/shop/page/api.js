/**
 * Requests to the shop. A request that meets a node without our session waits until that node has it, and is repeated.
 *
 * @module
 */

/** @typedef {import("./link.js").Link} Link */
/** @typedef {{name: string, value: unknown, issued: string, expires: string, once: boolean}} Attribute */
/** @typedef {{name: string, ttl: number, once: boolean, on_expiry: string}} Rule */
/** @typedef {{node: string, session?: string, version: string, expires: string, attributes: Attribute[], rules: Rule[], now: string}} State */
/**
 * @typedef {object} Reply
 * @property {boolean} ok
 * @property {string} error Empty if ok.
 * @property {any} result
 * @property {State | null} state
 * @property {number} order Of two replies, the one to the later request has the higher number.
 * @property {boolean} settled Whether the state is that of its version: a change is answered before it is sealed.
 * @property {boolean} repeated Whether an earlier try was lost on the way: the server may have done it twice.
 * @property {number} skew Milliseconds to add to our clock to have the server's.
 */
/**
 * @typedef {object} Call
 * @property {string} [method]
 * @property {unknown} [body]
 * @property {Record<string, string>} [headers]
 * @property {boolean} [last] Ends the session: its answer still tells of the old state.
 * @property {(state: State) => boolean} [done] After a lost answer: whether the state shows that the request was carried out.
 */

const GIVE_UP_AFTER = 30_000;
const ONE_TRY = 10_000;
const STATUS = "Sealed-Session";

/** Draws the key of one purchase: 16 random bytes as base64url. */
export function drawKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** Event `reply`: each {@link Reply} that has a state. */
export class Api extends EventTarget {
  #link;
  #sent = 0;

  /** @param {Link} link */
  constructor(link) {
    super();
    this.#link = link;
  }

  /** @returns {Promise<Reply>} */
  state() {
    return this.call("/api/state", {});
  }

  /**
   * @param {string} path
   * @param {Call} call
   * @returns {Promise<Reply>}
   */
  async call(path, call) {
    const until = Date.now() + GIVE_UP_AFTER;
    let lost = 0;
    let anew = false;
    for (let waits = 0; Date.now() < until; ) {
      const { answers } = this.#link;
      const tried = await this.#once(path, call, anew);
      if (tried.reply) return this.#finish({ ...tried.reply, repeated: lost > 0 }, call);
      if (tried.elsewhere) {
        anew = await this.#bringHere(answers);
        continue;
      }
      if (tried.lost) {
        lost++;
        const done = call.done && (await this.#wasDone(call.done, until));
        if (done) return done;
      }
      await pause(Math.min(200 * 2 ** waits++, 2000));
    }
    return { ok: false, error: "No server answers. Please try again in a moment.", result: null, state: null, order: 0, settled: false, repeated: lost > 0, skew: 0 };
  }

  /**
   * @param {string} path
   * @param {Call} call
   * @param {boolean} anew
   * @returns {Promise<{reply?: Reply, elsewhere?: boolean, lost?: boolean}>}
   */
  async #once(path, call, anew) {
    const order = ++this.#sent;
    const start = Date.now();
    try {
      const response = await fetch(path, {
        method: call.method ?? "GET",
        headers: { ...(call.body !== undefined && { "Content-Type": "application/json" }), ...(anew && { [STATUS]: "none" }), ...call.headers },
        body: call.body === undefined ? null : JSON.stringify(call.body),
        cache: "no-store",
        signal: AbortSignal.timeout(ONE_TRY),
      });
      if (response.status === 503 && response.headers.get(STATUS) === "required") return { elsewhere: true };
      if (response.status === 503) return {};
      if (response.status >= 500) return { lost: true };
      const { result, error, state } = await response.json();
      const skew = state ? Date.parse(state.now) - (start + Date.now()) / 2 : 0;
      return { reply: { ok: response.ok, error: response.ok ? "" : String(error), result, state: state ?? null, order, settled: call.method === undefined, repeated: false, skew } };
    } catch {
      return { lost: true };
    }
  }

  /**
   * Waits until the session is on the node that answers, or says that there is nothing to wait for: then the request starts a new session.
   *
   * @param {number} answers How many handshakes had been answered when the request was sent.
   */
  async #bringHere(answers) {
    const { store } = this.#link;
    this.#link.start();
    if (store.version === null) return true;
    if (this.#link.answers === answers) this.#link.renew();
    await this.#link.answerAfter(answers, 5000);
    return store.version === null;
  }

  /**
   * @param {(state: State) => boolean} done
   * @param {number} until
   */
  async #wasDone(done, until) {
    if (Date.now() >= until) return null;
    const reply = await this.state();
    return reply.state && done(reply.state) ? { ...reply, repeated: true } : null;
  }

  /**
   * @param {Reply} reply
   * @param {Call} call
   */
  #finish(reply, call) {
    if (reply.state && !(call.last && reply.ok)) this.dispatchEvent(new CustomEvent("reply", { detail: reply }));
    return reply;
  }
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
