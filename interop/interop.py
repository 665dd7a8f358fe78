"""Other JOSE tools open our envelopes, and we open theirs.

    python interop.py BLOBCTL VECTORS

prints a line a check and fails if one of them fails, or if none ran. The keys are
made for this run; the tools are given what `blobctl keyring export` prints for one
envelope, and nothing else.
"""

import base64
import importlib.metadata
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from random import Random

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "python"))

from jwcrypto import jwe, jwk  # noqa: E402
from jwcrypto.common import JWException  # noqa: E402

import opener  # noqa: E402

POLICY = {
    "version": 1,
    "session": {"idle": "30m", "absolute": "12h"},
    "attributes": {"cart": {"ttl": "1h"}, "large": {"max_bytes": 4096}, "ticket": {"ttl": "10m", "once": True}},
}
APP = "shop"
VALUES = {  # name of the case: attribute, tenant, JSON value
    "object": ("cart", "", '{"tea":["grün","\\u00e9"],"n":1.50e1}'),
    "null": ("cart", "", "null"),
    "text": ("cart", "", '"𝄞 \\ud834\\udd1e"'),
    "padmé": ("large", "", json.dumps("x" * 4000)),
    "tenant": ("cart", "acme", "[]"),
    "right": ("ticket", "", '"row 7"'),
}


class ToolError(Exception):
    """The tool did not open, or did not seal."""


# The tools. A header is a list of members in the order that is wanted.


