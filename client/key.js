/**
 * The key of a session, for servers whose policy binds attributes to one: a pair of which the secret half can't leave the browser, and proofs of it.
 *
 * @module
 */

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" };
const DATABASE = "sealed-blob/v1";
const KEYS = "keys";

/** @typedef {{attempt: string, manifest: string}} Presented */

/**
 * Where no database is to be had, keys live as long as the page.
 *
 * @type {Map<string, CryptoKeyPair>}
 */
const memory = new Map();

/**
 * The key of one name in this origin. All tabs share it; it is made when it is first needed, and kept in IndexedDB. A script of the page can use it, and can't read
 * it.
 */
export class SessionKey {
  #name;
  #factory;

  /**
   * @param {string} name One key for each name: that of the store.
   * @param {{indexedDB?: IDBFactory | null}} [options] Default the global one; null keeps the key in memory only.
   */
  constructor(name, options = {}) {
    this.#name = name;
    this.#factory = options.indexedDB === undefined ? defaultFactory() : options.indexedDB;
  }

  /**
   * Returns the proof for a request that was answered with a challenge, to be sent with its repetition within a minute; null if this browser can't make one.
   *
   * @param {string} challenge
   * @param {Presented | null} presented What the repetition presents; null if no set.
   * @returns {Promise<string | null>}
   */
  async prove(challenge, presented) {
    try {
      const pair = await this.#pair();
      const { x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
      const claims = presented ? { nonce: challenge, attempt: presented.attempt, set: await digest(presented.manifest) } : { nonce: challenge };
      // The order of the members is part of the format.
      const header = { alg: "ES256", jwk: { crv: "P-256", kty: "EC", x, y }, typ: "sealed-proof+jwt" };
      const text = `${base64url(utf8(JSON.stringify(header)))}.${base64url(utf8(JSON.stringify(claims)))}`;
      const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, utf8(text));
      return `${text}.${base64url(new Uint8Array(signature))}`;
    } catch {
      return null;
    }
  }

  /** Drops the key, for example after a logout: the next session gets another. A session that is bound to it can't be restored any more. */
  async forget() {
    memory.delete(this.#name);
    await this.#transact("readwrite", (keys) => keys.delete(this.#name)).catch(() => {});
  }

  /** @returns {Promise<CryptoKeyPair>} */
  async #pair() {
    try {
      const known = memory.get(this.#name) ?? (await this.#transact("readonly", (keys) => keys.get(this.#name)));
      return known ?? (await this.#keep(await make()));
    } catch (error) {
      // A database that only fails may hold our key: then better no proof now than one of another key.
      if (!(error instanceof DOMException) || error.name !== "SecurityError") throw error;
      const made = await make();
      const kept = memory.get(this.#name) ?? made;
      memory.set(this.#name, kept);
      return kept;
    }
  }

  /**
   * Keeps the pair, unless another tab was first: then returns that of the other.
   *
   * @param {CryptoKeyPair} made
   * @returns {Promise<CryptoKeyPair>}
   */
  #keep(made) {
    let kept = made;
    return this.#transact("readwrite", (keys) => {
      const found = keys.get(this.#name);
      found.onsuccess = () => {
        if (found.result) kept = found.result;
        else keys.put(made, this.#name);
      };
      return found;
    }).then(() => kept);
  }

  /**
   * Resolves once the transaction is through, to what its first request found.
   *
   * @param {IDBTransactionMode} mode
   * @param {(keys: IDBObjectStore) => IDBRequest} body
   * @returns {Promise<any>}
   */
  async #transact(mode, body) {
    const factory = this.#factory;
    if (!factory) throw new DOMException("no database", "SecurityError");
    const database = await open(factory);
    try {
      return await new Promise((resolve, reject) => {
        const transaction = database.transaction(KEYS, mode);
        const request = body(transaction.objectStore(KEYS));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  }
}

/** @returns {Promise<CryptoKeyPair>} */
function make() {
  return crypto.subtle.generateKey(ALGORITHM, false, ["sign"]);
}

/**
 * @param {IDBFactory} factory
 * @returns {Promise<IDBDatabase>}
 */
function open(factory) {
  return new Promise((resolve, reject) => {
    const request = factory.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(KEYS);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

/** @returns {IDBFactory | null} */
function defaultFactory() {
  try {
    return globalThis.indexedDB ?? null;
  } catch {
    return null;
  }
}

/** @param {string} text */
async function digest(text) {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(text))));
}

/** @param {string} text */
function utf8(text) {
  return new TextEncoder().encode(text);
}

/** @param {Uint8Array} bytes */
function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
