/**
 * What comes over the wire or out of a storage, checked: each function here takes anything at all and returns a clean value or null. Nothing here throws.
 *
 * @module
 */

import { isVersion } from "./version.js";

/** The version of the wire format. */
export const WIRE_VERSION = 1;

/** The channel on which the server pushes. The client never subscribes to it. */
export const PUSH_CHANNEL = "/service/sealed";

/** The largest push, and the largest set, in characters (envelopes are ASCII): what a server takes back. A larger one could never be presented. */
export const MAX_SET = 256 * 1024;

const MAX_ENVELOPE = 16 * 1024;
const MAX_SLOTS = 64;
const SLOT = /^[A-Za-z0-9_-]{1,64}$/;
const ENVELOPE = /^[A-Za-z0-9_.-]+$/;
const CHALLENGE = /^[A-Za-z0-9_.-]{1,128}$/;
const ATTEMPT = /^[A-Za-z0-9_-]{22}$/;

/** @typedef {Readonly<Record<string, string>>} Blobs Envelopes by slot. */

/**
 * One complete set of a session's blobs.
 *
 * @typedef {object} SealedSet
 * @property {string} gen Version, "F.G".
 * @property {string} manifest
 * @property {Blobs} blobs
 */

/**
 * @typedef {object} Push
 * @property {"full" | "delta" | "end"} kind
 * @property {string} gen
 * @property {string} base Only of a delta; else "".
 * @property {string} over Only of a complete set of a renewed session: the newest version that it replaces, though its own is lower; else "".
 * @property {string} manifest Empty at the end.
 * @property {Blobs} set
 * @property {string[]} del
 */

/**
 * @typedef {object} Answer
 * @property {"restored" | "refused" | "none" | "retry"} state
 * @property {string | null} gen
 * @property {string[]} dropped Slots that the server left out of the restored session.
 * @property {string} [challenge] Only with "retry": to be signed with the session's key for the repetition.
 */

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param {unknown} value
 * @returns {value is string}
 */
export function isAttempt(value) {
  return typeof value === "string" && ATTEMPT.test(value);
}

/**
 * @param {unknown} value
 * @returns {value is string}
 */
function isEnvelope(value) {
  return typeof value === "string" && value.length <= MAX_ENVELOPE && ENVELOPE.test(value);
}

/**
 * @param {unknown} value
 * @returns {string[] | null}
 */
function readSlots(value) {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > MAX_SLOTS) return null;
  return value.every((slot) => typeof slot === "string" && SLOT.test(slot)) ? [...value] : null;
}

/**
 * @param {unknown} value
 * @returns {Blobs | null}
 */
function readBlobs(value) {
  if (!isObject(value)) return null;
  const entries = Object.entries(value);
  if (entries.length > MAX_SLOTS) return null;
  for (const [slot, envelope] of entries) {
    if (!SLOT.test(slot) || !isEnvelope(envelope)) return null;
  }
  // fromEntries defines each slot as a property of its own, so a slot named __proto__ is only a slot.
  return /** @type {Blobs} */ (Object.fromEntries(entries));
}

/**
 * Counts the characters of a set.
 *
 * @param {string} manifest
 * @param {Blobs} blobs
 */
function sizeOf(manifest, blobs) {
  let size = manifest.length;
  for (const [slot, envelope] of Object.entries(blobs)) size += slot.length + envelope.length;
  return size;
}

/**
 * Says whether a server takes the set back.
 *
 * @param {SealedSet} set
 */
export function isPresentable({ manifest, blobs }) {
  return Object.keys(blobs).length <= MAX_SLOTS && sizeOf(manifest, blobs) <= MAX_SET;
}

/**
 * Reads a complete set.
 *
 * @param {unknown} value
 * @returns {SealedSet | null}
 */
export function readSet(value) {
  if (!isObject(value) || !isVersion(value.gen) || !isEnvelope(value.manifest)) return null;
  const blobs = readBlobs(value.blobs);
  if (!blobs || sizeOf(value.manifest, blobs) > MAX_SET) return null;
  return { gen: value.gen, manifest: value.manifest, blobs };
}

/**
 * Reads the data of a message on {@link PUSH_CHANNEL}.
 *
 * @param {unknown} data
 * @returns {Push | null}
 */
export function readPush(data) {
  if (!isObject(data) || data.v !== WIRE_VERSION || !isVersion(data.gen)) return null;
  if (data.end === true) return { kind: "end", gen: data.gen, base: "", over: "", manifest: "", set: {}, del: [] };
  if (data.end !== undefined && data.end !== false) return null;
  const set = data.set === undefined ? {} : readBlobs(data.set);
  const del = readSlots(data.del);
  if (!set || !del || !isEnvelope(data.manifest) || sizeOf(data.manifest, set) > MAX_SET) return null;
  const rest = { gen: data.gen, manifest: data.manifest, set, del };
  if (data.base === undefined) {
    if (data.over === undefined) return { kind: "full", base: "", over: "", ...rest };
    return isVersion(data.over) ? { kind: "full", base: "", over: data.over, ...rest } : null;
  }
  return isVersion(data.base) && data.over === undefined ? { kind: "delta", base: data.base, over: "", ...rest } : null;
}

/**
 * Reads `ext.sealed` of a handshake reply.
 *
 * @param {unknown} value
 * @returns {Answer | null}
 */
export function readAnswer(value) {
  if (!isObject(value) || value.v !== WIRE_VERSION) return null;
  const state = value.state;
  if (state !== "restored" && state !== "refused" && state !== "none" && state !== "retry") return null;
  /** @type {Answer} */
  const answer = { state, gen: isVersion(value.gen) ? value.gen : null, dropped: readSlots(value.dropped) ?? [] };
  const { challenge } = value;
  return state === "retry" && typeof challenge === "string" && CHALLENGE.test(challenge) ? { ...answer, challenge } : answer;
}
