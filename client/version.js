/**
 * Versions of a session's set: "F.G", the fence and the generation, two unsigned 64-bit integers. Sets are ordered by fence, then by generation.
 *
 * @module
 */

const SHAPE = /^(0|[1-9][0-9]{0,19})\.(0|[1-9][0-9]{0,19})$/;
const MAX = 2n ** 64n - 1n;

/**
 * @typedef {object} Version
 * @property {bigint} fence
 * @property {bigint} gen
 */

/**
 * Reads a version, or returns null if the text is not the one spelling of one.
 *
 * @param {unknown} text
 * @returns {Version | null}
 */
export function parseVersion(text) {
  const parts = typeof text === "string" ? SHAPE.exec(text) : null;
  if (!parts) return null;
  const fence = BigInt(parts[1]);
  const gen = BigInt(parts[2]);
  return fence > MAX || gen > MAX ? null : { fence, gen };
}

/**
 * @param {unknown} text
 * @returns {text is string}
 */
export function isVersion(text) {
  return parseVersion(text) !== null;
}

/**
 * Says which of two versions is newer: negative if a is older, 0 if they are the same, positive if a is newer. What is no version (nothing held) is older
 * than everything.
 *
 * @param {string | null | undefined} a
 * @param {string | null | undefined} b
 * @returns {number}
 */
export function compareVersions(a, b) {
  const x = parseVersion(a);
  const y = parseVersion(b);
  if (!x || !y) return Number(x !== null) - Number(y !== null);
  return order(x.fence, y.fence) || order(x.gen, y.gen);
}

/**
 * Says which of two versions has the newer fence, as {@link compareVersions} does.
 *
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function compareFences(a, b) {
  return order(parseVersion(a)?.fence ?? -1n, parseVersion(b)?.fence ?? -1n);
}

/**
 * Says which of two versions has the higher generation, as {@link compareVersions} does.
 *
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function compareGenerations(a, b) {
  return order(parseVersion(a)?.gen ?? -1n, parseVersion(b)?.gen ?? -1n);
}

/**
 * @param {bigint} a
 * @param {bigint} b
 */
function order(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
