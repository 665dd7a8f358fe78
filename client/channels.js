/**
 * Channel names, and which subscriptions a message reaches.
 *
 * @module
 */

const SEGMENT = /^[A-Za-z0-9 !#$()+.@_{}~-]+$/;

/**
 * Says whether a client may publish to the channel.
 *
 * @param {unknown} channel
 * @returns {channel is string}
 */
export function isChannel(channel) {
  return typeof channel === "string" && channel.length <= 256 && channel[0] === "/" && channel.slice(1).split("/").every((s) => SEGMENT.test(s));
}

/**
 * Says whether a client may subscribe to the channel or pattern: the last segment may be `*` (one segment) or `**` (one or more).
 *
 * @param {unknown} pattern
 * @returns {pattern is string}
 */
export function isPattern(pattern) {
  return pattern === "/*" || pattern === "/**" || (typeof pattern === "string" && isChannel(pattern.replace(/\/\*\*?$/, "")));
}

/**
 * Returns the patterns that match a channel, the channel itself first.
 *
 * @param {string} channel
 * @returns {string[]}
 */
export function patternsOf(channel) {
  const parts = channel.split("/").slice(0, 64);
  const patterns = [channel, `${parts.slice(0, -1).join("/")}/*`];
  for (let n = parts.length - 1; n > 0; n--) patterns.push(`${parts.slice(0, n).join("/")}/**`);
  return patterns;
}
