"""A second opener of Sealed Blob's envelopes, written from docs/SPEC.md alone.

    python opener.py VECTORS [SPEC.md]

runs every vector in the folder VECTORS (SPEC §14) and, if SPEC.md is given, its
worked example (§13), and holds the vectors against its grammar. It shares nothing with package seal: AES and Ed25519 come
from `cryptography`, age from `pyrage`, the rest is the standard library.
"""

import base64
import hashlib
import hmac
import json
import math
import os
import pathlib
import re
import shutil
import stat
import sys
import tempfile
import unicodedata

import grammar
import pyrage
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    """Why an envelope was refused: one reason, or several that policy collected."""

    def __init__(self, *reasons, why=""):
        super().__init__(", ".join(reasons) + (": " + why if why else ""))
        self.reasons = set(reasons)


def malformed(why):
    return Refused("malformed", why=why)


# §1 Conventions

MAX_NUMBER = 2**53 - 1


def b64encode(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def b64decode(text):
    """Canonical base64url without padding, or Refused."""
    if not re.fullmatch(rb"[A-Za-z0-9_-]*", text):
        raise malformed("not base64url")
    try:
        raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        raise malformed("not base64url") from None
    if b64encode(raw).encode() != text:
        raise malformed("base64url is not canonical")
    return raw


def identifier(text):
    raw = b64decode(text)
    if len(raw) != 16 or not any(raw):
        raise malformed("not an ID")
    return text.decode()


def number(text):
    if len(text) > 16 or int(text) > MAX_NUMBER:  # the grammar admits digits alone
        raise malformed("a number over 2^53-1")
    return int(text)


# §2 Envelope and header

KEY, IV, TAG = "key", "iv", "tag"
ENCS = {
    "A256GCM": {KEY: 32, IV: 12, TAG: 16},
    "A256CBC-HS512": {KEY: 64, IV: 16, TAG: 32},
}
MAX_ENVELOPE = 16384
HEADER = re.compile(
    rb'\{"alg":"dir","enc":"(A256GCM|A256CBC-HS512)","kid":"([A-Za-z0-9_-]{8})\.([A-Za-z0-9_-]{22})"\}'
)


class Envelope:
    def __init__(self, text):
        """Takes bytes: what travelled."""
        if len(text) > MAX_ENVELOPE:
            raise malformed("too long")
        if not re.fullmatch(rb"[A-Za-z0-9_.-]*", text) or text.count(b".") != 4:
            raise malformed("not five parts of base64url")
        self.aad, encrypted_key, iv, ciphertext, tag = text.split(b".")
        if encrypted_key:
            raise malformed("an encrypted key")
        header = HEADER.fullmatch(b64decode(self.aad))
        if not header:
            raise malformed("another header")
        self.enc, self.key_id, kid_salt = (part.decode() for part in header.groups())
        self.salt = b64decode(kid_salt.encode())
        self.iv, self.ciphertext, self.tag = b64decode(iv), b64decode(ciphertext), b64decode(tag)
        size = ENCS[self.enc]
        if len(self.iv) != size[IV] or len(self.tag) != size[TAG] or not self.ciphertext:
            raise malformed("a part of another length")


# §3 Keys


def hkdf_sha256(secret, info, length):
    prk = hmac.digest(bytes(32), secret, "sha256")
    out, block, counter = b"", b"", 0
    while len(out) < length:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out += block
    return out[:length]


def derive(secret, enc, app, tenant, purpose, salt):
    parts = (b"sealed-blob/v1", enc.encode(), app.encode(), tenant.encode(), purpose.encode(), salt)
    info = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return hkdf_sha256(secret, info, 32 if purpose == "slot" else ENCS[enc][KEY])


def decrypt(envelope, key):
    failed = Refused("auth")
    if envelope.enc == "A256GCM":
        try:
            return AESGCM(key).decrypt(envelope.iv, envelope.ciphertext + envelope.tag, envelope.aad)
        except InvalidTag:
            raise failed from None
    # RFC 7518 §5.2.2.2: the first half authenticates, the second encrypts.
    bits = (8 * len(envelope.aad)).to_bytes(8, "big")
    mac = hmac.digest(key[:32], envelope.aad + envelope.iv + envelope.ciphertext + bits, "sha512")
    if not hmac.compare_digest(mac[:32], envelope.tag) or len(envelope.ciphertext) % 16:
        raise failed
    decryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(envelope.iv)).decryptor()
    padded = decryptor.update(envelope.ciphertext) + decryptor.finalize()
    count = padded[-1]
    if not 1 <= count <= 16 or padded[-count:] != bytes([count]) * count:
        raise failed
    return padded[:-count]


