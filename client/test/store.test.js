import assert from "node:assert/strict";
import { test } from "node:test";
import { BlobStore } from "../index.js";
import { FakeStorage, push } from "./support.js";

const KEY = "sealed-blob/v1/default";

/** @param {Partial<import("../store.js").BlobStoreOptions>} [options] */
function open(options = {}) {
  return new BlobStore({ storage: new FakeStorage(), events: null, ...options });
}

/** @param {BlobStore} store */
function begin(store) {
  const episode = store.beginEpisode();
  assert.ok(episode);
  return episode;
}

test("a full set replaces everything, a delta changes what it names", () => {
  const store = open();
  assert.equal(store.version, null);
  assert.equal(store.snapshot(), null);
  assert.equal(store.apply(push("0.1", { a: "A1", b: "B1" })), "applied");
  assert.equal(store.apply(push("0.2", { b: "B2", c: "C2" }, { base: "0.1", del: ["a"] })), "applied");
  assert.equal(store.version, "0.2");
  assert.deepEqual(store.snapshot()?.blobs, { b: "B2", c: "C2" });
  assert.equal(store.snapshot()?.manifest, "manifest-0.2");
  assert.equal(store.apply(push("1.1", { d: "D" })), "applied");
  assert.deepEqual(store.snapshot()?.blobs, { d: "D" });
});

test("only a newer version is accepted, by fence and then by generation", () => {
  const store = open();
  store.apply(push("2.5", { a: "A" }));
  for (const gen of ["2.5", "2.4", "1.99", "0.18446744073709551615"]) assert.equal(store.apply(push(gen, { a: "X" })), "stale", gen);
  assert.equal(store.apply(push("2.10", { a: "B" })), "applied");
  assert.equal(store.apply(push("3.0", { a: "C" })), "applied");
});

test("the set of a renewed session replaces what was held of its former ID", () => {
  const store = open();
  store.apply(push("2.5", { a: "A" }));
  begin(store);
  assert.equal(store.apply(push("0.6", { a: "X" })), "stale");
  assert.equal(store.apply(push("0.6", { a: "X" }, { over: "2.4" })), "stale");
  assert.equal(store.apply(push("0.6", { a: "B" }, { over: "2.5" })), "applied");
  assert.equal(store.version, "0.6");
  const { attempt } = begin(store); // of the new set: the old episode is over
  assert.equal(store.apply(push("0.6", { a: "X" }, { over: "2.5" })), "stale");
  assert.equal(begin(store).attempt, attempt);
  for (const over of ["", "2", 2, null]) assert.equal(store.apply(push("0.7", { a: "X" }, { over })), "malformed", String(over));
  assert.equal(store.apply(push("0.7", { a: "X" }, { base: "0.6", over: "2.5" })), "malformed");
  assert.equal(store.apply(push("0.7", { a: "C" }, { over: "2.5" })), "applied");
  assert.equal(store.apply(push("1.9", { a: "D" })), "applied"); // the new session moved
  assert.equal(store.apply(push("0.8", { a: "X" }, { over: "2.5" })), "stale"); // from the node that it left
});

test("a delta on another version is ignored", () => {
  const store = open();
  assert.equal(store.apply(push("0.2", { a: "A" }, { base: "0.1" })), "base");
  store.apply(push("0.3", { a: "A" }));
  assert.equal(store.apply(push("0.5", { a: "B" }, { base: "0.4" })), "base");
  assert.equal(store.apply(push("1.5", { a: "B" }, { base: "0.2" })), "base");
  assert.deepEqual(store.snapshot()?.blobs, { a: "A" });
});

test("the end drops everything, unless it is the end of an older copy", () => {
  const store = open();
  store.apply(push("3.4", { a: "A" }));
  begin(store);
  assert.equal(store.apply({ v: 1, gen: "2.99", end: true }), "stale");
  assert.equal(store.version, "3.4");
  assert.equal(store.apply({ v: 1, gen: "3.4", end: true }), "ended");
  assert.equal(store.snapshot(), null);
  assert.equal(store.beginEpisode(), null);
  assert.equal(store.apply({ v: 1, gen: "3.5", end: true }), "ended");
});

