import assert from "node:assert/strict";
import { test } from "node:test";
import { BlobStore, SealedProtocol } from "../index.js";
import { FakeStorage, push } from "./support.js";

/** @typedef {import("../protocol.js").BayeuxMessage} BayeuxMessage */

/** One tab: a store on the storage of its origin, and a protocol. */
class Tab {
  #id = 0;

  /** @param {FakeStorage} [storage] */
  constructor(storage = new FakeStorage()) {
    this.store = new BlobStore({ storage, events: null });
    this.protocol = new SealedProtocol(this.store);
  }

  /** Sends a handshake; returns its ext.sealed. */
  handshake() {
    const message = this.protocol.outgoing({ channel: "/meta/handshake", id: String(++this.#id) });
    return /** @type {any} */ (message).ext.sealed;
  }

  /**
   * Answers the last handshake.
   *
   * @param {object} [sealed]
   * @param {object} [more]
   */
  answer(sealed, more = {}) {
    const message = { channel: "/meta/handshake", id: String(this.#id), successful: true, ...(sealed && { ext: { sealed: { v: 1, ...sealed } } }), ...more };
    assert.equal(this.protocol.incoming(message), message);
  }

  /** @param {object} data */
  push(data) {
    assert.equal(this.protocol.incoming({ channel: "/service/sealed", data }), null);
  }

  /** Connects; returns its ext.sealed. */
  connect() {
    return /** @type {any} */ (this.protocol.outgoing({ channel: "/meta/connect", id: "c" })).ext.sealed;
  }

  /** @param {string} gen @param {Record<string, string>} set */
  live(gen, set) {
    this.handshake();
    this.answer({ state: "none", gen });
    this.push(push(gen, set));
    return this;
  }
}

/**
 * Two tabs of one browser on two servers, for some minutes: each restore takes the session from the other tab. Returns how many there were in each minute.
 *
 * @param {number} minutes
 */
function tugOfWar(minutes) {
  let now = 0;
  const storage = new FakeStorage();
  const tabs = [0, 1].map(() => {
    const tab = new Tab(storage);
    tab.protocol = new SealedProtocol(tab.store, undefined, { now: () => now, random: () => 0.5 });
    return { tab, wakes: 0 };
  });
  tabs[0].tab.live("0.1", { a: "A" });
  const counts = new Array(minutes).fill(0);
  for (let fence = 1; fence < 5_000; fence++) {
    const [next, other] = tabs[0].wakes <= tabs[1].wakes ? tabs : [tabs[1], tabs[0]];
    now = Math.max(now, next.wakes);
    if (now >= minutes * 60_000) return counts;
    counts[Math.floor(now / 60_000)]++;
    next.tab.handshake();
    next.tab.answer({ state: "restored", gen: `${fence}.${fence}` });
    next.tab.push(push(`${fence}.${fence + 1}`, { a: "A" }));
    next.wakes = Infinity;
    const lost = { channel: "/meta/connect", successful: false, error: "402::session_unknown", advice: { reconnect: "handshake", interval: 0 } };
    other.wakes = now + 1 + Number(/** @type {any} */ (other.tab.protocol.incoming(lost)).advice.interval);
  }
  return counts;
}

test("two tabs on two servers take the session from each other less and less often", () => {
  const counts = tugOfWar(10);
  assert.ok(counts[0] <= 12, `${counts}`);
  for (const count of counts.slice(1)) assert.ok(count >= 1 && count <= 4, `${counts}`);
});

test("a session that is lost after a while, or was not restored, is taken back at once", () => {
  let now = 0;
  const storage = new FakeStorage();
  const [tab, other] = [new Tab(storage), new Tab(storage)];
  tab.protocol = new SealedProtocol(tab.store, undefined, { now: () => now, random: () => 1 });
  const lost = { channel: "/meta/connect", successful: false, advice: { reconnect: "handshake", interval: 70 } };
  const interval = () => /** @type {any} */ (tab.protocol.incoming(lost)).advice.interval;
  tab.live("0.1", { a: "A" });
  assert.equal(interval(), 70, "it was there");
  let fence = 1;
  for (const [lasts, want] of [[10, 1000], [10, 2000], [10, 4000], [59_999, 8000], [10, 16_000], [10, 30_000], [10, 30_000], [60_000, 70], [10, 1000]]) {
    tab.handshake();
    tab.answer({ state: "restored", gen: `${fence}.1` });
    other.live(`${++fence}.1`, { a: "A" });
    now += lasts;
    assert.equal(interval(), want);
    assert.equal(interval(), 70, "said twice");
  }
  const connected = { channel: "/meta/connect", successful: true, advice: { reconnect: "handshake" } };
  tab.handshake();
  tab.answer({ state: "restored", gen: "1.1" });

test("servers that are drained one after the other, and logins, make no page wait for longer each time", () => {
  const tab = new Tab();
  tab.protocol = new SealedProtocol(tab.store, undefined, { now: () => 0, random: () => 1 });
  const lost = { channel: "/meta/connect", successful: false, advice: { reconnect: "handshake", interval: 0 } };
  tab.live("0.1", { a: "A" });
  for (const gen of ["1.2", "2.3", "0.1048580", "1.1048581", "2.1048582"]) {
    tab.handshake();
    tab.answer({ state: "restored", gen });
    tab.push(push(gen, { a: "B" }, { over: "2.3" }));
    assert.equal(tab.store.version, gen);
    assert.equal(/** @type {any} */ (tab.protocol.incoming(lost)).advice.interval, 1000, gen);
  }
});
  assert.equal(tab.protocol.incoming(connected), connected);
});

test("with nothing held, a handshake and a connect say only the version of the wire", () => {
  const tab = new Tab();
  assert.deepEqual(tab.handshake(), { v: 1 });
  tab.answer({ state: "none" });
  assert.deepEqual(tab.connect(), { v: 1 });
});

test("a push is consumed and held at once, and the connect reports its version", () => {
  const tab = new Tab();
  tab.handshake();
  tab.answer({ state: "none", gen: "0.1" });
  tab.push(push("0.1", { a: "A" }));
  assert.deepEqual(tab.connect(), { v: 1, gen: "0.1" });
  tab.push(push("0.2", { b: "B" }, { base: "0.1" }));
  assert.deepEqual(tab.connect(), { v: 1, gen: "0.2" });
  tab.push(push("0.4", { b: "X" }, { base: "0.3" }));
  assert.deepEqual(tab.connect(), { v: 1, gen: "0.2" }, "a delta on a version that is not held");
  tab.push(push("0.4", { c: "C" }));
  assert.deepEqual(tab.store.snapshot()?.blobs, { c: "C" });
});

test("pushes count only once the handshake is answered", () => {
  const tab = new Tab();
  tab.push(push("0.1", { a: "A" }));
  assert.equal(tab.store.version, null);
  tab.handshake();
  tab.push(push("0.1", { a: "A" }));
  assert.equal(tab.store.version, null);
  tab.answer({ state: "none", gen: "0.1" });
  tab.push(push("0.1", { a: "A" }));
  assert.equal(tab.store.version, "0.1");
  tab.handshake();
  tab.push(push("0.2", { a: "late, of the connection before" }));
  assert.equal(tab.store.version, "0.1");
});

test("one token and one set, until the handshake is answered", () => {
  const storage = new FakeStorage();
  const tab = new Tab(storage).live("0.5", { a: "A" });
  const first = tab.handshake();
  assert.deepEqual(first, { v: 1, attempt: first.attempt, manifest: "manifest-0.5", blobs: { a: "A" } });
  assert.match(first.attempt, /^[A-Za-z0-9_-]{22}$/);
  assert.deepEqual(tab.handshake(), first, "the answer was lost");
  tab.answer(undefined, { successful: false, error: "503" });
  assert.deepEqual(tab.handshake(), first, "the server failed");
  tab.answer({ state: "retry" }, { successful: false });
  assert.deepEqual(tab.handshake(), first, "the server could not tell");
  assert.deepEqual(new Tab(storage).handshake(), first, "the page was reloaded");
  tab.answer({ state: "restored", gen: "1.0" });
  assert.equal(tab.store.version, "0.5", "kept until the new set is there");
  assert.deepEqual(tab.handshake(), first, "the new server may have died before its push");
  tab.answer({ state: "none", gen: "1.1" });
  assert.deepEqual(tab.handshake(), first, "and so may one that had the session already");
  tab.answer({ state: "restored" });
  assert.deepEqual(tab.handshake(), first, "or lost it again before the client was joined");
  tab.answer({ state: "restored", gen: "2.0" });
  tab.push(push("2.1", { a: "A" }));
  const second = tab.handshake();
  assert.notEqual(second.attempt, first.attempt);
  assert.equal(second.manifest, "manifest-2.1");
});

test("a late push does not change what is presented in the episode", () => {
  const storage = new FakeStorage();
  const tab = new Tab(storage).live("0.5", { a: "A" });
  const other = new Tab(storage).live("0.5", { a: "A" });
  const first = tab.handshake();
  other.push(push("0.6", { a: "B" }));
  assert.equal(tab.store.version, "0.6");
  assert.deepEqual(tab.handshake(), first);
  tab.answer({ state: "restored", gen: "1.0" });
  tab.push(push("1.1", { a: "A1" }));
  other.push(push("0.7", { a: "C" }, { base: "0.6" }));
  assert.equal(tab.store.version, "1.1", "the old server is heard no more");
});

test("refused drops the set that was presented, and only that", () => {
  const storage = new FakeStorage();
  const tab = new Tab(storage).live("0.5", { a: "A" });
  const first = tab.handshake();
  tab.answer({ state: "refused" });
  assert.equal(tab.store.version, null);
  assert.deepEqual(tab.handshake(), { v: 1 });
  tab.answer({ state: "none", gen: "0.1" });
  tab.push(push("0.1", { b: "B" }));
  assert.equal(tab.store.version, "0.1", "a new session starts low");

  const other = new Tab(storage).live("0.1", {});
  tab.handshake();
  other.push(push("0.2", { b: "C" }));
  tab.answer({ state: "refused" });
  assert.equal(tab.store.version, "0.2", "another tab moved on");
  const next = tab.handshake();
  assert.equal(next.manifest, "manifest-0.2");
  assert.notEqual(next.attempt, first.attempt);
});

test("refused by a server where the session lives under a later fence drops the set all the same", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  tab.handshake();
  tab.answer({ state: "refused", gen: "4.1" });
  assert.equal(tab.store.version, null);
  assert.deepEqual(tab.handshake(), { v: 1 });
});

test("refused with an unsuccessful handshake drops the set all the same", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  tab.handshake();
  tab.answer({ state: "refused" }, { successful: false });
  assert.equal(tab.store.version, null);
});

test("none with a version keeps the set, and the episode is over", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  const first = tab.handshake();
  tab.answer({ state: "none", gen: "0.6" });
  assert.equal(tab.store.version, "0.5");
  assert.notEqual(tab.handshake().attempt, first.attempt);
});

test("none without a version: a session that starts later replaces the set, however low its version", () => {
  const tab = new Tab().live("7.40", { a: "A" });
  tab.handshake();
  tab.answer({ state: "none" });
  assert.equal(tab.store.version, "7.40");
  tab.push(push("0.2", { b: "B" }, { base: "0.1" }));
  assert.equal(tab.store.version, "7.40", "but not by a delta");
  tab.push(push("0.1", { b: "B" }));
  assert.deepEqual(tab.store.snapshot()?.blobs, { b: "B" });
  tab.push(push("0.2", { c: "C" }, { base: "0.1" }));
  assert.deepEqual(tab.store.snapshot()?.blobs, { b: "B", c: "C" });
  tab.push(push("0.1", { x: "X" }));
  assert.equal(tab.store.version, "0.2", "and only once");
});

test("the end drops the set, and a new session may begin", () => {
  const tab = new Tab().live("4.5", { a: "A" });
  tab.push({ v: 1, gen: "4.6", end: true });
  assert.deepEqual(tab.connect(), { v: 1 });
  assert.deepEqual(tab.handshake(), { v: 1 });
  tab.answer({ state: "none", gen: "0.1" });
  tab.push(push("0.1", { b: "B" }));
  assert.equal(tab.store.version, "0.1");
});

test("the reload extension's replay decides nothing", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  const first = tab.handshake();
  tab.protocol.incoming({ channel: "/meta/handshake", id: "1", successful: true, ext: { reload: true, sealed: { v: 1, state: "refused" } } });
  assert.equal(tab.store.version, "0.5");
  tab.push(push("0.6", { a: "B" }));
  assert.equal(tab.store.version, "0.6", "the connection is the one of the page before");
  assert.deepEqual(tab.handshake(), first);
});

test("an answer to an earlier handshake decides nothing", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  const first = tab.handshake();
  tab.protocol.incoming({ channel: "/meta/handshake", id: "another", successful: true, ext: { sealed: { v: 1, state: "refused" } } });
  assert.deepEqual(tab.handshake(), first);
});

