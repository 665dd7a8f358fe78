import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Shop } from "./shop-page.js";
import { Front, browser, cleanUp, demo, nodes, program, until } from "./support.js";

/** @type {import("playwright-core").Browser} */
let chromium;
/** @type {string} */
let blobctl;

before(async () => {
  chromium = await browser();
  blobctl = await program();
});
after(cleanUp);

/** @param {import("playwright-core").BrowserContext} context */
async function sessionCookies(context) {
  return (await context.cookies()).filter(({ name }) => name.endsWith("sealed-session"));
}

/**
 * Runs a test with a demonstration and a profile of its own.
 *
 * @param {string} name
 * @param {(on: {url: string, context: import("playwright-core").BrowserContext, open: () => Promise<Shop>}) => Promise<void>} body
 */
function onDemo(name, body) {
  test(name, { timeout: 60_000 }, async () => {
    const url = await demo(blobctl);
    const context = await chromium.newContext({ viewport: { width: 1280, height: 860 } });
    try {
      await body({ url, context, open: () => Shop.open(context, url) });
    } finally {
      await context.close();
    }
  });
}

describe("the shop's page on the demonstration", () => {
  onDemo("loads without errors, violations or scrolling sideways, from a wide screen to a small phone", async ({ url, context }) => {
    const shop = new Shop(await context.newPage());
    await shop.page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => console.error(`violates ${event.violatedDirective}: ${event.blockedURI}`));
    });
    for (const width of [1280, 768, 390, 320]) {
      await shop.page.setViewportSize({ width, height: 844 });
      const response = await shop.page.goto(url);
      assert.match(response?.headers()["content-security-policy"] ?? "", /default-src 'self'/);
      await shop.connected();
      await shop.page.waitForSelector("#desk:not([hidden])");
      assert.ok(await shop.page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), `sideways at ${width}`);
    }
    assert.equal(await shop.session(), "");
    assert.deepEqual(await sessionCookies(context), [], "looking around begins no session");
    assert.match(await shop.text("#verdict-replay"), /Not possible yet/);
    assert.deepEqual(shop.complaints, []);
  });

  onDemo("login, cart and ticket are on the server and sealed in the browser; a reload keeps them", async ({ open }) => {
    const shop = await open();
    await shop.login("Ada");
    await shop.add("Programme", "Lemonade", "Lemonade");
    const seat = await shop.reserve();
    const session = await shop.session();
    assert.notEqual(session, "");
    assert.deepEqual(await shop.cart(), ["Programme", "Lemonade× 2"]);
    assert.deepEqual(
      (await shop.state()).attributes.map((/** @type {{name: string}} */ { name }) => name),
      ["cart", "login", "ticket"],
    );
    await until("three blobs and the manifest", async () => (await shop.page.$$("#blobs tr.blob, #blobs tr.manifest")).length === 4);
    assert.doesNotMatch(JSON.stringify(await shop.held()), /Ada|Lemonade|seat/);

    await shop.page.reload();
    await shop.connected();
    assert.equal(await shop.session(), session);
    assert.equal(await shop.text("#ticket-seat"), seat);
    assert.equal(await shop.text("#who"), "Ada");
    assert.deepEqual(await shop.cart(), ["Programme", "Lemonade× 2"]);
    await shop.add("Programme");
    assert.deepEqual(shop.complaints, []);
  });

  for (const transport of ["WebSocket", "long-polling"]) {
    onDemo(`survives kill -9 of the node in use, and of the next one, without the visitor doing anything, over ${transport}`, async ({ context, open }) => {
      if (transport === "long-polling") await context.addInitScript(() => Reflect.deleteProperty(globalThis, "WebSocket"));
      const shop = await open();
      await shop.login("Ada");
      await shop.add("Opera glasses");
      const seat = await shop.reserve();
      const session = await shop.session();
      for (let round = 1; round <= 2; round++) {
        const from = await shop.node();
        await shop.kill();
        const to = await shop.moved(from);
        assert.equal(await shop.text("#moment").then((text) => text.replace(/, [\d.]+ s later/, "")), `${from} was killed. Your session went on at ${to}.`);
        assert.equal(await shop.session(), session);
        assert.equal(await shop.text("#ticket-seat"), seat);
        assert.deepEqual(await shop.cart(), ["Opera glasses"]);
        await until("a set of the new node", async () => (await shop.held())?.gen.startsWith(`${round}.`));
      }
      await shop.add("Opera glasses");
      assert.deepEqual(await shop.cart(), ["Opera glasses× 2"]);
    });
  }

  onDemo("survives a kill and a reload at the same time", async ({ url, open }) => {
    const shop = await open();
    await shop.login("Ada");
    await shop.add("Programme");
    const [from, session] = [await shop.node(), await shop.session()];
    const killed = await shop.page.request.post(`${url}demo/kill`);
    assert.ok(killed.ok());
    await shop.page.reload();
    await shop.moved(from);
    assert.equal(await shop.session(), session);
    assert.deepEqual(await shop.cart(), ["Programme"]);
    assert.match(await shop.text("#moment"), new RegExp(`^${from} is gone. Your session went on at`));
  });

  onDemo("a step taken while the node dies is carried out on the next one, once", async ({ url, open }) => {
    const shop = await open();
    await shop.add("Programme");
    const from = await shop.node();
    await Promise.all([shop.page.request.post(`${url}demo/kill`), shop.page.click('.items li:has-text("Lemonade") .add')]);
    await shop.moved(from);
    await until("the lemonade", async () => (await shop.size()) === 2);
    await shop.sealed();
    assert.deepEqual(await shop.cart(), ["Programme", "Lemonade"]);
  });

  onDemo("can be used with the keyboard alone", async ({ open }) => {
    const shop = await open();
    const keys = shop.page.keyboard;
    const focused = () => shop.page.evaluate(() => document.activeElement?.textContent?.trim() || document.activeElement?.id);
    /** @param {string} name */
    const tabTo = async (name) => {
      for (let i = 0; i < 20 && (await focused()) !== name; i++) await keys.press("Tab");
      assert.equal(await focused(), name);
    };
    await keys.press("Tab");
    assert.equal(await focused(), "Skip to the shop");
    await keys.press("Enter");
    await tabTo("user");
    await keys.type("Ada");
    await keys.press("Enter");
    await shop.page.waitForSelector("#greeting:not([hidden])");
    await tabTo("Reserve a seat");
    await keys.press("Enter");
    await until("the seat", () => shop.page.isVisible("#buy"));
    await shop.sealed();
    await tabTo("Add");
    await keys.press("Space");
    await until("the programme", async () => (await shop.size()) === 1);
    await keys.press("Shift+Tab");
    await keys.press("Shift+Tab");
    assert.equal(await focused(), "Buy");
    await keys.press("Enter");
    await shop.page.waitForSelector('#outcome:has-text("Bought")');
    assert.notEqual(await focused(), undefined, "the focus is not lost with the button");
  });

  onDemo("a ticket buys once", async ({ open }) => {
    const shop = await open();
    await shop.login("Ada");
    const seat = await shop.reserve();
    await shop.page.dblclick("#buy");
    await shop.page.waitForSelector('#outcome:has-text("Bought")');
    await shop.sealed();
    const paid = [`Ticket: ${seat.toLowerCase().replace(/row (.)/, (_, row) => `row ${row.toUpperCase()}`)} (paid)`];
    assert.deepEqual(await shop.cart(), paid);
    await shop.page.click("#again");
    await shop.page.waitForSelector('#outcome[data-kind="bad"]');
    assert.match(await shop.text("#outcome"), /^Refused: There is no ticket/);
    assert.deepEqual(await shop.cart(), paid);
  });

  onDemo("refuses the replayed, the changed, the mixed and the incomplete set, and says why", async ({ open }) => {
    const shop = await open();
    await shop.login("Ada");
    await shop.add("Programme", "Lemonade");
    await shop.reserve();
    const node = await shop.node();
    await shop.page.waitForSelector("#verdict-replay:has-text('buy with the ticket')");
    const reasons = { flip: /authentication failed/, mix: /another generation/, omit: /the manifest lists 3 envelopes, 2 are there/, replay: /superseded|rolled back/ };
    for (const kind of /** @type {const} */ (["flip", "mix", "omit"])) {
      const verdict = await shop.attack(kind);
      assert.equal(verdict.kind, "refused", verdict.text);
      assert.match(verdict.text, reasons[kind]);
    }
    await shop.buy();
    await shop.page.reload(); // the thief keeps his copy
    await shop.connected();
    const verdict = await shop.attack("replay");
    assert.equal(verdict.kind, "refused", verdict.text);
    assert.match(verdict.text, reasons.replay);
    assert.equal(await shop.node(), node, "an attack moves nothing");
    await shop.add("Lemonade");
  });

  onDemo("logging out clears the blobs, and the old set is refused for good", async ({ url, context, open }) => {
    const shop = await open();
    await shop.login("Ada");
    await shop.add("Programme");
    const [cookies, older] = [await sessionCookies(context), await shop.held()];
    await shop.page.click("#logout");
    await until("no session", async () => (await shop.session()) === "");
    await shop.connected();
    assert.equal(await shop.held(), null);
    assert.deepEqual(await sessionCookies(context), []);
    assert.deepEqual(await shop.cart(), []);
    assert.match(await shop.text("#moment"), /^Logged out/);

    await context.addCookies(cookies); // a thief with the cookie and the blobs
    const attack = await shop.page.request.post(`${url}demo/attack/replay`, { data: { set: older, older } });
    const verdict = await attack.json();
    assert.equal(verdict.state, "refused", JSON.stringify(verdict));
    assert.match(verdict.reason, /revoked/);

    await shop.page.evaluate((record) => localStorage.setItem("sealed-blob/v1/shop", record), JSON.stringify({ v: 1, at: Date.now(), ...older }));
    await shop.page.reload();
    await shop.connected();
    await until("the refused set dropped", async () => (await shop.held()) === null);
    assert.equal(await shop.session(), "");
    await shop.add("Lemonade");
    assert.deepEqual(await shop.cart(), ["Lemonade"]);
  });

  onDemo("two tabs go to the same session through two kills", async ({ open }) => {
    const one = await open();
    await one.login("Ada");
    await one.add("Programme");
    const two = await open();
    const session = await one.session();
    assert.equal(await two.session(), session);
    for (let round = 0; round < 2; round++) {
      const from = await one.node();
      await one.kill();
      const to = await one.moved(from);
      assert.equal(await two.moved(from), to);
      assert.equal(await one.session(), session);
      assert.equal(await two.session(), session);
      const before = await one.size();
      await one.add("Lemonade");
      await until("the lemonade in the other tab", async () => (await two.size()) === before + 1);
      await two.add("Programme");
      await until("the programme in the first tab", async () => (await one.size()) === before + 2);
    }
    assert.deepEqual(await one.cart(), await two.cart());
    assert.equal((await one.held())?.gen, (await two.state()).version);
  });

  onDemo("a session that begins or ends in one tab does so in the other", async ({ open }) => {
    const [one, two] = [await open(), await open()];
    await one.login("Ada");
    await until("Ada in the other tab", async () => (await two.text("#who")) === "Ada");
    await two.add("Programme");
    await until("the programme in the first tab", async () => (await one.size()) === 1);
    await two.page.click("#logout");
    await until("the end in the first tab", async () => (await one.session()) === "");
    await one.add("Lemonade");
    assert.deepEqual(await one.cart(), ["Lemonade"]);
  });

  onDemo("starts anew, without hanging, when the storage was cleared and the node is dead", async ({ open }) => {
    const shop = await open();
    await shop.login("Ada");
    await shop.add("Programme");
    const [from, session] = [await shop.node(), await shop.session()];
    await shop.page.evaluate(() => localStorage.clear());
    await shop.kill();
    await until("another node", async () => (await shop.node()) !== from);
    await until("no session", async () => (await shop.session()) === "");
    assert.match(await shop.text("#moment"), /held nothing to restore from/);
    await shop.add("Lemonade");
    assert.deepEqual(await shop.cart(), ["Lemonade"]);
    assert.notEqual(await shop.session(), session);
    await shop.page.reload();
    await shop.connected();
    assert.deepEqual(await shop.cart(), ["Lemonade"]);
  });
});

