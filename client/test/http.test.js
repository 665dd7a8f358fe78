import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { BlobStore, SealedHTTP } from "../index.js";
import { FakeStorage, listen, push } from "./support.js";

/**
 * A server without the session until a set is presented; `restore` says what it answers then, null that the connection breaks.
 *
 * @param {import("node:test").TestContext} t
 * @param {(request: any, count: number) => {status?: number, body?: unknown, here?: boolean} | null} restore
 */
async function startNode(t, restore) {
  /** @type {{url: string, here: boolean, presented: any[], served: string[], seen: string[], anew: string[]}} */
  const node = { url: "", here: false, presented: [], served: [], seen: [], anew: [] };
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    if (request.url === "/sealed/restore") {
      node.presented.push({ ...JSON.parse(body), type: request.headers["content-type"], method: request.method });
      const answer = restore(JSON.parse(body), node.presented.length);
      if (!answer) return void request.socket.destroy();
      node.here ||= answer.here === true;
      response.writeHead(answer.status ?? 200, { "Content-Type": "application/json" });
      return void response.end(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body));
    }
    const line = `${request.method} ${request.url} ${request.headers["x-key"] ?? ""} ${body}`;
    node.seen.push(line);
    if (request.url === "/busy") return void response.writeHead(503).end("busy");
    const begins = request.headers["sealed-session"] === "none";
    if (begins) node.anew.push(line);
    if (!node.here && !begins) return void response.writeHead(503, { "Sealed-Session": "required", "Retry-After": "1" }).end("not here yet");
    node.served.push(line);
    return void response.end("done");
  });
  node.url = await listen(t, server);
  return node;
}

/**
 * A page that holds the set 0.5.
 *
 * @param {{url: string}} node
 */
function holding(node) {
  const store = new BlobStore({ storage: new FakeStorage(), events: null });
  store.apply(push("0.5", { a: "A" }));
  return { store, http: new SealedHTTP(store, { url: `${node.url}/sealed/restore`, backoffBase: 1 }) };
}

const restored = { body: { v: 1, state: "restored", gen: "1.6", push: push("1.6", { b: "B" }) }, here: true };

test("a request that meets another server brings the set, and is repeated with its body", async (t) => {
  const node = await startNode(t, () => restored);
  const { store, http } = holding(node);
  const response = await http.fetch(`${node.url}/cart`, { method: "POST", headers: { "X-Key": "7" }, body: "tea" });
  assert.equal(await response.text(), "done");
  assert.deepEqual(node.seen, ["POST /cart 7 tea", "POST /cart 7 tea"]);
  assert.deepEqual(node.served, ["POST /cart 7 tea"]);
  const { attempt, ...rest } = node.presented[0];
  assert.match(attempt, /^[A-Za-z0-9_-]{22}$/);
  assert.deepEqual(rest, { v: 1, manifest: "manifest-0.5", blobs: { a: "A" }, type: "application/json", method: "POST" });
  assert.equal(store.version, "1.6");
  assert.deepEqual(store.snapshot()?.blobs, { b: "B" });
  assert.notEqual(store.beginEpisode()?.attempt, attempt, "the episode is over with the new set");
});

test("bodies that can be read once are sent twice all the same", async (t) => {
  const node = await startNode(t, () => restored);
  const stream = () => new Blob(["stream"]).stream();
  /** @type {[string, RequestInfo, any][]} */
  const calls = [
    ["stream", `${node.url}/x`, { method: "POST", body: stream(), duplex: "half" }],
    ["request", new Request(`${node.url}/x`, { method: "POST", body: "request" }), undefined],
    ["form", `${node.url}/x`, { method: "POST", body: new URLSearchParams({ form: "" }) }],
  ];
  for (const [name, input, init] of calls) {
    node.here = false;
    node.served.length = 0;
    const response = await holding(node).http.fetch(input, init);
    assert.equal(response.status, 200, name);
    assert.match(node.served.join("|"), new RegExp(`^POST /x  ${name}=?$`));
  }
});

test("other answers are passed on, and nothing is presented", async (t) => {
  const node = await startNode(t, () => restored);
  const { http } = holding(node);
  assert.equal(await (await http.fetch(`${node.url}/busy`)).text(), "busy");
  node.here = true;
  assert.equal(await (await http.fetch(new Request(`${node.url}/x`, { method: "POST", body: "y" }))).text(), "done");
  assert.deepEqual(node.presented, []);
});