test("answers that are none", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  const first = tab.handshake();
  for (const sealed of [null, 7, "refused", [], {}, { v: 2, state: "refused" }, { v: 1 }, { v: 1, state: "REFUSED" }, { v: 1, state: {} }]) {
    tab.answer(undefined, { ext: { sealed } });
    assert.deepEqual(tab.handshake(), first, JSON.stringify(sealed));
  }
  for (const ext of [null, 7, "x", []]) {
    tab.answer(undefined, { ext });
    assert.deepEqual(tab.handshake(), first, JSON.stringify(ext));
  }
});

test("the application hears what a handshake was answered", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  /** @type {any[]} */
  const answers = [];
  tab.store.addEventListener("answer", (event) => answers.push(/** @type {CustomEvent} */ (event).detail));
  tab.handshake();
  tab.answer({ state: "retry" }, { successful: false });
  tab.handshake();
  tab.answer({ state: "restored", gen: "1.0", dropped: ["a"] });
  assert.deepEqual(answers, [
    { state: "retry", gen: null, dropped: [] },
    { state: "restored", gen: "1.0", dropped: ["a"] },
  ]);
});

test("the application's own ext and message stay as they are", () => {
  const tab = new Tab().live("0.5", { a: "A" });
  const ext = Object.freeze({ authentication: { token: "t" } });
  const message = Object.freeze({ channel: "/meta/handshake", id: "1", version: "1.0", ext });
  const sent = /** @type {any} */ (tab.protocol.outgoing(message));
  assert.deepEqual(sent.ext.authentication, { token: "t" });
  assert.equal(sent.ext.sealed.manifest, "manifest-0.5");
  assert.deepEqual(Object.keys(ext), ["authentication"]);
});

test("other messages pass untouched", () => {
  const tab = new Tab();
  for (const message of [
    { channel: "/chat", data: {} },
    { channel: "/meta/subscribe", subscription: "/chat" },
    { channel: "/service/sealed", successful: true },
    { channel: "/service/sealed/deeper", data: {} },
    { channel: 7 },
    {},
  ]) {
    assert.equal(tab.protocol.outgoing(message), message);
    assert.equal(tab.protocol.incoming(message), message);
  }
});

test("two tabs lose the server together: one token, and the second answer harms nothing", () => {
  const storage = new FakeStorage();
  const [one, two] = [new Tab(storage).live("0.5", { a: "A" }), new Tab(storage).live("0.5", { a: "A" })];
  const [first, second] = [one.handshake(), two.handshake()];
  assert.deepEqual(second, first);
  one.answer({ state: "restored", gen: "1.0" });
  one.push(push("1.1", { a: "A1" }));
  two.answer({ state: "refused" });
  assert.equal(two.store.version, "1.1");
  assert.deepEqual(two.connect(), { v: 1, gen: "1.1" });
});
