/**
 * The two transports of {@link BayeuxClient}: WebSocket and long-polling. A transport moves batches of messages; it knows nothing of their meaning.
 *
 * @module
 */

/** @typedef {"websocket" | "long-polling"} TransportType */
/** @typedef {Record<string, any> & {channel: string}} Message */

/**
 * @typedef {object} TransportContext
 * @property {string} url
 * @property {typeof fetch} fetch
 * @property {typeof WebSocket | undefined} WebSocket
 * @property {Record<string, string>} headers
 * @property {RequestCredentials} credentials
 * @property {boolean} appendMessageType
 * @property {number} connectTimeout
 * @property {number} maxIncoming
 * @property {(messages: Message[]) => void} receive Called with each batch that comes in.
 * @property {(transport: Transport, error: Error) => void} lost Called once, when a connection that was open is gone.
 */

/**
 * @typedef {object} Transport
 * @property {string} type
 * @property {(messages: Message[], options: {signal: AbortSignal, kind: "handshake" | "connect" | "disconnect" | ""}) => Promise<void>} send Resolves
 *   when the messages are sent (WebSocket) or answered (long-polling).
 * @property {() => void} close Requests under way are ended by their own signals.
 */

const MAX_BATCH = 10_000;

/** @type {Record<string, (context: TransportContext) => Transport>} */
export const TRANSPORTS = {
  websocket: (context) => new WebSocketTransport(context),
  "long-polling": (context) => new LongPollingTransport(context),
};

/**
 * Reads a batch of messages; whatever is not an object with a channel is left out.
 *
 * @param {unknown} text
 * @param {number} limit
 * @returns {Message[]}
 */
export function parseBatch(text, limit) {
  if (typeof text !== "string") throw new Error("not a text");
  if (text.length > limit) throw new Error("too large");
  const value = /** @type {unknown} */ (JSON.parse(text));
  const batch = Array.isArray(value) ? value : [value];
  if (batch.length > MAX_BATCH) throw new Error("too many messages");
  return batch.filter((message) => typeof message === "object" && message !== null && typeof message.channel === "string");
}

/** @implements {Transport} */
class LongPollingTransport {
  type = "long-polling";
  #context;
  #closed = false;

  /** @param {TransportContext} context */
  constructor(context) {
    this.#context = context;
  }

  /**
   * @param {Message[]} messages
   * @param {{signal: AbortSignal, kind: "handshake" | "connect" | "disconnect" | ""}} options
   */
  async send(messages, { signal, kind }) {
    const { fetch, headers, credentials, maxIncoming } = this.#context;
    const response = await fetch(this.#address(kind), {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify(messages),
      cache: "no-store",
      credentials,
      signal,
    });
    if (!response.ok) {
      void response.body?.cancel().catch(() => {});
      throw new Error(`HTTP status ${response.status}`);
    }
    const text = await readBounded(response, maxIncoming);
    if (!this.#closed) this.#context.receive(parseBatch(text, maxIncoming));
  }

  close() {
    this.#closed = true;
  }

  /** @param {string} kind */
  #address(kind) {
    const { url, appendMessageType } = this.#context;
    return appendMessageType && kind !== "" ? `${url.replace(/\/+$/, "")}/${kind}` : url;
  }
}

/** @implements {Transport} */
class WebSocketTransport {
  type = "websocket";
  #context;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Promise<WebSocket> | null} */
  #opening = null;
  #closed = false;

  /** @param {TransportContext} context */
  constructor(context) {
    this.#context = context;
  }

  /**
   * @param {Message[]} messages
   * @param {{signal: AbortSignal}} options
   */
  async send(messages, { signal }) {
    this.#opening ??= this.#open();
    const socket = await this.#opening;
    signal.throwIfAborted();
    if (socket.readyState !== 1) throw new Error("connection closed");
    socket.send(JSON.stringify(messages));
  }

  close() {
    this.#closed = true;
    try {
      this.#socket?.close(1000);
    } catch {
      // It never opened.
    }
  }

  /** @returns {Promise<WebSocket>} */
  #open() {
    return new Promise((resolve, reject) => {
      const { WebSocket, url, connectTimeout } = this.#context;
      if (!WebSocket || this.#closed) throw new Error("no WebSocket");
      const socket = new WebSocket(url.replace(/^http/, "ws"));
      this.#socket = socket;
      const timer = setTimeout(() => fail(new Error("connection not opened in time")), connectTimeout);
      let open = false;
      let gone = false;
      /** @param {Error} error */
      const fail = (error) => {
        if (gone) return;
        gone = true;
        clearTimeout(timer);
        this.close();
        if (open) this.#context.lost(this, error);
        else reject(error);
      };
      socket.onopen = () => {
        clearTimeout(timer);
        open = true;
        resolve(socket);
      };
      socket.onclose = () => fail(new Error("connection closed"));
      socket.onerror = () => fail(new Error("connection failed"));
      socket.onmessage = (event) => {
        if (gone || this.#closed) return;
        try {
          this.#context.receive(parseBatch(event.data, this.#context.maxIncoming));
        } catch (error) {
          fail(asError(error));
        }
      };
    });
  }
}

/**
 * @param {Response} response
 * @param {number} limit
 */
async function readBounded(response, limit) {
  const reader = response.body?.getReader();
  if (!reader) return response.text();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length > limit) {
      void reader.cancel().catch(() => {});
      throw new Error("too large");
    }
  }
}

/**
 * @param {unknown} error
 * @returns {Error}
 */
export function asError(error) {
  return error instanceof Error ? error : new Error(String(error));
}