/** Requests, and whether each begins anew by default. @type {[RequestInit | undefined, boolean][]} */
const requests = [
  [undefined, true],
  [{ method: "head" }, true],
  [{ method: "POST", body: "y" }, false],
  [{ method: "DELETE" }, false],
];

for (const how of /** @type {const} */ (["nothing is held", "the set is refused", "the server knows of no session"])) {
  test(`${how}: what is safe begins anew, of the rest the application decides`, async (t) => {
    const node = await startNode(t, () => (how === "the set is refused" ? { status: 401, body: { v: 1, state: "refused" } } : { body: { v: 1, state: "none" } }));
    for (const anew of /** @type {const} */ ([undefined, "safe", "always", "never"])) {
      for (const [init, safe] of requests) {
        node.anew.length = 0;
        node.presented.length = 0;
        const store = how === "nothing is held" ? new BlobStore({ storage: null, events: null }) : holding(node).store;
        const http = new SealedHTTP(store, { url: `${node.url}/sealed/restore`, anew, settle: 0 });
        const what = `${anew} ${init?.method}`;
        const begins = anew === "always" || (anew !== "never" && safe);
        const response = await http.fetch(init?.method === "DELETE" ? new Request(`${node.url}/x`, init) : `${node.url}/x`, init?.method === "DELETE" ? undefined : init);
        assert.equal(response.status, begins ? 200 : 503, what);
        assert.equal(node.anew.length, begins ? 1 : 0, what);
        assert.equal(response.headers.get("Sealed-Session"), begins ? null : "required", what);
        assert.equal(node.presented.length, how === "nothing is held" ? 0 : 1, what);
        if (how === "the set is refused") assert.equal(store.version, null, what);
        await response.body?.cancel();
      }
    }
  });
}

test("what begins anew keeps its own headers", async (t) => {
  const node = await startNode(t, () => restored);
  const http = new SealedHTTP(new BlobStore({ storage: null, events: null }), { url: `${node.url}/sealed/restore`, settle: 0 });
  await http.fetch(`${node.url}/a`, { headers: { "X-Key": "7" } });
  await http.fetch(new Request(`${node.url}/b`, { headers: { "X-Key": "8" } }));
  assert.deepEqual(node.anew, ["GET /a 7 ", "GET /b 8 "]);
});

for (const how of /** @type {const} */ (["nothing is held", "the set is refused"])) {
  test(`${how}: a login's set that is on its way is waited for, whatever the method`, async (t) => {
    const node = await startNode(t, ({ manifest }) => (manifest === "manifest-0.9" ? restored : { status: 401, body: { v: 1, state: "refused" } }));
    for (const init of [undefined, { method: "POST", body: new Blob(["y"]).stream(), duplex: "half" }]) {
      node.here = false;
      node.seen.length = 0;
      const store = how === "nothing is held" ? new BlobStore({ storage: null, events: null }) : holding(node).store;
      const http = new SealedHTTP(store, { url: `${node.url}/sealed/restore`, anew: "always", backoffBase: 1 });
      const response = http.fetch(`${node.url}/x`, init);
      while (node.seen.length < 4) await new Promise((resolve) => setTimeout(resolve, 1));
      store.apply(push("0.9", { a: "A" })); // by another tab, or the Bayeux connection
      assert.equal(await (await response).text(), "done");
      assert.equal(node.served.at(-1), init ? "POST /x  y" : "GET /x  ");
      assert.deepEqual(node.anew, []);
    }
  });
}

