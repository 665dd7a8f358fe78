/**
 * A small Bayeux client: WebSocket with long-polling to fall back on, for pages that use no other library.
 *
 * @module
 */

import { isChannel, isPattern, patternsOf } from "./channels.js";
import { BayeuxError, Exchange, deferred, isUnknownSession } from "./exchange.js";
import { withDefaults } from "./options.js";
import { Pipeline } from "./pipeline.js";
import { backoff, bounded, pause } from "./timing.js";
import { TRANSPORTS, asError } from "./transports.js";

/** @typedef {import("./transports.js").Message} Message */
/** @typedef {import("./transports.js").Transport} Transport */
/** @typedef {import("./exchange.js").Item} Item */
/**
 * @template T
 * @typedef {import("./exchange.js").Deferred<T>} Deferred
 */
/** @typedef {import("./transports.js").TransportType} TransportType */
/** @typedef {import("./pipeline.js").Extension} Extension */
/** @typedef {"disconnected" | "handshaking" | "connecting" | "connected" | "disconnecting"} State */

/** @typedef {import("./options.js").BayeuxOptions} BayeuxOptions */

/**
 * @typedef {object} Subscription
 * @property {string} channel
 * @property {Promise<void>} ready Resolves when the server has confirmed; rejects if it refused.
 * @property {() => void} unsubscribe
 */

/**
 * @typedef {object} Topic
 * @property {Set<(message: Message) => void>} listeners
 * @property {boolean} confirmed
 * @property {Deferred<void>} ready
 */

/**
 * What to do next, after a handshake or a connect.
 *
 * @typedef {"retry" | "handshake" | "none"} Step
 */

const LONGEST = 10 * 60 * 1000;
const SUSPECT_FOR = 10 * 60 * 1000;
const BATCH = 100;
const META_SUBSCRIBE = "/meta/subscribe";
const META_UNSUBSCRIBE = "/meta/unsubscribe";

/**
 * A Bayeux client. It shakes hands, keeps a connect open, and after a loss comes back by itself, with its subscriptions.
 *
 * Events: `state` (detail `{state, previous}`), `handshake` (detail: the reply, also a refused one), `message` (detail: each message with data), `error`
 * (detail `{error, during}`).
 */
export class BayeuxClient extends EventTarget {
  #url;
  #options;
  /** @type {TransportType[]} */
  #types;
  #pipeline = new Pipeline((error) => this.#report(error, "extension"));
  /** @type {State} */
  #state = "disconnected";
  /** @type {string | null} */
  #clientId = null;
  /** @type {Transport | null} */
  #transport = null;
  /**
   * The type of the transport last opened.
   *
   * @type {TransportType}
   */
  #type = "long-polling";
  #exchange;
  /** From connect() to disconnect(). */
  #life = new AbortController();
  /** One handshake or connect under way. */
  #lap = new AbortController();
  /** A pause that may be cut short. */
  #nap = new AbortController();
  /**
   * The next time that the client is connected.
   *
   * @type {Deferred<void>}
   */
  #ready = deferred();
  /** @type {Promise<void> | null} */
  #closing = null;
  #connected = false;
  #failures = 0;
  #spins = 0;
  #received = 0;
  #advice = { timeout: 60_000, interval: 0 };
  /** WebSocket: since when it is not tried, whether it ever worked, failures in a row. */
  #websocket = { suspectSince: -Infinity, proven: false, failures: 0 };
  /** @type {Map<string, Topic>} */
  #topics = new Map();
  /** @type {Item[]} */
  #outbox = [];
  #flushing = false;
  #depth = 0;
  #unlisten = () => {};