test("what is no push is refused whole", () => {
  const store = open();
  store.apply(push("0.1", { a: "A" }));
  const good = push("0.2", { a: "B" });
  /** @type {unknown[]} */
  const bad = [
    null,
    7,
    "x",
    [],
    {},
    { ...good, v: 2 },
    { ...good, gen: "2" },
    { ...good, gen: 0.2 },
    { ...good, manifest: "" },
    { ...good, manifest: "no spaces" },
    { ...good, manifest: undefined },
    { ...good, set: [] },
    { ...good, set: { a: 1 } },
    { ...good, set: { "a b": "B" } },
    { ...good, set: { ["x".repeat(65)]: "B" } },
    { ...good, del: "a" },
    { ...good, del: [1] },
    { ...good, base: "x" },
    { ...good, base: null },
    { ...good, end: "yes" },
    { ...good, set: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`s${i}`, "A"])) },
  ];
  for (const data of bad) assert.equal(store.apply(data), "malformed", JSON.stringify(data)?.slice(0, 80));
  assert.equal(store.version, "0.1");
});

test("a slot may be named as a property of every object", () => {
  const store = open();
  const set = JSON.parse('{"__proto__":"P","constructor":"C","toString":"T"}');
  assert.equal(store.apply(push("0.1", set)), "applied");
  assert.equal(store.apply(push("0.2", JSON.parse('{"hasOwnProperty":"H"}'), { base: "0.1", del: ["constructor"] })), "applied");
  assert.equal(JSON.stringify(store.snapshot()?.blobs), '{"__proto__":"P","toString":"T","hasOwnProperty":"H"}');
});

test("no more is held than a server takes back, in one push or by many", () => {
  const store = open();
  const most = 16 * 1024;
  const fifteen = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`slot-${100 + i}`, "x".repeat(most)]));
  const room = 256 * 1024 - "manifest-0.1".length - "a".length - 15 * ("slot-100".length + most);
  assert.equal(store.apply(push("0.1", { a: "x".repeat(most + 1) })), "malformed");
  assert.equal(store.apply(push("0.1", { ...fifteen, a: "x".repeat(room + 1) })), "malformed");
  assert.equal(store.apply(push("0.1", { ...fifteen, a: "x".repeat(room) })), "applied");
  assert.equal(store.apply(push("0.2", { b: "y" }, { base: "0.1" })), "large");
  assert.equal(store.version, "0.1");
  assert.equal(store.apply(push("0.2", { b: "y" }, { base: "0.1", del: ["a"] })), "applied");
});

test("64 envelopes are held and no more, in one push or by many", () => {
  const store = open();
  const full = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`s${i}`, "A"]));
  assert.equal(store.apply(push("0.1", full)), "applied");
  assert.equal(store.apply(push("0.2", { more: "A" }, { base: "0.1" })), "large");
  assert.deepEqual(store.snapshot()?.blobs, full);
  assert.equal(store.apply(push("0.2", { more: "A" }, { base: "0.1", del: ["s0"] })), "applied");
});

test("a damaged record is dropped and never throws", () => {
  const storage = new FakeStorage();
  const store = open({ storage });
  store.apply(push("0.1", { a: "A" }));
  const good = JSON.parse(storage.items.get(KEY) ?? "");
  const damaged = [
    "",
    "{",
    "null",
    "[]",
    '"text"',
    "x".repeat(2_000_000),
    JSON.stringify({ ...good, v: 2 }),
    JSON.stringify({ ...good, gen: "one" }),
    JSON.stringify({ ...good, gen: 1 }),
    JSON.stringify({ ...good, manifest: { a: 1 } }),
    JSON.stringify({ ...good, blobs: null }),
    JSON.stringify({ ...good, blobs: { a: [] } }),
    JSON.stringify({ ...good, blobs: { a: "<script>" } }),
    JSON.stringify({ ...good, at: "now" }),
    JSON.stringify({ ...good, at: null }),
  ];
  for (const raw of damaged) {
    storage.items.set(KEY, raw);
    assert.equal(store.version, null, raw.slice(0, 60));
    assert.equal(store.beginEpisode(), null);
    assert.ok(!storage.items.has(KEY), raw.slice(0, 60));
  }
  storage.items.set(KEY, JSON.stringify(good));
  assert.equal(store.version, "0.1");
});

