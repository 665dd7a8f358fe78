/**
 * The storage of the blobs: one record, shared by all tabs of an origin.
 *
 * @module
 */

import { compareFences, compareGenerations, compareVersions } from "./version.js";
import { MAX_SET, isAttempt, isObject, isPresentable, readPush, readSet } from "./wire.js";

/** @typedef {import("./wire.js").SealedSet} SealedSet */
/** @typedef {import("./wire.js").Push} Push */
/** @typedef {import("./wire.js").Answer} Answer */

/** @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} StorageLike */

/**
 * What came of a push: applied; ended (the session is over, all is dropped); stale (not newer than what is held); base (a delta on another version);
 * large; malformed.
 *
 * @typedef {"applied" | "ended" | "stale" | "base" | "large" | "malformed"} Outcome
 */

/**
 * One try to carry a session to another server: the token drawn for it, and the set that it presents.
 *
 * @typedef {SealedSet & {attempt: string}} Episode
 */

/**
 * @typedef {object} Open An unfinished episode in the record. `set` is there only once a push has made the held set another one.
 * @property {string} attempt
 * @property {number} at When it was last presented.
 * @property {SealedSet} [set]
 */

/**
 * @typedef {SealedSet & {at: number, episode?: Open}} RecordV1 `at`: when the last push was received.
 */

/**
 * @typedef {object} BlobStoreOptions
 * @property {string} [key] Name of the application or the server; default "default". One record per key.
 * @property {string} [prefix] Prefix of the key in the storage; default "sealed-blob/v1/".
 * @property {StorageLike | null} [storage] Default localStorage; null keeps the blobs in memory only.
 * @property {number} [maxAge] A record that got no push for so many milliseconds is dropped; default 30 days.
 * @property {() => number} [now] Default Date.now.
 * @property {EventTarget | null} [events] Where `storage` events of other tabs come from; default the window.
 */

const MAX_RECORD = 3 * MAX_SET;
const MAX_AGE = 30 * 24 * 3600 * 1000;

/** An open episode that no tab has presented for so long, while pushes still came, belongs to a tab that is gone. */
const ORPHAN_AFTER = 2 * 60 * 1000;

/**
 * Holds the newest set of a session's blobs, and the open episode if there is one.
 *
 * Every decision reads the storage afresh, because other tabs write to it. Every change is one write of one key. There is no lock between the tabs and none
 * is needed: all tabs of a session get the same pushes, and a set that was lost to a race is missed at the next connect and sent again.
 *
 * Events: `change`, with `detail: {reason: "push" | "end" | "refused" | "clear" | "remote", gen: string | null}`; and `answer`, with the
 * {@link Answer} of a handshake as its detail.
 */
export class BlobStore extends EventTarget {
  #key;
  #maxAge;
  #now;
  /** @type {StorageLike} */
  #storage;
  /**
   * The record that could not be written, and what the storage held instead at that time.
   *
   * @type {{record: RecordV1, raw: string | null} | null}
   */
  #unwritten = null;
  /** @type {{raw: string, record: RecordV1} | null} */
  #parsed = null;
  #unlisten = () => {};

  /** @param {BlobStoreOptions} [options] */
  constructor(options = {}) {
    super();
    this.#key = (options.prefix ?? "sealed-blob/v1/") + (options.key ?? "default");
    this.#maxAge = options.maxAge ?? MAX_AGE;
    this.#now = options.now ?? Date.now;
    this.#storage = options.storage === undefined ? defaultStorage() : (options.storage ?? memoryStorage());
    this.#listen(options.events === undefined ? defaultEvents() : options.events);
  }

  /** The key of the record in the storage: what belongs to this store goes by this name elsewhere too. */
  get name() {
    return this.#key;
  }

  /** The version held, or null. */
  get version() {
    return this.#read()?.gen ?? null;
  }

  /** Whether the set that is held would survive a reload of the page. */
  get persistent() {
    return this.#read() !== null && this.#unwritten === null && !(this.#storage instanceof MemoryStorage);
  }

  /**
   * Returns the set held and when it came, or null.
   *
   * @returns {SealedSet & {receivedAt: number} | null}
   */
  snapshot() {
    const record = this.#read();
    return record && { gen: record.gen, manifest: record.manifest, blobs: { ...record.blobs }, receivedAt: record.at };
  }