class Npm:
    def __init__(self):
        lock = json.loads((HERE / "node/package-lock.json").read_text())
        self.name = "npm jose " + lock["packages"]["node_modules/jose"]["version"]
        self.process = subprocess.Popen(
            ["node", str(HERE / "node/jose.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ToolError(answer["error"])
        return answer["result"]

    def open(self, key, envelope):
        return base64.b64decode(self.ask(op="open", key=key, envelope=envelope))

    def seal(self, key, header, plaintext, form="compact"):
        text = base64.b64encode(plaintext).decode()
        return self.ask(op="seal", key=key, header=dict(header), plaintext=text, form=form)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class Jwcrypto:
    name = "Python jwcrypto " + importlib.metadata.version("jwcrypto")

    def open(self, key, envelope):
        token = jwe.JWE()
        try:
            token.deserialize(envelope, jwk.JWK(**key))
        except (JWException, ValueError) as error:
            raise ToolError(f"{type(error).__name__}: {error}") from None
        return token.payload

    def seal(self, key, header, plaintext, form="compact"):
        try:
            token = jwe.JWE(plaintext, protected=compact_json(dict(header)))
            token.add_recipient(jwk.JWK(**key))
        except (JWException, ValueError) as error:
            raise ToolError(f"{type(error).__name__}: {error}") from None
        return token.serialize(compact=form == "compact")

    def close(self):
        pass


class DebianJose:
    """The command `jose`. It takes files; an envelope that ends in a line feed is
    answered with the plaintext and an error, so that none is written."""


    def __init__(self, folder):
        self.folder = folder
        self.name = "Debian jose"
        if shutil.which("dpkg-query"):
            asked = subprocess.run(["dpkg-query", "-Wf", "${Version}", "jose"], capture_output=True, text=True)
            self.name = f"Debian jose {asked.stdout}".strip()

    def run(self, command, **files):
        arguments = []
        for option, content in files.items():
            path = self.folder / f"jose-{option}"
            path.write_bytes(content)
            arguments += ["-" + option, path]
        done = subprocess.run(["jose", "jwe", *command, *arguments], capture_output=True)
        if done.returncode:
            raise ToolError(done.stderr.decode().strip().replace("\n", "; "))
        return done.stdout

    def key(self, key):
        return json.dumps(key).encode()

    def open(self, key, envelope):
        return self.run(["dec"], i=envelope.encode(), k=self.key(key))

    def seal(self, key, header, plaintext, form="compact"):
        template = json.dumps({"protected": dict(header)}).encode()
        command = ["enc", "-c"] if form == "compact" else ["enc"]
        return self.run(command, i=template, k=self.key(key), I=plaintext).decode().strip()

    def close(self):
        pass


def compact_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Blobctl:
    def __init__(self, binary, folder, enc):
        self.binary, self.enc, self.work = binary, enc, folder
        self.folder, self.policy, self.spent = folder / enc, folder / "policy.json", folder / f"spent-{enc}"
        self.must(["keyring", "init", "--dir", self.folder, "--enc", enc])
        self.ring = opener.Ring(self.folder)
        self.common = ["--keyring", self.folder, "--policy", self.policy, "--app", APP]

    def run(self, arguments, text=""):
        text = text.encode() if isinstance(text, str) else text
        return subprocess.run([self.binary, *arguments], input=text, capture_output=True, timeout=30)

    def must(self, arguments, text=""):
        done = self.run(arguments, text)
        if done.returncode:
            raise RuntimeError(f"blobctl {arguments[0]}: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    def seal(self, attribute, tenant, value):
        arguments = ["seal", *self.common, "--tenant", tenant, "--session", "new", "--name", attribute]
        if attribute == "ticket":
            arguments += ["--replay", f"file:{self.spent}"]
        return self.must(arguments, value).strip()

    def export(self, envelope, tenant):
        return json.loads(
            self.must(["keyring", "export", "--dir", self.folder, "--app", APP, "--tenant", tenant], envelope)
        )

    def verify(self, envelope, tenant=""):
        """Returns (exit code, the answer in JSON)."""
        done = self.run(["verify", *self.common, "--tenant", tenant, "--json"], envelope)
        lines = done.stdout.decode().splitlines()
        return done.returncode, json.loads(lines[0]) if lines else {}

    def reveal(self, envelope, tenant):
        return self.must(["open", *self.common, "--tenant", tenant, "--reveal"], envelope)

    def epoch(self):
        """Where the store's memory begins, some seconds ahead of when it was made."""
        status = json.loads(self.must(["replay", "status", "--json", f"file:{self.spent}"]))
        return int(datetime.fromisoformat(status["epoch"]).timestamp())

    def take(self, envelope):
        return self.run(["take", *self.common, "--replay", f"file:{self.spent}"], envelope).returncode


# Checks


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def line(self, name, results):
        """results: list of (case, why it failed or None)."""
        bad = [(case, why) for case, why in results if why]
        good = len(results) - len(bad)
        failed = len(bad) + (not results)  # none at all is a failure
        self.passed += good
        self.failed += failed
        print(f"{'FAIL' if failed else 'PASS'}  {name}: {good} of {len(results)}", flush=True)
        for case, why in bad:
            print(f"      {case}: {why}")


def judge(check, *arguments):
    try:
        return check(*arguments)
    except (ToolError, RuntimeError, opener.Refused) as error:
        return str(error)


def expect(pairs):
    """The first of (what, found, wanted) that differs, or None."""
    for what, found, wanted in pairs:
        if found != wanted:
            return f"{what}: {found!r}, not {wanted!r}"
    return None


def new_id():
    return opener.b64encode(secrets.token_bytes(16))


def our_header(enc, kid):
    return [("alg", "dir"), ("enc", enc), ("kid", kid)]


def our_claims(attribute, value, earliest=0):
    """What §4 says, as text; the value is put in as it is written."""
    now = max(int(time.time()), earliest)
    claims = {"jti": new_id()}
    if attribute == "ticket":
        claims |= {"uid": new_id(), "iat": now, "exp": now + 600, "axp": now + 600}
    else:
        claims |= {"iat": now, "exp": now + 3600}
    claims |= {"sid": new_id(), "gen": 1, "name": attribute, "pv": "interop"}
    if attribute == "ticket":
        claims["once"] = True
    return claims, compact_json(claims)[:-1] + ',"val":' + value + "}"


def opens_ours(tool, blobctl, sealed, key, other_key, attribute, tenant, value):
    plaintext = tool.open(key, sealed)
    text = plaintext.rstrip(b" ")
    claims = json.loads(text)
    ours = opener.open_envelope(sealed.encode(), blobctl.ring, APP, tenant)
    wrong = expect([
        ("length", len(plaintext), opener.padded_length(len(text))),
        ("value", claims["val"], json.loads(value)),
        ("its spelling", text.endswith(f',"val":{value}}}'.encode()), True),
        ("name", claims["name"], attribute),
        ("the independent opener's value", ours.val, value),
    ])
    if wrong:
        return wrong
    try:
        tool.open(other_key, sealed)
    except ToolError:
        return None
    return "opened with the key of another envelope"


def seals_for_us(tool, tools, blobctl, key, attribute, tenant, value):
    claims, text = our_claims(attribute, value, blobctl.epoch() if attribute == "ticket" else 0)
    header = our_header(blobctl.enc, key["kid"])
    sealed = tool.seal(key, header, opener.pad(text.encode()))
    code, answer = blobctl.verify(sealed, tenant)
    wrong = expect([
        ("header", opener.b64decode(sealed.split(".")[0].encode()).decode(), compact_json(dict(header))),
        ("verify", code, 0),
        ("session", answer.get("session"), claims["sid"]),
        ("jti", answer.get("jti"), claims["jti"]),
        ("name", answer.get("name"), attribute),
        ("once", answer.get("once"), attribute == "ticket"),
        ("value", json.loads(blobctl.reveal(sealed, tenant)), json.loads(value)),
        ("the independent opener's value", opener.open_envelope(sealed.encode(), blobctl.ring, APP, tenant).val, value),
        *((other.name, other.open(key, sealed).rstrip(b" "), text.encode()) for other in tools),
    ])
    if wrong or attribute != "ticket":
        return wrong
    return expect([("take", blobctl.take(sealed), 0), ("second take", blobctl.take(sealed), 4)])


def is_refused(blobctl, envelope, reason, own):
    code, answer = blobctl.verify(envelope)
    try:
        opener.open_envelope(envelope.encode(), blobctl.ring, APP)
        independent = "success"
    except opener.Refused as refused:
        independent = ", ".join(refused.reasons)
    return expect([("verify", code, 3), ("reason", answer.get("reason"), reason), ("the independent opener", independent, own)])


MALFORMED = ("seal: malformed", "malformed")
NOT_AUTHENTIC = ("seal: authentication failed", "auth")


def other_spellings(enc, kid):
    """Ways to seal that are JWE, and not our profile: header, plaintext, form."""
    _, text = our_claims("cart", '"tea"')
    plain, ours = opener.pad(text.encode()), our_header(enc, kid)
    swapped = json.loads(text)
    swapped["iat"] = swapped.pop("iat")
    yield "JSON serialization", ours, plain, "flattened"
    yield "header in another order", [ours[1], ours[0], ours[2]], plain, "compact"
    yield "header with typ", [*ours, ("typ", "JOSE")], plain, "compact"
    yield "header with zip", [*ours, ("zip", "DEF")], plain, "compact"
    yield "header without kid", ours[:2], plain, "compact"
    yield "kid of another form", [*ours[:2], ("kid", kid.replace(".", "-"))], plain, "compact"
    yield "not padded", ours, text.encode() + b" " * (len(text) % 32 == 0), "compact"
    yield "padded with line feeds", ours, plain.rstrip().ljust(len(plain), b"\n"), "compact"
    yield "claims with white space", ours, opener.pad(json.dumps(json.loads(text)).encode()), "compact"
    yield "claims in another order", ours, opener.pad(compact_json(swapped).encode()), "compact"
    yield "no claims", ours, opener.pad(b"tea"), "compact"
    if enc == "A256GCM":
        yield "A128CBC-HS256", [ours[0], ("enc", "A128CBC-HS256"), ours[2]], plain, "compact"
        yield "A256KW", [("alg", "A256KW"), *ours[1:]], plain, "compact"


def refuses_spelling(tool, blobctl, key, header, plaintext, form):
    """Returns why it failed or None, and whether the tool opens what it made.

    Raises ToolError if the tool can't make it."""
    key = dict(key)
    if dict(header)["alg"] != "dir" or dict(header)["enc"] != key.get("alg"):
        key.pop("alg", None)  # the exported key is for one algorithm; here another is wanted
    sealed = tool.seal(key, header, plaintext, form)
    if form == "compact" and plaintext_is_ours(sealed, header, plaintext, blobctl.enc):
        raise ToolError("makes our profile of it")
    wrong = judge(is_refused, blobctl, sealed, *MALFORMED)
    try:
        return wrong, tool.open(key, sealed) == plaintext
    except ToolError:
        return wrong, False


def plaintext_is_ours(sealed, asked, plaintext, enc):
    """True if the tool wrote our header although another was asked for."""
    kid = dict(asked).get("kid")
    if kid is None or asked == our_header(enc, kid):
        return False
    return opener.b64decode(sealed.split(".")[0].encode()).decode() == compact_json(dict(our_header(enc, kid)))


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def trailing_bit(part):
    """The same bytes with an unused bit set; None where there is none."""
    if len(part) % 4 == 0:
        return None
    return part[:-1] + ALPHABET[ALPHABET.index(part[-1]) | 1]


def flip(part):
    raw = bytearray(opener.b64decode(part.encode()))
    raw[0] ^= 1
    return opener.b64encode(bytes(raw))


def mutations(sealed):
    """Changes of a good envelope: name, text, reason."""
    parts = sealed.split(".")
    names = ("header", "key", "IV", "ciphertext", "tag")

    def put(index, part):
        return ".".join([*parts[:index], part, *parts[index + 1:]])

    for index, name in enumerate(names):
        if not parts[index]:
            continue
        changed = trailing_bit(parts[index])
        if changed:
            yield f"trailing bit in the {name}", put(index, changed), MALFORMED
            yield f"padding on the {name}", put(index, parts[index] + "=" * (-len(parts[index]) % 4)), MALFORMED
        if name != "header":
            yield f"flipped bit in the {name}", put(index, flip(parts[index])), NOT_AUTHENTIC
    yield "an encrypted key", put(1, "AA"), MALFORMED
    yield "CR inside", put(3, parts[3][:4] + "\r" + parts[3][4:]), MALFORMED
    yield "space before", " " + sealed, MALFORMED
    yield "six parts", sealed + ".", MALFORMED
    header, _, iv, ciphertext, tag = parts
    members = {"protected": header, "iv": iv, "ciphertext": ciphertext, "tag": tag}
    yield "flattened JSON serialization", compact_json(members), MALFORMED
    general = {"protected": header, "recipients": [{}], "iv": iv, "ciphertext": ciphertext, "tag": tag}
    yield "general JSON serialization", compact_json(general), MALFORMED


# Two openers, one verdict


def mutated(random, data, characters):
    """One to three changes: a byte put in another's place, left out, or put in; a piece twice."""
    data = bytearray(data)
    for _ in range(random.randint(1, 3)):
        at, how = random.randrange(len(data)), random.randrange(4)
        if how == 0:
            data[at] = random.choice(characters)
        elif how == 1:
            del data[at]
        elif how == 2:
            data.insert(at, random.choice(characters))
        else:
            data[at:at] = data[at:at + random.randint(1, 12)]
    return bytes(data)


def verdicts(answer):
    if answer.get("good"):
        return {"success"}
    names = {"seal: malformed": "malformed", "seal: authentication failed": "auth", "seal: unknown key": "unknown key"}
    return {names.get(reason, reason.split(": ")[1]) for reason in answer["reason"].split(";")}


def agree(blobctl, tool, key, count):
    """Claims and envelopes with random changes: both openers must say the same."""
    random, now = Random(), int(time.time())
    header = our_header(blobctl.enc, key["kid"])
    texts = [our_claims(attribute, value)[1].encode() for attribute, _, value in VALUES.values()]
    texts.append(texts[0][: texts[0].index(b'"val":')] + b'"bin":"AAEC"}')
    good = [tool.seal(key, header, opener.pad(text)).encode() for text in texts if len(text) < 512]
    shown = list(texts)
    while len(shown) < count // 2:
        shown.append(mutated(random, random.choice(texts), b'"\\{}[],:0123456789eE+-. abutfnx\xc3\xa9\xff'))
    envelopes = [tool.seal(key, header, opener.pad(text)).encode() for text in shown]
    while len(envelopes) < count:
        envelopes.append(mutated(random, random.choice(good), ALPHABET.encode() + b"..=+/ \r\xc3"))
    shown += envelopes[len(shown):]
    done = blobctl.run(["verify", *blobctl.common, "--at", str(now), "--json"], b"\n".join(envelopes))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    policy, results, seen = opener.Policy(POLICY), [], set()
    for text, envelope, answer in zip(shown, envelopes, answers, strict=True):
        try:
            policy.judge(opener.open_envelope(envelope, blobctl.ring, APP), now)
            found = {"success"}
        except opener.Refused as refused:
            found = refused.reasons
        seen |= found
        results.append((repr(text), expect([("blobctl", verdicts(answer), found)])))
    results.append(("verdicts seen", expect([("all", {"success", "malformed", "auth", "not allowed"} - seen, set())])))
    return results


def opens_vector(tool, export, ring, path):
    fields, text = opener.read_vector(path.read_bytes())
    envelope = opener.Envelope(text)
    key = export(text.decode(), fields)
    ours = opener.decrypt(envelope, opener.b64decode(key["k"].encode()))
    derived = ring.key(envelope, fields["app"], fields.get("tenant", ""), fields["purpose"])
    return expect([
        ("key", opener.b64decode(key["k"].encode()).hex(), derived.hex()),
        ("plaintext", tool.open(key, text.decode()), ours),
    ])


def run_vectors(binary, folder, vectors, tools, checks):
    """The good vectors, manifests among them, under the keys that are exported."""
    keys = opener.copy_keys(vectors, folder / "vectors")
    ring = opener.Ring(keys)

    def export(envelope, fields):
        command = [binary, "keyring", "export", "--insecure-sample-keys", "--dir", keys, "--app", fields["app"]]
        command += ["--tenant", fields.get("tenant", ""), *["--" + fields["purpose"]][: fields["purpose"] != "attribute"]]
        done = subprocess.run(command, input=envelope.encode(), capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr.decode().strip())
        return json.loads(done.stdout)

    for tool in tools:
        results = [
            (path.name, judge(opens_vector, tool, export, ring, path)) for path in sorted(vectors.glob("ok-*.txt"))
        ]
        checks.line(f"vectors: {tool.name} opens the good ones", results)


def run(binary, vectors, folder, checks):
    (folder / "policy.json").write_text(json.dumps(POLICY))
    tools = [Npm(), Jwcrypto(), DebianJose(folder)]
    tolerated, cannot, lost = ({tool.name: set() for tool in tools} for _ in range(3))
    for enc in opener.ENCS:
        blobctl = Blobctl(binary, folder, enc)
        sealed = {case: blobctl.seal(*value) for case, value in VALUES.items()}
        keys = {case: blobctl.export(sealed[case], VALUES[case][1]) for case in VALUES}
        made = int(time.time())
        others = dict(zip(keys, [*list(keys.values())[1:], keys["object"]]))
        for tool in tools:
            results = [
                (case, judge(opens_ours, tool, blobctl, sealed[case], keys[case], others[case], *VALUES[case]))
                for case in VALUES
            ]
            checks.line(f"{enc}: {tool.name} opens blobctl's", results)
        while int(time.time()) <= made + 1:  # a right must not be older than the store
            time.sleep(0.1)
        for tool in tools:
            results = [
                (case, judge(seals_for_us, tool, tools, blobctl, keys[case], *VALUES[case])) for case in VALUES
            ]
            checks.line(f"{enc}: blobctl opens {tool.name}'s", results)
        key = keys["object"]
        for tool in tools:
            results = []
            for name, *how in other_spellings(enc, key["kid"]):
                try:
                    wrong, opens = refuses_spelling(tool, blobctl, key, *how)
                except ToolError as error:
                    cannot[tool.name].add(f"{name} ({error})")
                    continue
                results.append((name, wrong))
                if not opens:
                    lost[tool.name].add(name)
            checks.line(f"{enc}: blobctl refuses {tool.name}'s other spellings", results)
        for tool in tools:
            good = tool.seal(key, our_header(enc, key["kid"]), opener.pad(our_claims("cart", '"tea"')[1].encode()))
            results = [("unchanged", expect([("verify", blobctl.verify(good)[0], 0)]))]
            for name, text, reason in mutations(good):
                results.append((name, judge(is_refused, blobctl, text, *reason)))
                try:
                    tool.open(key, text)
                    tolerated[tool.name].add(name)
                except ToolError:
                    pass
            checks.line(f"{enc}: blobctl refuses changes of {tool.name}'s", results)
        results = agree(blobctl, tools[1], key, 2000)
        checks.line(f"{enc}: blobctl and the independent opener agree on random changes", results)
    run_vectors(binary, folder, vectors, tools, checks)
    for tool in tools:
        tool.close()
        for verb, names in (("can't make", cannot), ("does not open its own", lost), ("itself takes", tolerated)):
            if names[tool.name]:
                print(f"note  {tool.name} {verb}: {'; '.join(sorted(names[tool.name]))}")


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        run(os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(folder), checks)
    print(f"interop: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed or not checks.passed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main())