describe("the shop's page on plain nodes", () => {
  test("drops an expired login, keeps the cart, and offers no controls of a demonstration", { timeout: 60_000 }, async () => {
    const front = new Front(
      await nodes(blobctl, {
        version: 1,
        session: { idle: "30m", absolute: "12h", leeway: "1s" },
        attributes: { login: { ttl: "4s", on_expiry: "drop" }, cart: { ttl: "1h" }, ticket: { ttl: "10m", once: true } },
      }),
    );
    const context = await chromium.newContext();
    const shop = await Shop.open(context, await front.listen());
    await shop.add("Programme");
    await shop.login("Ada");
    await shop.page.waitForSelector("#account-note.expired");
    assert.match(await shop.text("#account-note"), /^Ada’s login has expired after 4 s, as its rule says. The cart stays.$/);
    assert.deepEqual(await shop.cart(), ["Programme"]);
    assert.ok(await shop.page.isVisible("#login"));
    await shop.sealed();

    await shop.login("Bea"); // and one that expires while no server has it
    const [from, session] = [await shop.node(), await shop.session()];
    await shop.sealed();
    const { kill } = front.node(from);
    await shop.page.goto("about:blank");
    await kill();
    await new Promise((resolve) => setTimeout(resolve, 6000)); // life and leeway
    await shop.page.goBack();
    await shop.moved(from);
    assert.equal(await shop.session(), session);
    assert.deepEqual(await shop.cart(), ["Programme"]);
    assert.ok(await shop.page.isVisible("#login"));
    assert.ok(await shop.page.isHidden("#desk"));
    await context.close();
  });

  test("without Bayeux, a request brings the set over HTTP, to one node and to the next", { timeout: 60_000 }, async () => {
    const front = new Front(
      await nodes(blobctl, {
        version: 1,
        session: { idle: "30m", absolute: "12h", leeway: "1s" },
        attributes: { login: { ttl: "1m", on_expiry: "drop" }, cart: { ttl: "1h" }, ticket: { ttl: "10m", once: true } },
      }),
    );
    const [url, context] = [await front.listen(), await chromium.newContext()];
    const shop = await Shop.open(context, url);
    await shop.add("Programme");
    const session = await shop.session();
    let from = await shop.node();
    await shop.page.goto(`${url}sealedblob/version.js`); // a page of the same origin that connects to nothing
    for (const [item, gen] of [["Lemonade", "1."], ["Opera glasses", "2."]]) {
      await front.node(from).kill();
      const { early, status, state } = await shop.page.evaluate(async (item) => {
        const path = "/sealedblob/index.js";
        const { BlobStore, SealedHTTP } = await import(path);
        const early = await fetch("/api/state");
        const http = new SealedHTTP(new BlobStore({ key: "shop" }));
        const headers = { "Content-Type": "application/json" };
        const response = await http.fetch("/api/cart", { method: "POST", headers, body: JSON.stringify({ item }) });
        const { state } = await response.json();
        await http.sync();
        return { early: `${early.status} ${early.headers.get("Sealed-Session")}`, status: response.status, state };
      }, item);
      assert.equal(early, "503 required", "a request by itself");
      assert.equal(status, 200);
      assert.notEqual(state.node, from);
      assert.equal(state.session, session);
      assert.ok((await shop.held())?.gen.startsWith(gen), "the new node's set is stored");
      from = state.node;
    }
    await shop.page.goto(url);
    await shop.connected();
    await until("the cart", async () => (await shop.size()) === 3);
    assert.deepEqual(await shop.cart(), ["Programme", "Lemonade", "Opera glasses"]);
    await context.close();
  });
});