# §6 Padding


def padded_length(n):
    if n <= 512:
        return max(32, -(-n // 32) * 32)
    exponent = n.bit_length() - 1
    digits = exponent.bit_length()  # ⌊log2 E⌋ + 1
    mask = 2 ** (exponent - digits) - 1
    return (n + mask) & ~mask


def pad(plaintext):
    return plaintext.ljust(padded_length(len(plaintext)), b" ")


def unpad(plaintext):
    """Without the spaces. Whether they are as many as must be is check_padding's."""
    return plaintext.rstrip(b" ")


def check_padding(rest, length, said):
    natural = padded_length(len(rest))
    if said is None and length != natural or said is not None and not length == said >= natural:
        raise malformed("another padding")


# §4 Claims

ID, N, TEXT64 = rb'"([A-Za-z0-9_-]{22})"', rb"(0|[1-9][0-9]*)", rb'"([A-Za-z0-9_.-]{1,64})"'
CLAIMS = re.compile(
    rb'\{"jti":' + ID + rb'(?:,"uid":' + ID + rb')?,"iat":' + N + rb',"exp":' + N + rb'(?:,"axp":' + N
    + rb')?,"sid":' + ID + rb',"gen":' + N + rb',"name":"([a-z][a-z0-9_.-]{0,63})","pv":' + TEXT64
    + rb'(,"once":true)?(?:,"pad":' + N + rb')?,(?:"val":(.+)|"bin":"([A-Za-z0-9_-]*)")\}',
    re.DOTALL,
)
STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"')
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
MAX_DEPTH = 16


class Value:
    """Checks one JSON value; what is right is kept as it was written."""

    def __init__(self, raw):
        try:
            self.text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("not UTF-8") from None
        self.at = 0
        self.value(0)
        if self.at != len(self.text):
            raise malformed("something behind the value")

    def take(self, token):
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def need(self, token):
        if not self.take(token):
            raise malformed("not JSON")

    def string(self):
        match = STRING.match(self.text, self.at)
        if not match:
            raise malformed("not a JSON string")
        self.at = match.end()
        text = json.loads(match.group())
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise malformed("a lone surrogate")
        return text

    def value(self, depth):
        if any(map(self.take, ("null", "true", "false"))):
            return
        if self.text.startswith('"', self.at):
            self.string()
        elif self.take("{"):
            self.members(depth + 1)
        elif self.take("["):
            self.elements(depth + 1)
        else:
            match = NUMBER.match(self.text, self.at)
            if not match:
                raise malformed("not JSON")
            if math.isinf(float(match.group())):
                raise malformed("a number beyond a double")
            self.at = match.end()

    def members(self, depth):
        if depth > MAX_DEPTH:
            raise malformed("too deep")
        if self.take("}"):
            return
        names = set()
        while True:
            name = self.string()
            if name in names:
                raise malformed("a member twice")
            names.add(name)
            self.need(":")
            self.value(depth)
            if self.take("}"):
                return
            self.need(",")

    def elements(self, depth):
        if depth > MAX_DEPTH:
            raise malformed("too deep")
        if self.take("]"):
            return
        while True:
            self.value(depth)
            if self.take("]"):
                return
            self.need(",")


class Claims:
    def __init__(self, plaintext):
        match = CLAIMS.fullmatch(plaintext)
        if not match:
            raise malformed("another spelling of the claims")
        jti, uid, iat, exp, axp, sid, gen, name, pv, once, pad_to, val, binary = match.groups()
        self.jti, self.sid = identifier(jti), identifier(sid)
        self.uid = identifier(uid) if uid is not None else None
        self.iat, self.exp, self.gen = number(iat), number(exp), number(gen)
        self.axp = number(axp) if axp is not None else None
        self.name, self.pv, self.once = name.decode(), pv.decode(), once is not None
        if self.once != (self.uid is not None) or (self.once and self.axp is None):
            raise malformed("uid and axp belong to once")
        if self.iat == 0 or self.exp < self.iat or (self.axp is not None and self.axp < self.iat):
            raise malformed("times that can't be")
        self.pad = number(pad_to) if pad_to is not None else None
        if self.pad is not None and (not 0 < self.pad <= 1048576 or padded_length(self.pad) != self.pad):
            raise malformed("a padding that is no bucket")
        self.val = self.bin = None
        if val is not None:
            self.val = Value(val).text
            self.size = len(val)
        else:
            self.bin = b64decode(binary)
            self.size = len(self.bin)


# §5 Manifest and slots

ENTRY = rb'\{"slot":"([A-Za-z0-9_-]{12})","jti":' + ID + rb',"exp":' + N + rb"\}"
PLAIN_ENTRY = re.sub(rb"\((?!\?)", b"(?:", ENTRY)
MANIFEST = re.compile(
    rb'\{"sid":' + ID + rb',"sub":"((?:[^"\\]|\\["\\])*)","sat":' + N + rb',"fence":' + N + rb',"gen":' + N
    + rb',"iat":' + N + rb',"exp":' + N + rb',"axp":' + N + rb',"bnd":"([A-Za-z0-9_:-]{1,96})","pv":' + TEXT64
    + rb',"set":\[((?:' + PLAIN_ENTRY + rb"(?:," + PLAIN_ENTRY + rb")*)?)\]\}",
    re.DOTALL,
)


class Manifest:
    def __init__(self, plaintext):
        match = MANIFEST.fullmatch(plaintext)
        if not match:
            raise malformed("another spelling of the manifest")
        sid, sub, sat, fence, gen, iat, exp, axp, bnd, pv, entries = match.groups()
        self.sid = identifier(sid)
        try:
            self.sub = re.sub(rb"\\(.)", rb"\1", sub, flags=re.DOTALL).decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("a subject that is not UTF-8") from None
        if len(self.sub.encode()) > 256 or any(unicodedata.category(char) == "Cc" for char in self.sub):
            raise malformed("not a subject")
        self.sat = number(sat)
        if (self.sat == 0) != (self.sub == ""):
            raise malformed("a subject and its time belong together")
        self.fence, self.gen = number(fence), number(gen)
        self.iat, self.exp, self.axp = number(iat), number(exp), number(axp)
        if self.iat == 0 or self.exp < self.iat or self.axp < self.iat:
            raise malformed("times that can't be")
        self.bnd, self.pv = bnd.decode(), pv.decode()
        self.set = [
            (slot.decode(), identifier(jti), number(end)) for slot, jti, end in re.findall(ENTRY, entries)
        ]
        slots = [entry[0] for entry in self.set]
        if len(slots) > 64 or any(a >= b for a, b in zip(slots, slots[1:])):
            raise malformed("slots that don't ascend, or too many")


def slot_of(secret, enc, app, tenant, salt, name):
    key = derive(secret, enc, app, tenant, "slot", salt)
    return b64encode(hmac.digest(key, name.encode(), "sha256"))[:12]


# §7 Policy: steps 6 and 7 for what one envelope tells


def seconds(duration):
    units = {"h": 3600, "m": 60, "s": 1}
    if not re.fullmatch(r"([0-9]+[hms])+", duration):
        raise ValueError("not a duration: " + duration)
    return sum(int(count) * units[unit] for count, unit in re.findall(r"([0-9]+)([hms])", duration))


class Policy:
    def __init__(self, document):
        self.leeway = seconds(document.get("leeway", "30s"))
        self.session, self.attributes = document["session"], document["attributes"]

    def judge(self, what, now, purpose="attribute"):
        """Raises Refused with all reasons, or does nothing."""
        reasons, leeway = set(), self.leeway
        if purpose == "grant":
            rule = self.attributes.get(what.name, {})
            if not rule.get("once", False) or rule.get("burn") == "restore" or rule.get("binding") == "key":
                raise Refused("not allowed", why="can't be granted")
        if isinstance(what, Manifest):
            end = min(what.exp, what.axp, *(what.iat + seconds(self.session[k]) for k in ("idle", "absolute")))
        else:
            rule = self.attributes.get(what.name)
            if rule is None:
                raise Refused("not allowed", why="undeclared")
            if what.once != rule.get("once", False) or what.size > rule.get("max_bytes", 4096):
                reasons.add("not allowed")
            ends = [what.exp, what.iat + seconds(rule.get("ttl", self.session["absolute"]))]
            if "absolute" in rule:
                ends.append(what.iat + seconds(rule["absolute"]))
            if what.axp is not None:
                ends.append(what.axp)
            end = min(ends)
            if what.once:
                leeway = 0
        if now >= end + leeway:
            reasons.add("expired")
        if what.iat - self.leeway > now:
            reasons.add("not yet valid")
        if reasons:
            raise Refused(*reasons)


# §11 Keyring


class BadRing(Exception):
    pass


RING_ENCS = tuple(ENCS)


def private(path, secret=True):
    """Reads a file that belongs to us, and to us alone if it is secret."""
    info = os.lstat(path)
    if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.getuid()):
        raise BadRing(f"{path.name}: not a regular file of ours")
    if info.st_mode & (0o077 if secret else 0o022):
        raise BadRing(f"{path.name}: open to group or others")
    return path.read_bytes()


class Ring:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        sealed = private(folder / "ring.age")
        if len(sealed) > 1 << 20:
            raise BadRing("ring.age: too large")
        lines = private(folder / "identity.txt").decode().splitlines()
        try:
            identities = [pyrage.x25519.Identity.from_str(l) for l in lines if l and not l.startswith("#")]
            signer = b64decode(private(folder / "signer.pub", secret=False).removesuffix(b"\n"))
            plaintext = pyrage.decrypt(sealed, identities)
            match = re.fullmatch(
                rb"sealed-blob/v1 keyring\n([A-Za-z0-9_-]+)\n([A-Za-z0-9_-]{86})\n", plaintext
            )
            if not match:
                raise BadRing("ring.age: not a keyring")
            content, signature = map(b64decode, match.groups())
            message = b"sealed-blob/v1/keyring-signature\0" + content
            Ed25519PublicKey.from_public_bytes(signer).verify(signature, message)
        except InvalidSignature:
            raise BadRing("ring.age: not signed by this signer") from None
        except (pyrage.IdentityError, pyrage.DecryptError, Refused, ValueError) as error:
            raise BadRing(str(error)) from None
        self.plaintext, self.content = plaintext, content
        self.parse(content)
        if (folder / "ring.seen").exists():
            seen = private(folder / "ring.seen").decode()
            if not re.fullmatch(r"[1-9][0-9]{0,15} [A-Za-z0-9_-]{43}\n", seen):
                raise BadRing("ring.seen: not a note")
            version, digest = seen.split()
            if self.version < int(version):
                raise BadRing("ring.age: older than one that was accepted")
            if self.version == int(version) and b64decode(digest.encode()) != hashlib.sha256(content).digest():
                raise BadRing("ring.age: another one of its version")

    def parse(self, content):
        ring = json.loads(content)
        members = {"id": str, "enc": str, "secret": str, "created": int, "activate": int, "ended": str}
        top = ("version", "created", "recipients", "keys")
        again = {name: ring[name] for name in top}
        again["keys"] = [{m: key[m] for m in members if m in key} for key in ring["keys"]]
        if json.dumps(again, ensure_ascii=False, separators=(",", ":")).encode() != content:
            raise BadRing("ring.age: another spelling")
        self.version, self.keys, self.activations = ring["version"], {}, []
        for key in ring["keys"]:
            ended = "ended" in key  # then, and only then, the secret is erased
            wrong = [m for m in members if m not in ("ended", "secret") and not isinstance(key.get(m), members[m])]
            secret = None if ended else b64decode(key["secret"].encode())
            if wrong or ("secret" in key) == ended or not ended and len(secret) != 32 or not re.fullmatch(r"[A-Za-z0-9_-]{8}", key["id"]):
                raise BadRing("ring.age: a key that is none")
            if key["enc"] not in RING_ENCS or key.get("ended") not in (None, "retired", "revoked"):
                raise BadRing("ring.age: a key that is none")
            self.keys[key["id"]] = (key["enc"], secret, ended)
            if not ended:
                self.activations.append((key["activate"], len(self.activations), key["id"]))
        if self.version < 1 or not 1 <= len(ring["keys"]) <= 256 or len(self.keys) != len(ring["keys"]):
            raise BadRing("ring.age: number of keys")
        if not 1 <= len(ring["recipients"]) <= 64 or len(set(ring["recipients"])) != len(ring["recipients"]):
            raise BadRing("ring.age: number of recipients, or one that is there twice")
        live = [secret for _, secret, ended in self.keys.values() if not ended]
        if len(set(live)) != len(live):
            raise BadRing("ring.age: one secret for two keys")
        times = [ring["created"]] + [key[m] for key in ring["keys"] for m in ("created", "activate")]
        if self.version >= 1 << 53 or not all(isinstance(t, int) and 0 <= t <= 253402300799 for t in times):
            raise BadRing("ring.age: a number out of range")

    def primary(self, now):
        """The ID of the key that seals at now: activated last, the later one on a tie."""
        return max((a for a in self.activations if a[0] <= now), default=(0, 0, None))[2]

    def key(self, envelope, app, tenant, purpose):
        enc, secret, ended = self.keys.get(envelope.key_id, (None, None, True))
        if ended:
            raise Refused("unknown key")
        if enc != envelope.enc:
            raise malformed("the encryption of another key")
        return derive(secret, enc, app, tenant, purpose, envelope.salt)


def open_envelope(text, ring, app, tenant="", purpose="attribute"):
    """Steps 2 and 3 of §7: shape, key, authenticity, padding, claims."""
    envelope = Envelope(text)
    padded = decrypt(envelope, ring.key(envelope, app, tenant, purpose))
    plaintext = unpad(padded)
    what = (Manifest if purpose == "manifest" else Claims)(plaintext)
    check_padding(plaintext, len(padded), getattr(what, "pad", None))
    return what


# §14 Test vectors


FIELDS = {"expect", "purpose", "app", "tenant", "session", "now", "comment", "stale", "reads", "value", "bytes"}


def read_vector(data):
    """Returns its fields and the text."""
    head, _, text = data.partition(b"\n\n")
    if not text.endswith(b"\n"):
        raise ValueError("a vector ends with a line feed")
    lines = [line.partition(":") for line in head.decode().split("\n")]
    fields = {name: value.strip() for name, _, value in lines}
    if len(fields) != len(lines) or not fields.keys() <= FIELDS:
        raise ValueError("a vector with an unknown line, or a line twice")
    if ("reads" in fields) != (fields["expect"] == "success"):
        raise ValueError("success, and nothing else, says what must be read")
    if fields.get("stale", "true") != "true" or "stale" in fields and "reads" not in fields:
        raise ValueError("stale is true, and of success alone")
    return fields, text[:-1]


def copy_keys(vectors, folder):
    """The vectors' keys are public, and a checkout keeps no modes; a reader wants them."""
    folder.mkdir(mode=0o700)
    for source in (vectors / "keys").iterdir():
        shutil.copyfile(source, folder / source.name)
        (folder / source.name).chmod(0o600)
    return folder


def content(what):
    """What was read, as a vector's lines say it."""
    if isinstance(what, Manifest):
        entries = [{"slot": slot, "jti": jti, "exp": exp} for slot, jti, exp in what.set]
        names = ("sid", "sub", "sat", "fence", "gen", "iat", "exp", "axp", "bnd", "pv")
        return {"reads": {name: getattr(what, name) for name in names} | {"set": entries}}
    names = ("jti", "uid", "iat", "exp", "axp", "sid", "gen", "name", "pv")
    reads = {name: getattr(what, name) for name in names if getattr(what, name) is not None}
    if what.once:
        reads["once"] = True
    if what.pad is not None:
        reads["pad"] = what.pad
    return {"reads": reads} | ({"bytes": b64encode(what.bin)} if what.val is None else {"value": what.val})


def run_vector(data, ring, policy):
    """Returns (expected, found): the outcome, and with success what was read."""
    fields, text = read_vector(data)
    expect = {name: fields[name] for name in ("expect", "stale", "value", "bytes") if name in fields}
    if "reads" in fields:
        expect["reads"] = json.loads(fields["reads"])
    try:
        what = open_envelope(text, ring, fields["app"], fields.get("tenant", ""), fields["purpose"])
        if "session" in fields and what.sid != fields["session"]:
            raise Refused("binding")
        policy.judge(what, int(fields["now"]), fields["purpose"])
    except Refused as refused:
        return expect, {"expect": ", ".join(sorted(refused.reasons))}
    stale = {} if Envelope(text).key_id == ring.primary(int(fields["now"])) else {"stale": "true"}
    return expect, {"expect": "success"} | stale | content(what)


def run_vectors(folder):
    """Returns (passed, failed, those of the passed whose content was compared)."""
    policy = Policy(json.loads((folder / "policy.json").read_text()))
    with tempfile.TemporaryDirectory() as private_folder:
        ring = Ring(copy_keys(folder, pathlib.Path(private_folder, "keys")))
    passed = failed = read = 0
    for path in sorted(folder.glob("*.txt")):
        expect, found = run_vector(path.read_bytes(), ring, policy)
        if found == expect:
            passed += 1
            read += "reads" in expect
        else:
            failed += 1
            print(f"FAIL  {path.name}: expected {expect}, found {found}")
    return passed, failed, read


def run_example(spec):
    """§13, read from the document itself."""
    text = spec[spec.index("## 13 "):spec.index("## 14 ")]
    secret = bytes.fromhex(re.search(r"^secret +([0-9a-f]{64})", text, re.M)[1])
    salt = bytes.fromhex(re.search(r"^salt +([0-9a-f]{32})", text, re.M)[1])
    attribute, manifest, slot, grant = re.findall(
        r"^(?:attribute|manifest|slot|grant) key +([0-9a-f]{64})$", text, re.M
    )
    own_salt = bytes.fromhex(re.search(r"Its salt is its own, `([0-9a-f]{32})`", text)[1])
    infos = [bytes.fromhex("".join(re.findall(r"^([0-9a-f]{4} [0-9a-f]*)", block, re.M)))
             for block in re.findall(r"^```\n(000e .*?)^```", text, re.M | re.S)]
    slots = re.findall(r'[Ss]lot of [`"]cart[`"](?: is `| +)([A-Za-z0-9_-]{12})', text)
    long_key = "".join(re.search(r"^([0-9a-f]{64})\n([0-9a-f]{64})$", text, re.M).groups())
    plaintexts = re.findall(r"^\{.*\}$", text, re.M)
    envelopes = re.findall(r"^eyJ\S+$", text, re.M)
    gcm, cbc = RING_ENCS
    yield "secret", secret == hashlib.sha256(b"sealed-blob/v1 example ring key").digest()
    yield "attribute key", derive(secret, gcm, "shop", "", "attribute", salt).hex() == attribute
    yield "manifest key", derive(secret, gcm, "shop", "", "manifest", salt).hex() == manifest
    yield "slot key", derive(secret, gcm, "shop", "", "slot", salt).hex() == slot
    yield "attribute key, other profile", derive(secret, cbc, "shop", "", "attribute", salt).hex() == long_key
    yield "grant key", derive(secret, gcm, "shop", "", "grant", own_salt).hex() == grant
    wanted = zip((attribute, long_key, grant), infos, strict=True)
    yield "infos", [key for key, info in wanted if hkdf_sha256(secret, info, len(key) // 2).hex() != key] == []
    yield "slots", [slot_of(secret, enc, "shop", "", salt, "cart") for enc in RING_ENCS] == slots
    yield "envelopes", len(envelopes) == 4 and len(plaintexts) == 3
    cases = ((attribute, salt, plaintexts[0], Claims), (manifest, salt, plaintexts[1], Manifest),
             (long_key, salt, plaintexts[0], Claims), (grant, own_salt, plaintexts[2], Claims))
    for text, (key, kid_salt, plaintext, kind) in zip(envelopes, cases, strict=True):
        envelope = Envelope(text.encode())
        padded = decrypt(envelope, bytes.fromhex(key))
        found = unpad(padded)
        check_padding(found, len(padded), getattr(kind(found), "pad", None))
        yield "plaintext", found.decode() == plaintext
        yield "kid", (envelope.key_id, envelope.salt) == ("ExampleK", kid_salt)


# What a vector must be or must not be of its rule: those that the grammar can tell.
NO_ENVELOPE = re.compile(r"shape-(?!large|trailing|cbc-tag|tag-moved)|header-(?!enc)")
NO_PLAINTEXT = re.compile(
    r"claims-(?:order|space|twice|unknown|case|number|no-value|two|zero|negative|name|tail|escape)"
    r"|pad-(?:twice|place)|manifest-(?:escape|bnd|control|slot)"
)


def run_grammar(spec, folder):
    """The vectors' texts and plaintexts against the grammar of the document."""
    rules = grammar.Grammar(spec)
    yield "rules without a definition: " + ", ".join(rules.undefined()), not rules.undefined()
    with tempfile.TemporaryDirectory() as private_folder:
        ring = Ring(copy_keys(folder, pathlib.Path(private_folder, "keys")))
    yield "ring", rules.matches("ring", ring.plaintext.decode()) and rules.matches("content", ring.content.decode())
    yield "handshake", rules.matches("handshake", '{"v":1}') and not rules.matches("handshake", '{"v":2}')
    for path in sorted(folder.glob("*.txt")):
        fields, data = read_vector(path.read_bytes())
        text = data.decode("latin-1")
        header = b64decode(text.split(".")[0].encode()).decode() if re.match(r"[A-Za-z0-9_-]+\.", text) else ""
        form = rules.matches("envelope", text) and rules.matches("header-json", header)
        if NO_ENVELOPE.match(path.stem):
            yield path.stem + " is no envelope", not form
        elif fields["expect"] != "malformed":
            yield path.stem + " is an envelope", form
        purpose, bad = fields["purpose"], NO_PLAINTEXT.match(path.stem)
        if bad or fields["expect"] == "success":
            envelope = Envelope(data)
            key = ring.key(envelope, fields["app"], fields.get("tenant", ""), purpose)
            plaintext = unpad(decrypt(envelope, key)).decode()
            rule = "manifest" if purpose == "manifest" else "claims"
            yield f"{path.stem}: its plaintext as {rule}", rules.matches(rule, plaintext) != bool(bad)


def report(name, passed, failed):
    bad = failed or not passed
    print(f"{'FAIL' if bad else 'PASS'}  {name}: {passed} passed, {failed} failed")
    return 1 if bad else 0


def main(arguments):
    passed, failed, read = run_vectors(pathlib.Path(arguments[0]))
    code = report("independent opener, all vectors", passed, failed)
    code |= report("independent opener, what the good ones say", read, 0)
    if len(arguments) > 1:
        spec = pathlib.Path(arguments[1]).read_text()
        for what, results in (
            ("worked example", list(run_example(spec))),
            ("grammar", list(run_grammar(spec, pathlib.Path(arguments[0])))),
        ):
            for name, good in results:
                if not good:
                    print(f"FAIL  {what}: {name}")
            good = sum(ok for _, ok in results)
            code |= report("independent opener, " + what, good, len(results) - good)
    return code


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
