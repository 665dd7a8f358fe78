/**
 * Waiting: back-off, a pause that can be cut short, and a signal with a time limit.
 *
 * @module
 */

/**
 * Returns the pause before try number `failures` (1 is the first repetition): it doubles up to `max`, and is spread over its upper half so that the clients of
 * a lost server do not come back all at once.
 *
 * @param {number} failures
 * @param {number} base
 * @param {number} max
 * @param {() => number} random
 */
export function backoff(failures, base, max, random) {
  if (failures <= 0) return 0;
  const full = Math.min(max, base * 2 ** Math.min(failures - 1, 30));
  return full * (0.5 + random() / 2);
}

/**
 * Resolves after some milliseconds, or as soon as one of the signals is aborted.
 *
 * @param {number} ms
 * @param {...AbortSignal} signals
 * @returns {Promise<void>}
 */
export function pause(ms, ...signals) {
  return new Promise((resolve) => {
    if (ms <= 0 || signals.some((signal) => signal.aborted)) {
      resolve();
      return;
    }
    const done = () => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    for (const signal of signals) signal.addEventListener("abort", done);
  });
}

/**
 * Keeps a number that came from outside within bounds; what is no number is replaced.
 *
 * @param {unknown} value
 * @param {number} otherwise
 * @param {number} max
 */
export function bounded(value, otherwise, max) {
  return typeof value === "number" && Number.isFinite(value) ? Math.min(Math.max(value, 0), max) : otherwise;
}