  /**
   * Applies the data of one push, at once and durably.
   *
   * `unless.manifest` names a set that the server has disowned: while that very set is held, a complete set replaces it whatever their versions are. So
   * does the set of a session that was renewed.
   *
   * @param {unknown} data
   * @param {{manifest: string} | null} [unless]
   * @returns {Outcome}
   */
  apply(data, unless = null) {
    const push = readPush(data);
    if (!push) return "malformed";
    const record = this.#read();
    if (push.kind === "end") return this.#end(push, record);
    const renewed =
      push.over !== "" &&
      record !== null &&
      compareVersions(push.gen, record.gen) < 0 &&
      compareVersions(record.gen, push.over) <= 0 &&
      compareGenerations(push.gen, record.gen) > 0; // else it is an older set of the new ID
    const anew = renewed || (push.kind === "full" && record !== null && record.manifest === unless?.manifest);
    if (!anew && compareVersions(push.gen, record?.gen) <= 0) return "stale";
    if (push.kind === "delta" && (!record || compareVersions(push.base, record.gen) !== 0)) return "base";
    const next = merge(push, record);
    if (!isPresentable(next)) return "large";
    const episode = anew ? undefined : carryOver(record);
    this.#write({ ...next, at: this.#now(), ...(episode && { episode }) });
    this.#changed("push", next.gen);
    return "applied";
  }

  /**
   * @param {Push} push
   * @param {RecordV1 | null} record
   * @returns {Outcome}
   */
  #end(push, record) {
    // A node that lost the session to another one may end its own copy; ours lives on elsewhere.
    if (record && compareVersions(push.gen, record.gen) < 0) return "stale";
    this.#remove();
    if (record) this.#changed("end", null);
    return "ended";
  }

  /** Drops all that is held, for example at logout. */
  clear() {
    const held = this.#read() !== null;
    this.#remove();
    if (held) this.#changed("clear", null);
  }

  /**
   * Returns the episode to present in a handshake, or null if nothing is held. An open episode is continued, with its own attempt token and its own set, by
   * whichever tab comes first; else a new one begins with the set held now.
   *
   * @returns {Episode | null}
   */
  beginEpisode() {
    const record = this.#read();
    if (!record) return null;
    const open = record.episode && !isOver(record.episode, record) ? record.episode : undefined;
    const episode = { attempt: open?.attempt ?? drawAttempt(), at: this.#now(), ...(open?.set && { set: open.set }) };
    this.#write({ ...record, episode });
    const { gen, manifest, blobs } = episode.set ?? record;
    return { attempt: episode.attempt, gen, manifest, blobs };
  }

  /**
   * Ends the episode after its handshake was answered. With `refused`, the set that was presented is dropped, if it is still the one held: another tab may
   * have moved on.
   *
   * @param {Episode} presented
   * @param {{refused?: boolean}} [how]
   */
  endEpisode(presented, how = {}) {
    const record = this.#read();
    if (!record) return;
    const same = record.gen === presented.gen && record.manifest === presented.manifest;
    if (how.refused && same) {
      this.#remove();
      this.#changed("refused", null);
    } else if (record.episode?.attempt === presented.attempt) {
      const { episode, ...rest } = record;
      this.#write(rest);
    }
  }

  /**
   * Tells the application what a handshake was answered.
   *
   * @param {Answer} answer
   */
  announce(answer) {
    this.dispatchEvent(new CustomEvent("answer", { detail: answer }));
  }

  /** Stops listening to other tabs. The record stays. */
  close() {
    this.#unlisten();
    this.#unlisten = () => {};
  }

  /** @returns {RecordV1 | null} */
  #read() {
    const raw = this.#raw();
    const stored = raw === null ? null : this.#parse(raw);
    const record = this.#overlay(raw, stored);
    if (record && this.#now() - record.at > this.#maxAge) {
      this.#remove();
      return null;
    }
    return record;
  }

  /**
   * Chooses between what the storage holds and what could not be written to it.
   *
   * @param {string | null} raw
   * @param {RecordV1 | null} stored
   */
  #overlay(raw, stored) {
    const unwritten = this.#unwritten;
    if (!unwritten) return stored;
    const removedByOther = raw === null && unwritten.raw !== null;
    const newer = stored !== null && raw !== unwritten.raw && compareVersions(stored.gen, unwritten.record.gen) >= 0;
    if (!removedByOther && !newer) return unwritten.record;
    this.#unwritten = null;
    return stored;
  }

  /** @returns {string | null} */
  #raw() {
    try {
      return this.#storage.getItem(this.#key);
    } catch {
      return null;
    }
  }

  /**
   * @param {string} raw
   * @returns {RecordV1 | null}
   */
  #parse(raw) {
    if (this.#parsed?.raw === raw) return this.#parsed.record;
    const record = parseRecord(raw);
    if (record) this.#parsed = { raw, record };
    else this.#discard();
    return record;
  }

  /** @param {RecordV1} record */
  #write(record) {
    try {
      this.#storage.setItem(this.#key, JSON.stringify({ v: 1, ...record }));
      this.#unwritten = null;
    } catch {
      this.#unwritten = { record, raw: this.#raw() };
    }
  }

  #remove() {
    this.#unwritten = null;
    this.#discard();
  }

  #discard() {
    this.#parsed = null;
    try {
      this.#storage.removeItem(this.#key);
    } catch {
      // A storage that cannot be reached holds nothing of ours.
    }
  }

  /**
   * @param {"push" | "end" | "refused" | "clear" | "remote"} reason
   * @param {string | null} gen
   */
  #changed(reason, gen) {
    this.dispatchEvent(new CustomEvent("change", { detail: { reason, gen } }));
  }

  /** @param {EventTarget | null} events */
  #listen(events) {
    if (!events) return;
    /** @param {Event} event */
    const listener = (event) => {
      const { key } = /** @type {StorageEvent} */ (event);
      if (key === this.#key || key === null) this.#changed("remote", this.version);
    };
    events.addEventListener("storage", listener);
    this.#unlisten = () => events.removeEventListener("storage", listener);
  }
}

