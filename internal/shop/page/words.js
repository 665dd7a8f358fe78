/**
 * Numbers and times in words.
 *
 * @module
 */

/** @param {number} ms */
export function left(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** @param {number} ms */
export function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 1) return "now";
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** @param {number} seconds */
export function span(seconds) {
  if (seconds <= 90) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** @param {number} count */
export function bytes(count) {
  return `${count.toLocaleString("en")} B`;
}

/** @param {number} count */
function times(count) {
  return count === 1 ? "once" : count === 2 ? "twice" : `${count.toLocaleString("en")} times`;
}

/**
 * Says what a version, "fence.generation", means.
 *
 * @param {string} version
 */
export function version(version) {
  const [fence, generation] = version.split(".").map(Number);
  const moved = fence === 0 ? "never moved" : `moved ${times(fence)}`;
  return `Sealed ${times(generation)}, ${moved}`;
}

/** @param {string} text */
export function shorten(text) {
  return text.length <= 14 ? text : `${text.slice(0, 5)}…${text.slice(-8)}`;
}

/** @param {Date} time */
export function clock(time) {
  return time.toLocaleTimeString("en-GB");
}
