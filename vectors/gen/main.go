// Gen writes the vectors anew: run it in the vectors folder. It derives keys, pads
// and seals by itself, from docs/SPEC.md, and shares no code with package seal: so
// the vectors test both. The keyring stays; it gets the keys that are missing.
package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

const (
	now    = 1_800_000_000
	policy = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"},"login":{"ttl":"1m"},"ticket":{"ttl":"10m","once":true},"entry":{"ttl":"10m","once":true,"burn":"restore"},"small":{"max_bytes":16}}}
`
)

var (
	b64  = base64.RawURLEncoding
	salt = b64.EncodeToString([]byte("vector salt 0001"))
	sid  = b64.EncodeToString([]byte("vector session 1"))
	jti  = b64.EncodeToString([]byte("vector envelope1"))
	uid  = b64.EncodeToString([]byte("vector right 001"))
)

func main() {
	log.SetFlags(0)
	ring := keys()
	check(os.WriteFile("policy.json", []byte(policy), 0o644))
	for name, v := range scenarios(ring) {
		text := fmt.Sprintf("expect: %s\npurpose: %s\napp: shop\nnow: %d\n", v.expect, v.purpose, max(v.now, now*btoi(v.now == 0)))
		if v.tenant != "" {
			text += "tenant: " + v.tenant + "\n"
		}
		if v.session != "" {
			text += "session: " + v.session + "\n"
		}
		text += "comment: " + v.comment + "\n"
		if v.expect == "success" {
			if v.stale {
				text += "stale: true\n"
			}
			text += v.reads()
		}
		check(os.WriteFile(name+".txt", []byte(text+"\n"+v.text+"\n"), 0o644))
	}
}

// reads are the lines that say what must be read: the plaintext, its value apart.
func (v scenario) reads() string {
	if v.purpose == "manifest" {
		return "reads: " + v.plain + "\n"
	}
	if head, value, ok := strings.Cut(v.plain, `,"val":`); ok {
		return "reads: " + head + "}\nvalue: " + strings.TrimSuffix(value, "}") + "\n"
	}
	head, raw, ok := strings.Cut(v.plain, `,"bin":"`)
	if !ok {
		log.Fatalf("%s: success, and nothing to read", v.comment)
	}
	return "reads: " + head + "}\n" + strings.TrimSpace("bytes: "+strings.TrimSuffix(raw, `"}`)) + "\n"
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// derive is SPEC §3.
func derive(k key, tenant, purpose string, rawSalt []byte, n int) []byte {
	secret, err := b64.DecodeString(k.Secret)
	check(err)
	var info []byte
	for _, part := range []string{"sealed-blob/v1", k.Enc, "shop", tenant, purpose, string(rawSalt)} {
		info = append(append(info, byte(len(part)>>8), byte(len(part))), part...)
	}
	out, err := hkdf.Key(sha256.New, secret, nil, string(info), n)
	check(err)
	return out
}

// wide pads to n bytes.
func wide(plain string, n int) string { return plain + strings.Repeat(" ", n-len(plain)) }

// pad is SPEC §6.
func pad(plain string) string {
	n := len(plain)
	if n <= 512 {
		return plain + strings.Repeat(" ", (32-n%32)%32)
	}
	e := 0
	for v := n; v > 1; v >>= 1 {
		e++
	}
	s := 0
	for v := e; v > 0; v >>= 1 {
		s++
	}
	step := 1 << (e - s)
	return plain + strings.Repeat(" ", (step-n%step)%step)
}

func sealed(k key, tenant, purpose, padded string) string {
	rawSalt, err := b64.DecodeString(salt)
	check(err)
	n := map[string]int{"A256GCM": 32, "A256CBC-HS512": 64}[k.Enc]
	enc, err := jose.NewEncrypter(jose.ContentEncryption(k.Enc), jose.Recipient{Algorithm: jose.DIRECT, Key: derive(k, tenant, purpose, rawSalt, n), KeyID: k.ID + "." + salt}, nil)
	check(err)
	object, err := enc.Encrypt([]byte(padded))
	check(err)
	text, err := object.CompactSerialize()
	check(err)
	return text
}

type scenario struct {
	expect, purpose, comment, text string
	plain                          string // of success: what was padded and sealed
	tenant, session                string
	now                            int
	stale                          bool // of success: the key is not the primary one
}

func attribute(name string, iat, ttl int, rest string) string {
	return fmt.Sprintf(`{"jti":"%s","iat":%d,"exp":%d,"sid":"%s","gen":1,"name":"%s","pv":"1.test",%s}`, jti, iat, iat+ttl, sid, name, rest)
}

// full lengthens the value until the claims fill a bucket.
func full(claims string) string {
	for len(claims)%32 != 0 {
		claims = strings.Replace(claims, `"val":"`, `"val":"x`, 1)
	}
	return claims
}

// cbcParts is an envelope of the strict profile with its tag cut to n characters.
func cbcParts(k key, claims string, n int) string {
	p := strings.Split(sealed(k, "", "attribute", pad(claims)), ".")
	p[4] = p[4][:n]
	return strings.Join(p, ".")
}

func flipCBC(k key, claims string, flip func(string, int) string) string {
	p := strings.Split(sealed(k, "", "attribute", pad(claims)), ".")
	p[3] = flip(p[3], 9)
	return strings.Join(p, ".")
}

func scenarios(ring ring) map[string]scenario {
	gcm, cbc := ring.gcm, ring.cbc
	cart := attribute("cart", now, 3600, `"val":["tea"]`)
	good := sealed(gcm, "", "attribute", pad(cart))
	later := attribute("cart", now+1_000_000, 3600, `"val":["tea"]`)
	part := strings.Split(good, ".")
	join := func(p ...string) string { return strings.Join(p, ".") }
	head := func(s string) string { return b64.EncodeToString([]byte(s)) }
	kid := gcm.ID + "." + salt
	ok := func(comment, plain string) scenario {
		return scenario{expect: "success", purpose: "attribute", comment: comment, text: sealed(gcm, "", "attribute", pad(plain)), plain: plain}
	}
	bad := func(comment, text string) scenario {
		return scenario{expect: "malformed", purpose: "attribute", comment: comment, text: text}
	}
	claims := func(comment, plain string) scenario { return bad(comment, sealed(gcm, "", "attribute", pad(plain))) }
	said := func(pad string) string { return attribute("cart", now, 3600, pad+`,"val":["tea"]`) }
	chosen := func(comment, plain string, n int) scenario {
		return scenario{expect: "success", purpose: "attribute", comment: comment, text: sealed(gcm, "", "attribute", wide(plain, n)), plain: plain}
	}
	policy := func(expect, comment, plain string) scenario {
		return scenario{expect: expect, purpose: "attribute", comment: comment, text: sealed(gcm, "", "attribute", pad(plain))}
	}
	ticket := fmt.Sprintf(`{"jti":"%s","uid":"%s","iat":%d,"exp":%d,"axp":%d,"sid":"%s","gen":3,"name":"ticket","pv":"1.test","once":true,"val":"row 7"}`, jti, uid, now, now+600, now+600, sid)
	manifest := fmt.Sprintf(`{"sid":"%s","sub":"ada \"the\" \\ first","sat":%d,"fence":1,"gen":2,"iat":%d,"exp":%d,"axp":%d,"bnd":"cookie:abc","pv":"1.test","set":[{"slot":"AAAAAAAAAAAA","jti":"%s","exp":%d},{"slot":"BAAAAAAAAAAA","jti":"%s","exp":%d}]}`,
		sid, now-600, now, now+1800, now+43200, jti, now+3600, uid, now+60)
	nobody := strings.Replace(manifest, fmt.Sprintf(`"sub":"ada \"the\" \\ first","sat":%d`, now-600), `"sub":"","sat":0`, 1)
	m := func(expect, comment, plain string) scenario {
		return scenario{expect: expect, purpose: "manifest", comment: comment, text: sealed(gcm, "", "manifest", pad(plain)), plain: plain}
	}
	grant := func(expect, comment, plain string) scenario {
		return scenario{expect: expect, purpose: "grant", comment: comment, text: sealed(gcm, "", "grant", pad(plain)), plain: plain}
	}
	granted := strings.Replace(ticket, `"gen":3`, `"gen":0`, 1)
	trailing := func(s string) string { // set a trailing bit that decodes to nothing
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		i := strings.IndexByte(alphabet, s[len(s)-1])
		return s[:len(s)-1] + alphabet[i|1:i|1+1]
	}
	flip := func(s string, at int) string {
		c := "A"
		if s[at] == 'A' {
			c = "B"
		}
		return s[:at] + c + s[at+1:]
	}
	return map[string]scenario{
		"ok-json":          ok("a JSON value", cart),
		"ok-once":          ok("a once-only attribute", ticket),
		"ok-bytes":         ok("a value of bytes", attribute("cart", now, 3600, `"bin":"AP8B"`)),
		"ok-cbc":           {stale: true, expect: "success", purpose: "attribute", plain: cart, comment: "the strict profile", text: sealed(cbc, "", "attribute", pad(cart))},
		"ok-padme":         ok("over 512 bytes, padded by Padmé", attribute("cart", now, 3600, `"val":"`+strings.Repeat("x", 700)+`"`)),
		"ok-tenant":        {expect: "success", purpose: "attribute", plain: cart, tenant: "acme", comment: "sealed for a tenant", text: sealed(gcm, "acme", "attribute", pad(cart))},
		"ok-session":       {expect: "success", purpose: "attribute", plain: cart, session: sid, comment: "of the required session", text: good},
		"ok-depth":         ok("16 levels of nesting", attribute("cart", now, 3600, `"val":`+strings.Repeat("[", 16)+strings.Repeat("]", 16))),
		"ok-last-second":   {expect: "success", purpose: "attribute", plain: cart, now: now + 3600 + 29, comment: "the last second of ttl and leeway", text: good},
		"ok-manifest":      m("success", "a manifest of two", manifest),
		"shape-empty-part": bad("no ciphertext", join(part[0], "", part[2], "", part[4])),
		"shape-four-parts": bad("four parts", join(part[0], "", part[2], part[3]+part[4])),
		"shape-six-parts":  bad("six parts", good+"."),
		"shape-ek":         bad("an encrypted key under dir", join(part[0], "AAAA", part[2], part[3], part[4])),
		"shape-crlf":       bad("CR LF inside base64url", join(part[0], "", part[2], part[3][:8]+"\r\n"+part[3][8:], part[4])),
		"shape-space":      bad("a leading space", " "+good),
		"shape-padding":    bad("base64 padding", good+"=="),
		"shape-trailing":   bad("a non-zero trailing bit in the tag", join(part[0], "", part[2], part[3], trailing(part[4]))),
		"shape-tag-moved":  bad("ciphertext moved into the tag", join(part[0], "", part[2], part[3][:len(part[3])-4], part[3][len(part[3])-4:]+part[4])),
		"shape-short-tag":  bad("a tag of 12 bytes", join(part[0], "", part[2], part[3], part[4][:16])),
		"shape-json":       bad("JSON serialization", `{"protected":"`+part[0]+`","iv":"`+part[2]+`","ciphertext":"`+part[3]+`","tag":"`+part[4]+`"}`),
		"shape-large":      bad("over 16 KiB", join(part[0], "", part[2], strings.Repeat("A", 16<<10), part[4])),
		"header-order":     bad("members in another order", join(head(`{"enc":"A256GCM","alg":"dir","kid":"`+kid+`"}`), "", part[2], part[3], part[4])),
		"header-zip":       bad("compression", join(head(`{"alg":"dir","enc":"A256GCM","kid":"`+kid+`","zip":"DEF"}`), "", part[2], part[3], part[4])),
		"header-crit":      bad("an extension", join(head(`{"alg":"dir","enc":"A256GCM","kid":"`+kid+`","crit":["x"]}`), "", part[2], part[3], part[4])),
		"header-twice":     bad("a member twice", join(head(`{"alg":"dir","alg":"dir","enc":"A256GCM","kid":"`+kid+`"}`), "", part[2], part[3], part[4])),
		"header-alg":       bad("another algorithm", join(head(`{"alg":"A256KW","enc":"A256GCM","kid":"`+kid+`"}`), "", part[2], part[3], part[4])),
		"header-enc":       bad("the encryption of another key", join(head(`{"alg":"dir","enc":"A256CBC-HS512","kid":"`+kid+`"}`), "", part[2]+"AAAAAA", part[3], part[4]+part[4][:21])),
		"header-salt":      bad("a salt of 15 bytes", join(head(`{"alg":"dir","enc":"A256GCM","kid":"`+gcm.ID+"."+salt[:20]+`"}`), "", part[2], part[3], part[4])),
		"key-unknown":      {expect: "unknown key", purpose: "attribute", comment: "a key ID that is not in the ring", text: join(head(`{"alg":"dir","enc":"A256GCM","kid":"AAAAAAAA.`+salt+`"}`), "", part[2], part[3], part[4])},
		"key-retired":      {expect: "unknown key", purpose: "attribute", comment: "a key that was retired", text: sealed(ring.retired, "", "attribute", pad(cart))},
		"key-revoked":      {expect: "unknown key", purpose: "manifest", comment: "a key that was revoked", text: sealed(ring.revoked, "", "manifest", pad(manifest))},
		"ok-pending":       {stale: true, expect: "success", purpose: "attribute", plain: cart, comment: "a key whose activation lies ahead", text: sealed(ring.pending, "", "attribute", pad(cart))},
		"ok-open-only":     {stale: true, expect: "success", purpose: "attribute", plain: cart, comment: "a key that was primary before", text: sealed(ring.openOnly, "", "attribute", pad(cart))},
		"ok-primary-later": {expect: "success", purpose: "attribute", plain: later, now: now + 1_000_000, comment: "the strict key, once it is primary", text: sealed(cbc, "", "attribute", pad(later))},
		"auth-ciphertext":  {expect: "auth", purpose: "attribute", comment: "a flipped bit in the ciphertext", text: join(part[0], "", part[2], flip(part[3], 9), part[4])},
		"auth-tag":         {expect: "auth", purpose: "attribute", comment: "a flipped bit in the tag", text: join(part[0], "", part[2], part[3], flip(part[4], 3))},
		"auth-iv":          {expect: "auth", purpose: "attribute", comment: "a flipped bit in the IV", text: join(part[0], "", flip(part[2], 3), part[3], part[4])},
		"auth-tenant":      {expect: "auth", purpose: "attribute", tenant: "acme", comment: "sealed for no tenant", text: good},
		"auth-purpose":     {expect: "auth", purpose: "manifest", comment: "an attribute presented as a manifest", text: good},
		"auth-salt":        {expect: "auth", purpose: "attribute", comment: "another salt", text: join(head(`{"alg":"dir","enc":"A256GCM","kid":"`+gcm.ID+"."+flip(salt, 0)+`"}`), "", part[2], part[3], part[4])},
		"pad-none":         bad("not padded", sealed(gcm, "", "attribute", cart+strings.Repeat(" ", 1+btoi(len(cart)%32 == 31)))),
		"pad-double":       bad("a bucket too many", sealed(gcm, "", "attribute", pad(cart)+strings.Repeat(" ", 32))),
		"ok-pad":           chosen("padded to a chosen length", said(`"pad":512`), 512),
		"ok-pad-padme":     chosen("the same over 512 bytes", said(`"pad":4352`), 4352),
		"ok-pad-exact":     chosen("the bucket that it would have had", said(`"pad":192`), 192),
		"pad-other":        bad("shorter than it says", sealed(gcm, "", "attribute", pad(said(`"pad":512`)))),
		"pad-longer":       bad("longer than it says", sealed(gcm, "", "attribute", wide(said(`"pad":512`), 576))),
		"pad-no-bucket":    bad("a chosen length that is no bucket", sealed(gcm, "", "attribute", wide(said(`"pad":500`), 500))),
		"pad-below":        bad("a chosen length below the claims' own", sealed(gcm, "", "attribute", pad(said(`"pad":64`)))),
		"pad-zero":         bad("a chosen length of zero", sealed(gcm, "", "attribute", pad(said(`"pad":0`)))),
		"pad-twice":        bad("two chosen lengths", sealed(gcm, "", "attribute", wide(said(`"pad":512,"pad":512`), 512))),
		"pad-place":        bad("the chosen length behind the value", sealed(gcm, "", "attribute", wide(attribute("cart", now, 3600, `"val":["tea"],"pad":512`), 512))),
		"pad-newline":      bad("a line feed as padding", sealed(gcm, "", "attribute", pad(cart + " ")[:len(pad(cart+" "))-1]+"\n")),
		"claims-order":     claims("members in another order", strings.Replace(cart, `"gen":1,"name":"cart"`, `"name":"cart","gen":1`, 1)),
		"claims-space":     claims("white space", strings.Replace(cart, `,"gen"`, `, "gen"`, 1)),
		"claims-twice":     claims("a member twice", strings.Replace(cart, `"gen":1`, `"gen":1,"gen":1`, 1)),
		"claims-unknown":   claims("an unknown member", strings.Replace(cart, `"gen":1`, `"gen":1,"x":1`, 1)),
		"claims-case":      claims("a member in the wrong case", strings.Replace(cart, `"gen":1`, `"Gen":1`, 1)),
		"claims-number":    claims("a number in another form", strings.Replace(cart, `"gen":1`, `"gen":1.0`, 1)),
		"claims-no-jti":    claims("no jti", cart[:1]+cart[len(jti)+10:]),
		"claims-no-value":  claims("no value", strings.Replace(cart, `,"val":["tea"]`, ``, 1)),
		"claims-two":       claims("val and bin", strings.Replace(cart, `"val":["tea"]`, `"val":1,"bin":"AA"`, 1)),
		"claims-once":      claims("once without uid", strings.Replace(ticket, `"uid":"`+uid+`",`, ``, 1)),
		"claims-utf8":      claims("not UTF-8", strings.Replace(cart, "tea", "te\xff", 1)),
		"claims-depth":     claims("17 levels of nesting", attribute("cart", now, 3600, `"val":`+strings.Repeat("[", 17)+strings.Repeat("]", 17))),
		"claims-value-two": claims("a duplicate member inside the value", attribute("cart", now, 3600, `"val":{"a":1,"a":2}`)),
		"claims-bin":       claims("non-canonical base64url inside", attribute("cart", now, 3600, `"bin":"AP9"`)),
		"claims-exp":       claims("ends before it begins", attribute("cart", now, -1, `"val":1`)),
		"manifest-order":   m("malformed", "slots not ascending", strings.Replace(strings.Replace(manifest, "AAAAAAAAAAAA", "CAAAAAAAAAAA", 1), "fence", "fence", 1)),
		"manifest-twice":   m("malformed", "a slot twice", strings.Replace(manifest, "BAAAAAAAAAAA", "AAAAAAAAAAAA", 1)),
		"manifest-escape":  m("malformed", "a subject with a needless escape", strings.Replace(manifest, "ada", `\u0061da`, 1)),
		"policy-expired":   {expect: "expired", purpose: "attribute", now: now + 3600 + 30, comment: "one second after ttl and leeway", text: good},
		"policy-ttl":       policy("expired", "sealed for a day; today's ttl is a minute", attribute("login", now-3600, 86400, `"val":1`)),
		"policy-once-end":  {expect: "expired", purpose: "attribute", now: now + 600, comment: "no leeway on a right", text: sealed(gcm, "", "attribute", pad(ticket))},
		"policy-future":    policy("not yet valid", "issued 31 s in the future", attribute("cart", now+31, 3600, `"val":1`)),
		"policy-name":      policy("not allowed", "an undeclared name", attribute("admin", now, 3600, `"val":true`)),
		"policy-size":      policy("not allowed", "17 bytes where 16 are allowed", attribute("small", now, 3600, `"val":"123456789012345"`)),
		"policy-not-once":  policy("not allowed", "a ticket that was not sealed as a right", attribute("ticket", now, 600, `"val":1`)),
		"ok-empty-bytes":   ok("no bytes at all", attribute("cart", now, 3600, `"bin":""`)),
		"ok-null":          ok("null is a value", attribute("cart", now, 3600, `"val":null`)),
		"ok-unicode":       ok("text beyond ASCII, and a surrogate pair", attribute("cart", now, 3600, `"val":"zoë 漢 \ud83d\ude00"`)),
		"ok-full-bucket":   ok("a plaintext that needs no padding", full(attribute("cart", now, 3600, `"val":""`))),
		"ok-leeway":        ok("issued 30 s in the future", attribute("cart", now+30, 3600, `"val":1`)),
		"ok-cbc-tenant":    {stale: true, expect: "success", purpose: "attribute", plain: cart, tenant: "acme", comment: "the strict profile, for a tenant", text: sealed(cbc, "acme", "attribute", pad(cart))},
		"ok-empty-set":     m("success", "a manifest of nothing", manifest[:strings.Index(manifest, `"set":[`)]+`"set":[]}`),
		"shape-empty":      bad("nothing but dots", "...."),
		"shape-cbc-tag":    bad("the strict profile with a tag of 16 bytes", cbcParts(cbc, cart, 22)),
		"shape-standard":   bad("the standard base64 alphabet", join(part[0], "", part[2], "+/"+part[3][2:], part[4])),
		"auth-cbc":         {expect: "auth", purpose: "attribute", comment: "a flipped bit under the strict profile", text: flipCBC(cbc, cart, flip)},
		"auth-app":         {expect: "auth", purpose: "attribute", comment: "sealed for a tenant whose name runs into the app's", text: sealed(gcm, "p", "attribute", pad(cart))},
		"claims-zero":      claims("a number with a leading zero", strings.Replace(cart, `"gen":1`, `"gen":01`, 1)),
		"claims-negative":  claims("a negative number", strings.Replace(cart, `"gen":1`, `"gen":-1`, 1)),
		"claims-large":     claims("a number over 2^53-1", strings.Replace(cart, `"gen":1`, `"gen":9007199254740992`, 1)),
		"claims-name":      claims("an upper-case name", strings.Replace(cart, `"name":"cart"`, `"name":"Cart"`, 1)),
		"claims-axp":       claims("a right without its absolute end", strings.Replace(ticket, fmt.Sprintf(`,"axp":%d`, now+600), "", 1)),
		"claims-surrogate": claims("a lone surrogate", attribute("cart", now, 3600, `"val":"\ud800"`)),
		"claims-tail":      claims("something behind the claims", cart+"1"),
		"claims-escape":    claims("an escaped name", strings.Replace(cart, `"name":"cart"`, `"name":"\u0063art"`, 1)),
		"manifest-bnd":     m("malformed", "no binding", strings.Replace(manifest, `"bnd":"cookie:abc"`, `"bnd":""`, 1)),
		"manifest-control": m("malformed", "a control character in the subject", strings.Replace(manifest, "ada", "a\tda", 1)),
		"manifest-idle":    {expect: "expired", purpose: "manifest", now: now + 1800 + 30, comment: "one second after the end by idleness and leeway", text: sealed(gcm, "", "manifest", pad(manifest))},
		"manifest-end":     m("expired", "absolute end and leeway are over, the end by idleness is not", strings.Replace(manifest, fmt.Sprintf(`"iat":%d,"exp":%d,"axp":%d`, now, now+1800, now+43200), fmt.Sprintf(`"iat":%d,"exp":%d,"axp":%d`, now-60, now+1740, now-30), 1)),
		"manifest-session": {expect: "binding", purpose: "manifest", session: uid, comment: "a manifest of another session", text: sealed(gcm, "", "manifest", pad(manifest))},
		"manifest-future":  m("not yet valid", "sealed 31 s in the future", strings.Replace(manifest, fmt.Sprintf(`"iat":%d`, now), fmt.Sprintf(`"iat":%d`, now+31), 1)),
		"ok-nobody":        m("success", "a manifest of nobody's session", nobody),
		"manifest-sat":     m("malformed", "a subject without its time", strings.Replace(manifest, fmt.Sprintf(`"sat":%d`, now-600), `"sat":0`, 1)),
		"manifest-no-sub":  m("malformed", "a time without a subject", strings.Replace(nobody, `"sat":0`, `"sat":1`, 1)),
		"manifest-slot":    m("malformed", "a slot of 11 characters", strings.Replace(manifest, "AAAAAAAAAAAA", "AAAAAAAAAAA", 1)),
		"ok-grant":         grant("success", "a right outside any session", granted),
		"ok-grant-cbc":     {stale: true, expect: "success", purpose: "grant", plain: granted, tenant: "acme", comment: "a grant under the strict profile, for a tenant", text: sealed(cbc, "acme", "grant", pad(granted))},
		"auth-grant":       {expect: "auth", purpose: "attribute", comment: "a grant presented as an attribute", text: sealed(gcm, "", "grant", pad(granted))},
		"auth-no-grant":    {expect: "auth", purpose: "grant", comment: "an attribute presented as a grant", text: sealed(gcm, "", "attribute", pad(granted))},
		"grant-end":        {expect: "expired", purpose: "grant", now: now + 600, comment: "no leeway on a grant", text: sealed(gcm, "", "grant", pad(granted))},
		"grant-ordinary":   grant("not allowed", "a grant of what is not once-only", cart),
		"grant-burnt":      grant("not allowed", "a grant of a right that a restore spends", strings.Replace(granted, `"name":"ticket"`, `"name":"entry"`, 1)),
		"grant-claims":     grant("malformed", "a grant without its absolute end", strings.Replace(granted, fmt.Sprintf(`,"axp":%d`, now+600), "", 1)),
		"binding-session":  {expect: "binding", purpose: "attribute", session: uid, comment: "of another session", text: good},
	}
}