test("a damaged episode costs the episode, not the set", () => {
  const storage = new FakeStorage();
  const store = open({ storage });
  store.apply(push("0.1", { a: "A" }));
  const { attempt } = begin(store);
  const good = JSON.parse(storage.items.get(KEY) ?? "");
  for (const episode of [7, {}, { attempt: "short", at: 1 }, { attempt, at: "x" }, { attempt, at: 1, set: { gen: "0.1" } }]) {
    storage.items.set(KEY, JSON.stringify({ ...good, episode }));
    const next = begin(store);
    assert.match(next.attempt, /^[A-Za-z0-9_-]{22}$/);
    assert.notEqual(next.attempt, attempt);
    assert.deepEqual(next.blobs, { a: "A" });
  }
});

test("two tabs hold one record, each reads it afresh", () => {
  const storage = new FakeStorage();
  const [one, two] = [open({ storage }), open({ storage })];
  one.apply(push("0.1", { a: "A" }));
  assert.equal(two.version, "0.1");
  two.apply(push("0.2", { a: "B" }, { base: "0.1" }));
  assert.equal(one.apply(push("0.2", { a: "B" }, { base: "0.1" })), "stale");
  assert.deepEqual(one.snapshot()?.blobs, { a: "B" });
  one.clear();
  assert.equal(two.snapshot(), null);
});

test("keys and prefixes keep applications apart", () => {
  const storage = new FakeStorage();
  const [one, two, three] = [open({ storage }), open({ storage, key: "shop" }), open({ storage, prefix: "other/" })];
  one.apply(push("0.1", { a: "A" }));
  assert.equal(two.version, null);
  assert.equal(three.version, null);
  two.apply(push("0.2", { a: "A" }));
  assert.deepEqual([...storage.items.keys()], [KEY, "sealed-blob/v1/shop"]);
});

test("events: what changed here, and what another tab changed", () => {
  const events = new EventTarget();
  const storage = new FakeStorage();
  const store = open({ storage, events });
  /** @type {string[]} */
  const log = [];
  store.addEventListener("change", (event) => {
    const { reason, gen } = /** @type {CustomEvent} */ (event).detail;
    log.push(`${reason} ${gen}`);
  });
  const other = (/** @type {string | null} */ key) => events.dispatchEvent(Object.assign(new Event("storage"), { key }));
  store.apply(push("0.1", { a: "A" }));
  store.apply(push("0.1", { a: "A" }));
  open({ storage }).apply(push("0.2", { a: "B" }));
  other(KEY);
  other("something else");
  storage.items.clear();
  other(null);
  store.apply(push("0.3", {}));
  store.apply({ v: 1, gen: "0.3", end: true });
  store.clear();
  store.apply(push("0.4", {}));
  store.clear();
  store.close();
  other(KEY);
  assert.deepEqual(log, ["push 0.1", "remote 0.2", "remote null", "push 0.3", "end null", "push 0.4", "clear null"]);
});

test("where the storage may not be touched, memory takes its place", () => {
  const storage = new FakeStorage();
  storage.denied = true;
  const store = open({ storage });
  assert.equal(store.version, null);
  assert.equal(store.apply(push("0.1", { a: "A" })), "applied");
  assert.equal(store.apply(push("0.2", { b: "B" }, { base: "0.1" })), "applied");
  assert.deepEqual(store.snapshot()?.blobs, { a: "A", b: "B" });
  assert.equal(store.persistent, false);
  const { attempt } = begin(store);
  assert.equal(begin(store).attempt, attempt);
  store.clear();
  assert.equal(store.version, null);
  const none = open({ storage: null });
  none.apply(push("0.1", { a: "A" }));
  assert.equal(none.version, "0.1");
  assert.equal(none.persistent, false);
});

test("a full storage: the newest set stays in memory, and is written when there is room", () => {
  const storage = new FakeStorage();
  const store = open({ storage });
  store.apply(push("0.1", { a: "A" }));
  assert.equal(store.persistent, true);
  storage.quota = 10;
  assert.equal(store.apply(push("0.2", { a: "B" })), "applied");
  assert.equal(store.version, "0.2");
  assert.equal(store.persistent, false);
  assert.equal(open({ storage }).version, "0.1", "the older set is still there");
  storage.quota = Infinity;
  store.apply(push("0.3", { a: "C" }, { base: "0.2" }));
  assert.equal(open({ storage }).version, "0.3");
  assert.equal(store.persistent, true);
});

