/**
 * A client's program asks its host for what only the host can do. Used by Node.js and by pages.
 *
 * @module
 */

/** How long anything may take. */
const PATIENCE = 20_000;

/** @param {number} ms */
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Waits until `check` returns something true, and returns that.
 *
 * @template T
 * @param {string} what
 * @param {() => T} check
 */
export async function until(what, check) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(10)) {
    const value = check();
    if (value) return value;
  }
  throw new Error(`waited ${PATIENCE / 1000} s for ${what}`);
}

/**
 * Fails unless the two are the same JSON.
 *
 * @param {string} what
 * @param {unknown} got
 * @param {unknown} want
 */
export function same(what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

export class Control {
  #url;

  /** @param {string} url Of the host. */
  constructor(url) {
    this.#url = url;
  }

  /**
   * @param {string} path
   * @param {string} [body]
   */
  async #ask(path, body = "") {
    const response = await fetch(`${this.#url}${path}`, { method: "POST", body, headers: { "Content-Type": "text/plain" }, signal: AbortSignal.timeout(PATIENCE) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${text}`);
    return text;
  }

  /** @param {string} name What has been shown. */
  step(name) {
    return this.#ask(`/step/${name}`);
  }

  /** @param {unknown} error Why this meeting fails. */
  fail(error) {
    return this.#ask("/fail", String(/** @type {Error} */ (error).stack ?? error));
  }

  /**
   * Has the server publish.
   *
   * @param {string} channel
   * @param {unknown} data
   */
  publish(channel, data) {
    return this.#ask(`/publish?channel=${channel}`, JSON.stringify(data));
  }

  /** Has the server forget all sessions. */
  forget() {
    return this.#ask("/forget");
  }

  /** Kills the server, and starts it again after a while. */
  restart() {
    return this.#ask("/restart");
  }

  /**
   * Has the server publish, and loses the answer that brings it.
   *
   * @param {string} channel
   * @param {string} data
   */
  lose(channel, data) {
    return this.#ask(`/lose?channel=${channel}`, JSON.stringify(data));
  }

  /** Waits until the server knows so many sessions. */
  async sessions(/** @type {number} */ want) {
    let got = "";
    for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(50)) {
      got = await this.#ask("/sessions");
      if (got === String(want)) return;
    }
    throw new Error(`the server has ${got} sessions, want ${want}`);
  }
}