test("a session that the next server has is found without a set", async (t) => {
  const node = await startNode(t, () => restored);
  const http = new SealedHTTP(new BlobStore({ storage: null, events: null }), { url: `${node.url}/sealed/restore`, backoffBase: 1 });
  const response = http.fetch(`${node.url}/x`);
  while (node.seen.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  node.here = true;
  assert.equal(await (await response).text(), "done");
  assert.deepEqual(node.anew, []);
});

test("what is missing everywhere is lost after a while, and for the next request then, but not for one much later", async (t) => {
  const node = await startNode(t, () => restored);
  const http = new SealedHTTP(new BlobStore({ storage: null, events: null }), { url: `${node.url}/sealed/restore`, backoffBase: 20, settle: 300 });
  /** @param {RequestInit} [init] */
  const took = async (init) => {
    const began = performance.now();
    await (await http.fetch(`${node.url}/x`, init)).body?.cancel();
    return performance.now() - began;
  };
  assert.ok((await took({ method: "POST" })) >= 290);
  assert.ok(node.seen.length >= 4, `${node.seen.length} tries`);
  const tried = node.seen.length;
  await took({ method: "POST" });
  assert.equal(node.seen.length, tried + 1);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.ok((await took({ method: "POST" })) >= 290);
  assert.deepEqual(node.anew, []);
  assert.ok((await took()) < 290);
  assert.equal(node.anew.length, 1);
  assert.ok((await took()) >= 290, "the session that began then is another");
  assert.equal(node.anew.length, 2);
});

test("who gives up while a set is waited for hears of it at once", async (t) => {
  const node = await startNode(t, () => restored);
  const http = new SealedHTTP(new BlobStore({ storage: null, events: null }), { url: `${node.url}/sealed/restore`, backoffBase: 60_000 });
  const gone = new AbortController();
  const response = http.fetch(`${node.url}/x`, { signal: gone.signal });
  while (node.seen.length < 1) await new Promise((resolve) => setTimeout(resolve, 1));
  setTimeout(() => gone.abort(), 50);
  await assert.rejects(response, { name: "AbortError" });
  assert.equal(node.seen.length, 1);
});

test("refused, but the session lives there: its set takes the place of ours", async (t) => {
  const node = await startNode(t, () => ({ status: 401, body: { v: 1, state: "refused", gen: "0.2", push: push("0.2", { c: "C" }) }, here: true }));
  const { store, http } = holding(node);
  assert.equal(await (await http.fetch(`${node.url}/x`)).text(), "done");
  assert.equal(store.version, "0.2");
});

test("while no server can tell, the same attempt and set are presented again, some times", async (t) => {
  const answers = [null, { status: 503, body: { v: 1, state: "retry" } }, { status: 502, body: "<html>" }, restored];
  const node = await startNode(t, (_, count) => answers[count - 1] ?? { status: 503, body: { v: 1, state: "retry" } });
  const { store, http } = holding(node);
  assert.equal(await (await http.fetch(`${node.url}/x`)).text(), "done");
  assert.equal(node.presented.length, 4);
  assert.equal(new Set(node.presented.map(({ attempt, manifest }) => attempt + manifest)).size, 1);

  node.here = false;
  const before = store.version;
  assert.equal((await http.fetch(`${node.url}/x`)).status, 503);
  assert.equal(node.presented.length, 4 + 5, "five tries");
  assert.equal(store.version, before, "nothing is lost");
});

test("answers that are none decide nothing", async (t) => {
  const bodies = ["", "7", "[]", "{}", '{"v":2,"state":"refused"}', '{"v":1,"state":"REFUSED"}', "null"];
  const node = await startNode(t, (_, count) => ({ body: bodies[(count - 1) % bodies.length] }));
  const { store } = holding(node);
  const http = new SealedHTTP(store, { url: `${node.url}/sealed/restore`, backoffBase: 0, tries: bodies.length });
  assert.equal((await http.fetch(`${node.url}/x`)).status, 503);
  assert.equal(node.presented.length, bodies.length);
  assert.equal(store.version, "0.5");
});

test("requests that fail together bring the set once", async (t) => {
  const node = await startNode(t, () => restored);
  const { http } = holding(node);
  const responses = await Promise.all([1, 2, 3].map((n) => http.fetch(`${node.url}/${n}`)));
  assert.deepEqual(await Promise.all(responses.map((response) => response.text())), ["done", "done", "done"]);
  assert.equal(node.presented.length, 1);
});

test("a request is repeated once", async (t) => {
  const node = await startNode(t, () => ({ ...restored, here: false }));
  const { http } = holding(node);
  const response = await http.fetch(`${node.url}/x`);
  assert.equal(await response.text(), "not here yet");
  assert.equal(node.seen.length, 2);
});

test("the newest set is there for the asking", async (t) => {
  const node = await startNode(t, (request) => (request.gen === "0.6" ? { body: { v: 1, state: "none", gen: "0.6" } } : { body: { v: 1, state: "none", gen: "0.6", push: push("0.6", { b: "B" }) } }));
  const { store, http } = holding(node);
  assert.equal(await http.sync(), "0.6");
  assert.deepEqual(store.snapshot()?.blobs, { b: "B" });
  assert.equal(await http.sync(), "0.6");
  assert.deepEqual(node.presented.map(({ gen, manifest }) => [gen, manifest]), [["0.5", undefined], ["0.6", undefined]]);
  const fresh = new BlobStore({ storage: null, events: null });
  assert.equal(await new SealedHTTP(fresh, { url: `${node.url}/sealed/restore` }).sync(), "0.6");
});
