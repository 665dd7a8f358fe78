import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Front, PATIENCE, browser, cleanUp, nodes, program, until } from "./support.js";

/** @typedef {{node: string, session: string, version: string, attributes: {name: string, value: any}[]}} State */

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ITEMS = 100;
/** CometD sends no longer messages than this, unless it is configured. */
const COMETD_LIMIT = 8192;

const POLICY = {
  version: 1,
  session: { idle: "30m", absolute: "12h", leeway: "1s" },
  attributes: { login: { ttl: "1h", on_expiry: "drop" }, cart: { ttl: "1h", max_bytes: 11264 }, ticket: { ttl: "10m", once: true } },
};

/** @type {import("playwright-core").Browser} */
let chromium;
/** @type {string} */
let blobctl;

before(async () => {
  chromium = await browser();
  blobctl = await program();
});
after(cleanUp);

/** What the page offers. */
class Page {
  page;

  /** @param {import("playwright-core").Page} page */
  constructor(page) {
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
  }

  /**
   * @template T
   * @param {string} expression Of `shop`, the page's object.
   * @returns {Promise<T>}
   */
  eval(expression) {
    return this.page.evaluate(`window.shop.${expression}`);
  }

  /**
   * Sends a request of the page's own.
   *
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<State>}
   */
  async call(path, body) {
    return this.page.evaluate(
      async ({ path, body }) => {
        const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
        const response = await fetch(path, body === undefined ? {} : post);
        if (!response.ok) throw new Error(`${path}: ${response.status}`);
        return (await response.json()).state;
      },
      { path, body },
    );
  }

  async start() {
    await until("the modules", () => this.page.evaluate("'shop' in window"));
    await this.eval("start()");
    await until("the connection", () => this.eval("connected()"));
  }

  /** Waits until the browser holds what the server has. */
  held() {
    return until("the newest set", async () => {
      const { version } = await this.call("/api/state");
      const held = /** @type {{gen: string, blobs: Record<string, string>} | null} */ (await this.eval("held()"));
      return held?.gen === version && held;
    });
  }
}

/** @param {State} state */
function values(state) {
  return Object.fromEntries(state.attributes.map(({ name, value }) => [name, value]));
}

describe("the published CometD client with its default configuration", () => {
  for (const transport of ["websocket", "long-polling"]) {
    test(`carries a large session over kill -9 and reload, over ${transport}`, { timeout: 60_000 }, async () => {
      const front = new Front(await nodes(blobctl, POLICY), { "/test/": HERE, "/cometd/": `${HERE}node_modules/cometd/` });
      const url = await front.listen();
      const context = await chromium.newContext();
      const at = new Page(await context.newPage());
      await at.page.goto(`${url}test/cometd-page.html?${transport}`);
      await at.call("/api/login", { user: "Ada" });
      await at.start();
      assert.equal(await at.eval("transport()"), transport);
      for (let i = 0; i < ITEMS; i++) await at.call("/api/cart", { item: String(i).padStart(3, "0").padEnd(80, "a cart that is too large for one message ") });
      const held = await at.held();
      assert.equal(Object.keys(held.blobs).length, 2);
      const before = await at.call("/api/state");
      assert.equal(values(before).cart.length, ITEMS);

      await front.node(before.node).kill();
      await until("the session on another node", async () => /** @type {{state: string}[]} */ (await at.eval("answers")).some(({ state }) => state === "restored"));
      const moved = await until("an answer of that node", () => at.call("/api/state"));
      assert.notEqual(moved.node, before.node);
      assert.equal(moved.session, before.session);
      assert.deepEqual(values(moved), values(before));
      const size = Math.max(.../** @type {number[]} */ (await at.eval("handshakes")));
      assert.ok(size > COMETD_LIMIT, `the handshake had ${size} characters`);
      assert.match((await at.held()).gen, /^1\./);
      await at.call("/api/ticket", {});
      assert.equal(Object.keys((await at.held()).blobs).length, 3);

      await at.page.reload();
      await at.start();
      const reloaded = await at.call("/api/state");
      assert.equal(reloaded.node, moved.node);
      assert.deepEqual(Object.keys(values(reloaded)), ["cart", "login", "ticket"]);

      await Promise.all([front.node(moved.node).kill(), at.page.reload()]);
      await at.start();
      const third = await until("an answer of the third node", () => at.call("/api/state"));
      assert.equal(third.session, before.session);
      assert.deepEqual(values(third), values(reloaded));
      assert.match((await at.held()).gen, /^2\./);
      await context.close();
    });
  }
});