test("a full storage does not hide what another tab did", () => {
  const storage = new FakeStorage();
  const [full, other] = [open({ storage }), open({ storage })];
  full.apply(push("0.1", { a: "A" }));
  storage.quota = 10;
  full.apply(push("0.2", { a: "B" }));
  storage.quota = Infinity;
  other.apply(push("0.3", { a: "C" }));
  assert.equal(full.version, "0.3");
  storage.quota = 10;
  full.apply(push("0.4", { a: "D" }));
  other.clear();
  assert.equal(full.version, null);
});

test("a record that got no push for a month is dropped", () => {
  const clock = { now: 1_000_000 };
  const storage = new FakeStorage();
  const store = open({ storage, now: () => clock.now });
  store.apply(push("0.1", { a: "A" }));
  clock.now += 29 * 24 * 3600 * 1000;
  assert.equal(store.version, "0.1");
  clock.now += 2 * 24 * 3600 * 1000;
  assert.equal(store.version, null);
  assert.equal(storage.items.size, 0);
});

test("an episode keeps its token and its set, whatever is pushed meanwhile and whichever tab presents it", () => {
  const storage = new FakeStorage();
  const [one, two] = [open({ storage }), open({ storage })];
  assert.equal(one.beginEpisode(), null);
  one.apply(push("0.7", { a: "A" }));
  const first = begin(one);
  assert.match(first.attempt, /^[A-Za-z0-9_-]{22}$/);
  one.apply(push("0.8", { a: "B" }, { base: "0.7" }));
  two.apply(push("0.9", { a: "C" }, { base: "0.8" }));
  assert.equal(one.version, "0.9");
  assert.deepEqual(begin(one), first);
  assert.deepEqual(begin(two), first);
  assert.deepEqual(begin(open({ storage })), first, "after a reload");
  one.endEpisode(first);
  const second = begin(one);
  assert.notEqual(second.attempt, first.attempt);
  assert.deepEqual(second.blobs, { a: "C" });
});

test("an answer to another episode ends nothing", () => {
  const store = open();
  store.apply(push("0.1", { a: "A" }));
  const first = begin(store);
  store.endEpisode(first);
  const second = begin(store);
  store.endEpisode(first);
  assert.equal(begin(store).attempt, second.attempt);
});

test("refused: the set that was presented goes, another one stays", () => {
  const storage = new FakeStorage();
  const [one, two] = [open({ storage }), open({ storage })];
  one.apply(push("0.1", { a: "A" }));
  one.endEpisode(begin(one), { refused: true });
  assert.equal(one.version, null);

  one.apply(push("0.1", { a: "A" }));
  const presented = begin(one);
  two.apply(push("1.1", { a: "B" }));
  one.endEpisode(presented, { refused: true });
  assert.equal(one.version, "1.1");
  assert.notEqual(begin(one).attempt, presented.attempt);
});

test("an episode is over once the set of a later fence is held", () => {
  const store = open();
  store.apply(push("0.1", { a: "A" }));
  const first = begin(store);
  store.apply(push("1.0", { a: "B" }));
  const second = begin(store);
  assert.notEqual(second.attempt, first.attempt);
  assert.equal(second.gen, "1.0");
});

test("an episode of a tab that is gone does not roll the others back", () => {
  const clock = { now: 1_000_000 };
  const storage = new FakeStorage();
  const options = { storage, now: () => clock.now };
  const [gone, other] = [open(options), open(options)];
  other.apply(push("0.1", { a: "A" }));
  const first = begin(gone);
  clock.now += 60_000;
  other.apply(push("0.2", { a: "B" }));
  assert.deepEqual(begin(gone), first, "it may still come back");
  clock.now += 3 * 60_000;
  other.apply(push("0.3", { a: "C" }));
  const second = begin(other);
  assert.notEqual(second.attempt, first.attempt);
  assert.equal(second.gen, "0.3");
});

test("attempt tokens are never drawn twice", () => {
  const store = open();
  store.apply(push("0.1", { a: "A" }));
  const seen = new Set();
  for (let i = 0; i < 200; i++) {
    const episode = begin(store);
    seen.add(episode.attempt);
    store.endEpisode(episode);
  }
  assert.equal(seen.size, 200);
});
