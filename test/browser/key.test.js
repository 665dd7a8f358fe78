import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Front, PATIENCE, browser, cleanUp, nodes, program, until } from "./support.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));

const POLICY = {
  version: 1,
  session: { idle: "30m", absolute: "12h", leeway: "1s" },
  attributes: { login: { ttl: "1h" }, cart: { ttl: "1h", binding: "key" }, ticket: { ttl: "10m", once: true } },
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

/**
 * Sends a request of the page's own.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} path
 * @param {unknown} [body]
 */
async function call(page, path, body) {
  return page.evaluate(
    async ({ path, body }) => {
      const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
      const response = await fetch(path, body === undefined ? {} : post);
      return { status: response.status, state: response.headers.get("Content-Type") === "application/json" ? (await response.json()).state : null };
    },
    { path, body },
  );
}

/**
 * @param {import("playwright-core").BrowserContext} context
 * @param {string} url
 */
async function open(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(url);
  await until("the modules", () => page.evaluate("'shop' in window"));
  return page;
}

/**
 * @param {import("playwright-core").Page} page
 * @returns {Promise<{state: string, gen: string | null}[]>}
 */
function answers(page) {
  return page.evaluate("window.shop.answers");
}

/** @param {import("playwright-core").Page} page */
async function start(page) {
  await page.evaluate("window.shop.start()");
  await until("the connection", () => page.evaluate("window.shop.connected()"));
}

/**
 * Waits until the browser holds what the server has.
 *
 * @param {import("playwright-core").Page} page
 */
function held(page) {
  return until("the newest set", async () => {
    const { state } = await call(page, "/api/state");
    const held = /** @type {{gen: string} | null} */ (await page.evaluate("window.shop.held()"));
    return held?.gen === state?.version && held;
  });
}

/**
 * What the page can find out about the key.
 *
 * @param {import("playwright-core").Page} page
 */
async function key(page) {
  return page.evaluate(async () => {
    const request = indexedDB.open("sealed-blob/v1");
    const database = await new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: reject }));
    const store = database.transaction("keys").objectStore("keys");
    const got = store.get("sealed-blob/v1/cometd");
    await new Promise((resolve) => Object.assign(got, { onsuccess: resolve }));
    database.close();
    const { privateKey, publicKey } = got.result;
    const exports = await Promise.allSettled([crypto.subtle.exportKey("jwk", privateKey), crypto.subtle.exportKey("pkcs8", privateKey)]);
    return {
      extractable: privateKey.extractable,
      exported: exports.filter(({ status }) => status === "fulfilled").length,
      x: (await crypto.subtle.exportKey("jwk", publicKey)).x,
    };
  });
}

/** @param {any} state */
function cart(state) {
  return state.attributes.find((/** @type {{name: string}} */ { name }) => name === "cart")?.value;
}

describe("a session that is bound to a key of the browser", () => {
  for (const transport of ["websocket", "long-polling"]) {
    test(`moves with the browser and with no copy of its storage, over ${transport}`, { timeout: 60_000 }, async () => {
      const front = new Front(await nodes(blobctl, POLICY), { "/test/": HERE, "/cometd/": `${HERE}node_modules/cometd/` });
      const url = `${await front.listen()}test/cometd-page.html?${transport}`;
      const context = await chromium.newContext();
      const page = await open(context, url);
      await call(page, "/api/login", { user: "Ada" });
      assert.equal((await call(page, "/api/cart", { item: "tea" })).status, 409, "there is no key yet");
      await start(page);
      assert.equal((await call(page, "/api/cart", { item: "tea" })).status, 200);
      await held(page);
      const before = await key(page);
      assert.deepEqual([before.extractable, before.exported], [false, 0]);

      await page.reload();
      await until("the modules", () => page.evaluate("'shop' in window"));
      await start(page);
      await held(page);
      assert.deepEqual(await key(page), before, "the key survives a reload");
      const { state } = await call(page, "/api/state");

      const stolen = await context.storageState(); // cookies, also those that no script can read, and localStorage
      await page.close();
      await front.node(state.node).kill();
      const thief = await chromium.newContext({ storageState: stolen });
      const elsewhere = await open(thief, url);
      assert.ok(await elsewhere.evaluate("window.shop.held()"), "the copy has the set");
      await elsewhere.evaluate("window.shop.start()");
      await until("the refusal", async () => (await answers(elsewhere)).some(({ state }) => state === "refused"));
      assert.ok((await answers(elsewhere)).every(({ state, gen }) => (state === "refused" || state === "retry") && gen === null));
      assert.equal((await call(elsewhere, "/api/state")).status, 503, "the session is nowhere");

      const again = await open(context, url);
      await start(again);
      await until("the restore", async () => (await answers(again)).some(({ state }) => state === "restored"));
      const moved = await call(again, "/api/state");
      assert.deepEqual([moved.state.session, cart(moved.state)], [state.session, ["tea"]]);
      assert.notEqual(moved.state.node, state.node);
      await until("the new node's set", async () => /** @type {{gen: string}} */ (await held(again)).gen.startsWith("1."));

      // Where the session lives a copy gets no set either; its requests are served by the cookie alone.
      await elsewhere.reload();
      await until("the modules", () => elsewhere.evaluate("'shop' in window"));
      await elsewhere.evaluate("window.shop.start()");
      await until("the refusal", async () => (await answers(elsewhere)).some(({ state }) => state === "refused"));
      assert.equal(await elsewhere.evaluate("window.shop.held()"), null);
      assert.equal((await call(elsewhere, "/api/state")).status, 200);
      await Promise.all([context.close(), thief.close()]);
    });
  }
});