  /**
   * @param {string | URL} url
   * @param {BayeuxOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.location?.href);
    this.#options = withDefaults(options, this.#url);
    this.#types = this.#options.transports.filter((type) => type in TRANSPORTS && (type !== "websocket" || this.#options.WebSocket));
    if (this.#types.length === 0) throw new TypeError("no transport can be used here");
    this.#exchange = new Exchange();
    for (const extension of options.extensions ?? []) this.addExtension(extension);
  }

  get url() {
    return this.#url.href;
  }

  get state() {
    return this.#state;
  }

  get clientId() {
    return this.#clientId;
  }

  /** The transport in use, or null. */
  get transport() {
    return this.#transport?.type ?? null;
  }

  /**
   * Adds an extension; best before connect().
   *
   * @param {Extension} extension
   */
  addExtension(extension) {
    this.#pipeline.add(extension, this);
  }

  /** @param {Extension} extension */
  removeExtension(extension) {
    this.#pipeline.remove(extension);
  }

  /**
   * Listens to an event; returns a function that stops it.
   *
   * @param {"state" | "handshake" | "message" | "error"} type
   * @param {(detail: any) => void} listener
   */
  on(type, listener) {
    /** @param {Event} event */
    const handle = (event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(type, handle);
    return () => this.removeEventListener(type, handle);
  }

  /**
   * Connects, and stays connected until disconnect(). Resolves at the first connection; rejects if the server says not to come back, or at disconnect().
   *
   * @returns {Promise<void>}
   */
  connect() {
    if (this.#closing) return this.#closing.then(() => this.connect());
    if (this.#state !== "disconnected") return this.#ready.promise;
    this.#life = new AbortController();
    this.#ready = deferred();
    this.#failures = 0;
    this.#listen();
    this.#setState("handshaking");
    void this.#loop(this.#life.signal);
    return this.#ready.promise;
  }

  /**
   * Tells the server good-bye, which takes some seconds at most, and closes. Subscriptions stay, for the next connect().
   *
   * @returns {Promise<void>}
   */
  disconnect() {
    if (this.#state === "disconnected") return Promise.resolve();
    this.#closing ??= this.#close().finally(() => (this.#closing = null));
    return this.#closing;
  }

  /**
   * Drops the transport and shakes hands anew: a new WebSocket carries the cookies of now. Resolves when connected again.
   *
   * @returns {Promise<void>}
   */
  rehandshake() {
    if (this.#state === "disconnected" || this.#closing) return this.connect();
    this.#failures = 0;
    this.#forget("handshake wanted");
    this.#dropTransport(new BayeuxError("handshake wanted", "closed"));
    this.#setState("handshaking");
    this.#lap.abort();
    this.#nap.abort();
    return this.#ready.promise;
  }

  /**
   * Subscribes a listener to a channel or pattern. It is called with each message, and stays over reconnects.
   *
   * @param {string} channel
   * @param {(message: Message) => void} listener
   * @returns {Subscription}
   */
  subscribe(channel, listener) {
    if (!isPattern(channel) || channel.startsWith("/meta/")) throw new TypeError(`no channel to subscribe to: ${String(channel).slice(0, 64)}`);
    let topic = this.#topics.get(channel);
    if (!topic) {
      topic = { listeners: new Set(), confirmed: false, ready: deferred() };
      this.#topics.set(channel, topic);
      if (this.#clientId !== null) this.#subscribeTopic(channel, topic);
    }
    topic.listeners.add(listener);
    return { channel, ready: topic.ready.promise, unsubscribe: () => this.unsubscribe(channel, listener) };
  }

  /**
   * Takes a listener away, or all listeners of the channel. Without listeners the channel is unsubscribed from.
   *
   * @param {string} channel
   * @param {(message: Message) => void} [listener]
   */
  unsubscribe(channel, listener) {
    const topic = this.#topics.get(channel);
    if (!topic) return;
    if (listener) topic.listeners.delete(listener);
    else topic.listeners.clear();
    if (topic.listeners.size > 0) return;
    this.#topics.delete(channel);
    topic.ready.reject(new BayeuxError("unsubscribed", "closed"));
    if (this.#clientId !== null) void this.#queue({ channel: META_UNSUBSCRIBE, subscription: channel });
  }

  /**
   * Publishes data. Resolves with the server's reply; rejects if it refused, if none came, or if the connection was lost before. Nothing is sent twice.
   *
   * @param {string} channel
   * @param {unknown} data
   * @returns {Promise<Message>}
   */
  publish(channel, data) {
    if (!isChannel(channel) || channel.startsWith("/meta/")) throw new TypeError(`no channel to publish to: ${String(channel).slice(0, 64)}`);
    if (this.#state === "disconnected" || this.#closing) return rejected(new BayeuxError("disconnected", "closed"));
    if (this.#outbox.length >= this.#options.maxQueue) return rejected(new BayeuxError("too many messages wait", "queue"));
    return this.#queue({ channel, data });
  }

  /**
   * Sends all that `fn` publishes and subscribes in one go.
   *
   * @template T
   * @param {() => T} fn
   * @returns {T}
   */
  batch(fn) {
    this.#depth++;
    try {
      return fn();
    } finally {
      this.#depth--;
      void this.#flush();
    }
  }

  // The loop: a handshake while there is no client id, else a connect; then a pause.

  /** @param {AbortSignal} life */
  async #loop(life) {
    while (!life.aborted) {
      const lap = new AbortController();
      this.#lap = lap;
      this.#nap = new AbortController();
      const nap = this.#nap.signal;
      const step = await this.#step(lap.signal);
      if (life.aborted) return;
      if (step === "none") {
        this.#stop(new BayeuxError("the server said not to reconnect", "refused"));
        return;
      }
      // A lap that was cut short goes on at once, unless it was cut short by a failure.
      if (!lap.signal.aborted || this.#failures > 0) await pause(this.#delay(), life, nap);
    }
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Step>}
   */
  async #step(signal) {
    const during = this.#clientId === null ? "handshake" : "connect";
    try {
      const step = during === "handshake" ? await this.#handshake(signal) : await this.#connect(signal);
      if (step === "handshake" && !signal.aborted) this.#forget("unknown session");
      return step;
    } catch (error) {
      if (!signal.aborted) this.#failed(asError(error), during);
      return "retry";
    }
  }

  #delay() {
    const { backoffBase, backoffMax, random } = this.#options;
    const spin = this.#spins > 5 ? Math.min(1000, 50 * this.#spins) : 0;
    return Math.max(this.#advice.interval, spin, backoff(this.#failures, backoffBase, backoffMax, random));
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Step>}
   */
  async #handshake(signal) {
    this.#setState("handshaking");
    this.#connected = false;
    this.#advice = { ...this.#advice, interval: 0 };
    this.#transport ??= this.#open(this.#chooseType());
    const ext = typeof this.#options.ext === "function" ? this.#options.ext() : this.#options.ext;
    const reply = await this.#ask(
      { channel: "/meta/handshake", version: "1.0", minimumVersion: "1.0", supportedConnectionTypes: this.#types, ...(ext && { ext }) },
      "handshake",
      this.#options.maxNetworkDelay,
      signal,
    );
    if (signal.aborted) return "retry";
    this.#emit("handshake", reply);
    if (reply.successful !== true) return this.#refused(reply, "handshake");
    return this.#begin(reply);
  }

  /**
   * @param {Message} reply
   * @returns {Step}
   */
  #begin(reply) {
    const { clientId, supportedConnectionTypes: offered } = reply;
    if (typeof clientId !== "string" || clientId === "" || clientId.length > 256) throw new BayeuxError("handshake reply without a client id", "protocol");
    const common = Array.isArray(offered) ? this.#types.filter((type) => offered.includes(type)) : [this.#type];
    if (common.length === 0) {
      this.#report(new BayeuxError("no transport in common", "protocol"), "handshake");
      return "none";
    }
    if (!common.includes(this.#type)) {
      this.#dropTransport(new BayeuxError("transport changed", "closed"));
      this.#transport = this.#open(common[0]);
    }
    this.#clientId = clientId;
    this.#setState("connecting");
    this.#resubscribe();
    return "retry";
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Step>}
   */
  async #connect(signal) {
    const first = !this.#connected;
    this.#transport ??= this.#open(this.#chooseType());
    const received = this.#received;
    const start = Date.now();
    const reply = await this.#ask(
      { channel: "/meta/connect", connectionType: this.#type, ...(first && { advice: { timeout: 0 } }) },
      "connect",
      (first ? 0 : this.#advice.timeout) + this.#options.maxNetworkDelay,
      signal,
    );
    if (signal.aborted) return "retry";
    if (reply.successful !== true) {
      const wasConnected = this.#connected;
      this.#connected = false;
      this.#setState("connecting");
      return this.#refused(reply, isUnknownSession(reply) ? "handshake" : "retry", wasConnected);
    }
    this.#connected = true;
    this.#failures = 0;
    // A server that answers each connect at once would otherwise keep both sides busy for nothing.
    this.#spins = !first && this.#received === received + 1 && Date.now() - start < 50 ? this.#spins + 1 : 0;
    this.#setState("connected");
    this.#ready.resolve();
    return stepOf(reply) ?? "retry";
  }

  /**
   * Decides what follows an unsuccessful reply. The loss of a session that was in use is answered at once, unless the server asks for an interval; everything
   * else backs off.
   *
   * @param {Message} reply
   * @param {Step} otherwise
   * @param {boolean} [atOnce]
   * @returns {Step}
   */
  #refused(reply, otherwise, atOnce = false) {
    let step = stepOf(reply) ?? otherwise;
    if (this.#clientId === null && step === "retry") step = "handshake";
    if (!(atOnce && step === "handshake")) this.#failures++;
    if (step === "retry" && this.#failures >= 3) step = "handshake";
    if (!atOnce || step !== "handshake") this.#report(new BayeuxError("refused", "refused", reply), this.#clientId === null ? "handshake" : "connect");
    return step;
  }

  /**
   * @param {Error} error
   * @param {string} during
   */
  #failed(error, during) {
    this.#failures++;
    this.#connected = false;
    this.#setState(this.#clientId === null ? "handshaking" : "connecting");
    this.#report(error, during);
    if (this.#type !== "websocket") {
      // The network is at fault rather than WebSocket.
      this.#websocket.suspectSince = -Infinity;
      this.#websocket.failures = 0;
      if (this.#clientId === null) this.#dropTransport(error);
      return;
    }
    this.#dropTransport(error);
    if (++this.#websocket.failures < 3 && this.#websocket.proven) return;
    this.#websocket.suspectSince = Date.now();
    // Another transport means another connection for the server: only a handshake is sure to be understood.
    if (this.#types.includes("long-polling")) this.#forget("transport changed");
  }

  // Transports.

  /** @returns {TransportType} */
  #chooseType() {
    const suspect = Date.now() - this.#websocket.suspectSince < SUSPECT_FOR;
    return this.#types.find((type) => type !== "websocket" || !suspect) ?? this.#types[0];
  }

  /**
   * @param {TransportType} type
   * @returns {Transport}
   */
  #open(type) {
    const { fetch, WebSocket, headers, credentials, appendMessageType, connectTimeout, maxIncoming } = this.#options;
    /** @type {Transport} */
    const transport = TRANSPORTS[type]({
      url: this.#url.href,
      fetch,
      WebSocket,
      headers,
      credentials,
      appendMessageType,
      connectTimeout,
      maxIncoming,
      receive: (messages) => {
        if (this.#transport === transport) this.#receive(messages);
      },
      lost: (lost, error) => {
        if (this.#transport === lost) this.#dropTransport(error);
      },
    });
    this.#type = type;
    return transport;
  }

  /** @param {Error} error */
  #dropTransport(error) {
    const transport = this.#transport;
    this.#transport = null;
    transport?.close();
    this.#exchange.failAll(error);
  }

  // Messages out.

  /**
   * Sends one message at once and waits for its reply.
   *
   * @param {Message} message
   * @param {"handshake" | "connect" | "disconnect"} kind
   * @param {number} timeout
   * @param {AbortSignal} signal
   */
  async #ask(message, kind, timeout, signal) {
    const reply = /** @type {Deferred<Message>} */ (deferred());
    void this.#dispatch([{ message, reply }], kind, timeout, signal);
    return reply.promise;
  }

  /**
   * Sends messages in one batch; resolves when that is done, whatever came of it.
   *
   * @param {Item[]} items
   * @param {"handshake" | "connect" | "disconnect" | ""} kind
   * @param {number} timeout
   * @param {AbortSignal} signal
   */
  async #dispatch(items, kind, timeout, signal) {
    const transport = this.#transport;
    if (!transport) {
      for (const { reply } of items) reply.reject(new BayeuxError("no connection", "transport"));
      return;
    }
    const clientId = kind === "handshake" ? null : this.#clientId;
    const call = this.#exchange.open(items, timeout, signal);
    try {
      const batch = call.messages
        .map((message) => this.#pipeline.outgoing(clientId === null ? message : { ...message, clientId }))
        .filter((message) => message !== null);
      if (batch.length > 0) await transport.send(batch, { signal: call.signal, kind });
      // A response has answered all that it will answer; over a socket the replies come when they come.
      if (transport.type === "long-polling" || batch.length === 0) call.fail(new BayeuxError("no reply", "transport"));
    } catch (error) {
      call.fail(asError(error));
    }
  }

  /**
   * @param {Message} message
   * @returns {Promise<Message>}
   */
  #queue(message) {
    const reply = /** @type {Deferred<Message>} */ (deferred());
    this.#outbox.push({ message, reply });
    void this.#flush();
    const sentAs = this.#clientId;
    const result = reply.promise.then((answer) => {
      if (answer.successful === true) return answer;
      if (isUnknownSession(answer) && sentAs === this.#clientId) this.#lose();
      throw new BayeuxError("refused", "refused", answer);
    });
    result.catch(() => {});
    return result;
  }

  async #flush() {
    if (this.#flushing) return;
    this.#flushing = true;
    try {
      while (this.#outbox.length > 0 && this.#clientId !== null && this.#transport && this.#depth === 0) {
        await this.#dispatch(this.#outbox.splice(0, BATCH), "", this.#options.maxNetworkDelay, this.#life.signal);
      }
    } finally {
      this.#flushing = false;
    }
  }

  /** Shakes hands anew because the server no longer knows this client. */
  #lose() {
    if (this.#clientId === null || this.#closing) return;
    this.#forget("unknown session");
    this.#failures++;
    this.#setState("handshaking");
    this.#lap.abort();
  }

  /** @param {string} why */
  #forget(why) {
    if (this.#clientId === null) return;
    this.#clientId = null;
    this.#connected = false;
    this.#exchange.failAll(new BayeuxError(why, "closed"));
  }

  // Subscriptions.

  #resubscribe() {
    const rest = this.#outbox.filter(({ message }) => message.channel !== META_SUBSCRIBE && message.channel !== META_UNSUBSCRIBE);
    this.#outbox = [];
    this.#depth++;
    for (const [channel, topic] of this.#topics) this.#subscribeTopic(channel, topic);
    this.#outbox.push(...rest);
    this.#depth--;
    void this.#flush();
  }

  /**
   * @param {string} channel
   * @param {Topic} topic
   */
  #subscribeTopic(channel, topic) {
    const clientId = this.#clientId;
    this.#queue({ channel: META_SUBSCRIBE, subscription: channel }).then(
      () => topic.ready.resolve(),
      (error) => {
        if (this.#topics.get(channel) !== topic) return;
        if (error instanceof BayeuxError && error.code === "refused" && !isUnknownSession(error.reply)) {
          this.#topics.delete(channel);
          topic.ready.reject(error);
          this.#report(error, "subscribe");
        } else if (this.#clientId === clientId && this.#state !== "disconnected") {
          // The request was lost but not the session.
          setTimeout(() => {
            if (clientId !== null && this.#clientId === clientId && this.#topics.get(channel) === topic) this.#subscribeTopic(channel, topic);
          }, this.#options.backoffBase * 2);
        }
      },
    );
  }

  // Messages in.

  /** @param {Message[]} messages */
  #receive(messages) {
    if (this.#transport?.type === "websocket") Object.assign(this.#websocket, { proven: true, failures: 0, suspectSince: -Infinity });
    for (const raw of messages) {
      this.#received++;
      const message = this.#pipeline.incoming(raw);
      if (message === null) continue;
      this.#takeAdvice(message.advice);
      if (this.#exchange.settle(message)) continue;
      if (message.data !== undefined && !message.channel.startsWith("/meta/")) this.#deliver(message);
    }
  }

  /** @param {unknown} advice */
  #takeAdvice(advice) {
    if (typeof advice !== "object" || advice === null) return;
    const { timeout, interval } = /** @type {Record<string, unknown>} */ (advice);
    this.#advice = { timeout: bounded(timeout, this.#advice.timeout, LONGEST), interval: bounded(interval, this.#advice.interval, LONGEST) };
  }

  /** @param {Message} message */
  #deliver(message) {
    this.#emit("message", message);
    for (const pattern of patternsOf(message.channel)) {
      for (const listener of this.#topics.get(pattern)?.listeners ?? []) {
        try {
          listener(message);
        } catch (error) {
          this.#report(asError(error), "listener");
        }
      }
    }
  }

  // The end, and what is around.

  async #close() {
    this.#setState("disconnecting");
    this.#life.abort();
    this.#lap.abort();
    const { maxNetworkDelay } = this.#options;
    if (this.#clientId !== null && this.#transport) {
      await this.#ask({ channel: "/meta/disconnect" }, "disconnect", Math.min(3000, maxNetworkDelay), new AbortController().signal).catch(() => {});
    }
    this.#stop(new BayeuxError("disconnected", "closed"));
  }

  /** @param {BayeuxError} error */
  #stop(error) {
    this.#life.abort();
    this.#lap.abort();
    this.#unlisten();
    this.#forget(error.message);
    this.#dropTransport(error);
    for (const { reply } of this.#outbox.splice(0)) reply.reject(error);
    this.#setState("disconnected");
    this.#ready.reject(error);
  }

  /** @param {State} state */
  #setState(state) {
    const previous = this.#state;
    if (previous === state || (previous === "disconnecting" && state !== "disconnected")) return;
    this.#state = state;
    if (previous === "connected" && state !== "disconnected") this.#ready = deferred();
    this.#emit("state", { state, previous });
  }

  /**
   * @param {Error} error
   * @param {string} during
   */
  #report(error, during) {
    this.#emit("error", { error, during });
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Comes back at once when the network or the page does. */
  #listen() {
    const { document, addEventListener } = globalThis;
    if (typeof addEventListener !== "function") return;
    const online = () => {
      this.#connected = false;
      this.#failures = 0;
      this.#lap.abort();
      this.#nap.abort();
      if (this.#transport?.type === "websocket") this.#dropTransport(new BayeuxError("network changed", "transport"));
    };
    const visible = () => {
      if (document.visibilityState === "visible") this.#nap.abort();
    };
    globalThis.addEventListener("online", online);
    document?.addEventListener("visibilitychange", visible);
    this.#unlisten = () => {
      globalThis.removeEventListener("online", online);
      document?.removeEventListener("visibilitychange", visible);
    };
  }
}

/**
 * @param {Message} reply
 * @returns {Step | null}
 */
function stepOf(reply) {
  const reconnect = reply.advice?.reconnect;
  return reconnect === "retry" || reconnect === "handshake" || reconnect === "none" ? reconnect : null;
}

/** @param {Error} error */
function rejected(error) {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}
