/**
 * The options of {@link BayeuxClient}, and their defaults.
 *
 * @module
 */

/** @typedef {import("./transports.js").TransportType} TransportType */
/** @typedef {import("./pipeline.js").Extension} Extension */

/**
 * @typedef {object} BayeuxOptions
 * @property {TransportType[]} [transports] In order of preference; default websocket, long-polling.
 * @property {Extension[]} [extensions]
 * @property {object | (() => object)} [ext] The application's `ext` of each handshake, for example its credentials.
 * @property {Record<string, string>} [headers] Headers of long-polling requests.
 * @property {RequestCredentials} [credentials] Default "same-origin"; "include" sends cookies to another origin.
 * @property {number} [maxNetworkDelay] Milliseconds to wait for a reply beyond what the server may hold it; default 10,000.
 * @property {number} [connectTimeout] Milliseconds for a WebSocket to open; default 5,000.
 * @property {number} [backoffBase] First pause after a failure; default 500. It doubles up to backoffMax.
 * @property {number} [backoffMax] Default 30,000.
 * @property {number} [maxIncoming] Characters of one response or frame; default 4 Mi.
 * @property {number} [maxQueue] Messages that may wait to be sent; default 1,000.
 * @property {boolean} [appendMessageType] Whether long-polling posts to URL/handshake, URL/connect; default yes, unless the URL has a query or ends in a file name.
 * @property {typeof fetch} [fetch]
 * @property {typeof WebSocket} [WebSocket]
 * @property {() => number} [random]
 */

/**
 * Fills in what the application left out.
 *
 * @param {BayeuxOptions} options
 * @param {URL} url
 */
export function withDefaults(options, url) {
  const isFile = (url.pathname.replace(/\/$/, "").split("/").pop() ?? "").includes(".");
  return {
    transports: options.transports ?? /** @type {TransportType[]} */ (["websocket", "long-polling"]),
    ext: options.ext,
    headers: options.headers ?? {},
    credentials: options.credentials ?? /** @type {const} */ ("same-origin"),
    maxNetworkDelay: options.maxNetworkDelay ?? 10_000,
    connectTimeout: options.connectTimeout ?? 5_000,
    backoffBase: options.backoffBase ?? 500,
    backoffMax: options.backoffMax ?? 30_000,
    maxIncoming: options.maxIncoming ?? 4 * 1024 * 1024,
    maxQueue: options.maxQueue ?? 1000,
    appendMessageType: options.appendMessageType ?? (url.search === "" && !isFile),
    // Called as a method of anything else than the window, fetch throws.
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    WebSocket: options.WebSocket ?? globalThis.WebSocket,
    random: options.random ?? Math.random,
  };
}