/**
 * @param {Push} push
 * @param {RecordV1 | null} record
 * @returns {SealedSet}
 */
function merge(push, record) {
  const blobs = new Map(push.kind === "delta" && record ? Object.entries(record.blobs) : []);
  for (const slot of push.del) blobs.delete(slot);
  for (const [slot, envelope] of Object.entries(push.set)) blobs.set(slot, envelope);
  return { gen: push.gen, manifest: push.manifest, blobs: Object.fromEntries(blobs) };
}

/**
 * Keeps the set that an open episode presents, when a push is about to make the held set another one.
 *
 * @param {RecordV1 | null} record
 * @returns {Open | undefined}
 */
function carryOver(record) {
  if (!record?.episode) return undefined;
  const { gen, manifest, blobs } = record;
  return { ...record.episode, set: record.episode.set ?? { gen, manifest, blobs } };
}

/**
 * Says whether an open episode is over though no tab wrote down its answer: a restore won and its pushes came (the held set has a newer fence), or the tab that
 * began it is gone and the old server was alive all the time.
 *
 * @param {Open} episode
 * @param {RecordV1} record
 */
function isOver(episode, record) {
  if (!episode.set) return false;
  return compareFences(record.gen, episode.set.gen) > 0 || record.at - episode.at > ORPHAN_AFTER;
}

/**
 * @param {string} raw
 * @returns {RecordV1 | null}
 */
function parseRecord(raw) {
  const value = raw.length > MAX_RECORD ? null : parseJSON(raw);
  const set = readSet(value);
  if (!set || !isObject(value) || value.v !== 1 || !isTime(value.at)) return null;
  const episode = readEpisode(value.episode);
  return { ...set, at: value.at, ...(episode && { episode }) };
}

/**
 * @param {unknown} value
 * @returns {Open | null}
 */
function readEpisode(value) {
  if (!isObject(value) || !isAttempt(value.attempt) || !isTime(value.at)) return null;
  const open = { attempt: value.attempt, at: value.at };
  if (value.set === undefined) return open;
  const set = readSet(value.set);
  return set && { ...open, set };
}

/** @param {string} raw */
function parseJSON(raw) {
  try {
    return /** @type {unknown} */ (JSON.parse(raw));
  } catch {
    return null;
  }
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isTime(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** Draws 16 random bytes, as 22 characters of base64url. */
function drawAttempt() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

class MemoryStorage {
  /** @type {Map<string, string>} */
  #items = new Map();

  /** @param {string} key */
  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  /**
   * @param {string} key
   * @param {string} value
   */
  setItem(key, value) {
    this.#items.set(key, value);
  }

  /** @param {string} key */
  removeItem(key) {
    this.#items.delete(key);
  }
}

/** @returns {StorageLike} */
function memoryStorage() {
  return new MemoryStorage();
}

/** @returns {StorageLike} */
function defaultStorage() {
  try {
    // The property itself throws where the origin is opaque or storage is switched off.
    return globalThis.localStorage ?? memoryStorage();
  } catch {
    return memoryStorage();
  }
}

/** @returns {EventTarget | null} */
function defaultEvents() {
  return typeof globalThis.addEventListener === "function" ? globalThis : null;
}
