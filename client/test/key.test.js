import assert from "node:assert/strict";
import { createHash, webcrypto } from "node:crypto";
import { test } from "node:test";
import { SessionKey } from "../key.js";
import { SealedHTTP } from "../http.js";
import { SealedProtocol } from "../protocol.js";
import { BlobStore } from "../store.js";
import { FakeStorage, push, until } from "./support.js";

/** @param {string} proof */
async function read(proof) {
  const [header, claims, signature] = proof.split(".");
  const { jwk, ...rest } = JSON.parse(String(Buffer.from(header, "base64url")));
  const key = await webcrypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
  const valid = await webcrypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, Buffer.from(signature, "base64url"), Buffer.from(`${header}.${claims}`));
  return { header: String(Buffer.from(header, "base64url")), claims: String(Buffer.from(claims, "base64url")), jwk, rest, valid };
}

/** @param {string} text */
const digest = (text) => createHash("sha256").update(text).digest("base64url");

let names = 0;
const fresh = () => new SessionKey(`test ${++names}`, { indexedDB: null });

test("a proof is an ES256 JWS in the one spelling of the format", async () => {
  const proof = await fresh().prove("c.1", { attempt: "attempt", manifest: "manifest" });
  assert.ok(proof);
  const { header, claims, jwk, rest, valid } = await read(proof);
  assert.ok(valid);
  assert.deepEqual(rest, { alg: "ES256", typ: "sealed-proof+jwt" });
  assert.equal(header, `{"alg":"ES256","jwk":{"crv":"P-256","kty":"EC","x":"${jwk.x}","y":"${jwk.y}"},"typ":"sealed-proof+jwt"}`);
  assert.equal(claims, `{"nonce":"c.1","attempt":"attempt","set":"${digest("manifest")}"}`);
  assert.match(proof, /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/);
});

test("without a set a proof is of the challenge alone", async () => {
  const proof = await fresh().prove("c.1", null);
  assert.equal((await read(proof ?? "")).claims, '{"nonce":"c.1"}');
});

test("one key for each name, until it is forgotten", async () => {
  const key = fresh();
  const of = async (/** @type {SessionKey} */ k) => (await read((await k.prove("c", null)) ?? "")).jwk.x;
  const [one, two] = await Promise.all([of(key), of(new SessionKey(`test ${names}`, { indexedDB: null }))]);
  assert.equal(one, two);
  assert.notEqual(await of(fresh()), one);
  await key.forget();
  assert.notEqual(await of(key), one);
});

test("a database that fails gives no proof, since it may hold the key", async () => {
  const failing = /** @type {any} */ ({
    open() {
      const request = /** @type {any} */ ({ error: new DOMException("later", "UnknownError") });
      queueMicrotask(() => request.onerror());
      return request;
    },
  });
  assert.equal(await new SessionKey("failing", { indexedDB: failing }).prove("c", null), null);
  const denied = /** @type {any} */ ({
    open() {
      throw new DOMException("denied", "SecurityError");
    },
  });
  assert.ok(await new SessionKey("denied", { indexedDB: denied }).prove("c", null));
});

const retry = (/** @type {string} */ challenge) => ({ channel: "/meta/handshake", successful: false, ext: { sealed: { v: 1, state: "retry", challenge } } });

/** @param {SealedProtocol} protocol */
const shake = (protocol) => /** @type {any} */ (protocol.outgoing({ channel: "/meta/handshake" })).ext.sealed;

test("a handshake that is answered with a challenge is repeated with a proof of what it presents", async () => {
  const store = new BlobStore({ storage: new FakeStorage(), events: null });
  const protocol = new SealedProtocol(store, fresh());
  assert.equal(shake(protocol).proof, undefined);
  protocol.incoming(retry("c.1"));
  await until(() => shake(protocol).proof);
  assert.equal((await read(shake(protocol).proof)).claims, '{"nonce":"c.1"}');

  store.apply(push("0.1", { a: "1" }));
  assert.equal(shake(protocol).proof, undefined, "it now presents a set, of which the proof is none");
  protocol.incoming(retry("c.2"));
  await until(() => shake(protocol).proof);
  const sent = shake(protocol);
  assert.equal((await read(sent.proof)).claims, `{"nonce":"c.2","attempt":"${sent.attempt}","set":"${digest(sent.manifest)}"}`);

  protocol.incoming({ channel: "/meta/handshake", successful: true, ext: { sealed: { v: 1, state: "restored", gen: "1.1" } } });
  assert.equal(shake(protocol).proof, undefined, "answered: the next needs another");
});

test("over HTTP too, at once; a server that asks again is not asked without end", async () => {
  const store = new BlobStore({ storage: new FakeStorage(), events: null });
  store.apply(push("0.1", { a: "1" }));
  /** @type {any[]} */
  const seen = [];
  let insist = false;
  const http = new SealedHTTP(store, {
    key: fresh(),
    backoffBase: 1,
    tries: 2,
    fetch: async (_, init) => {
      const body = JSON.parse(String(init?.body));
      seen.push(body);
      if (insist || body.proof === undefined) return Response.json({ v: 1, state: "retry", challenge: `c.${seen.length}` }, { status: 503 });
      return Response.json({ v: 1, state: body.gen === undefined ? "restored" : "none", gen: "1.2", push: push("1.2", { b: "2" }) });
    },
  });
  assert.equal((await http.restore())?.state, "restored");
  assert.equal(seen.length, 2);
  assert.equal((await read(seen[1].proof)).claims, `{"nonce":"c.1","attempt":"${seen[0].attempt}","set":"${digest("manifest-0.1")}"}`);
  assert.equal(store.version, "1.2");
  await http.sync();
  assert.equal((await read(seen[3].proof)).claims, '{"nonce":"c.3"}');
  insist = true;
  seen.length = 0;
  assert.equal(await http.restore(), null);
  assert.equal(seen.length, 4);
  assert.equal(store.version, "1.2", "nothing was decided");
});
