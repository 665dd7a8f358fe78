package seal

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	jose "github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"
)

// usualEnc is A256GCM, or under GODEBUG=fips140=only the strict profile.
var usualEnc = func() Enc {
	if fips140.Enforced() {
		return A256CBCHS512
	}
	return A256GCM
}()

// oracle opens with go-jose, which knows the content key and nothing of us.
func oracle(key []byte, enc Enc, text string) ([]byte, error) {
	object, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.ContentEncryption(enc)})
	if err != nil {
		return nil, err
	}
	return object.Decrypt(key)
}

// FuzzDifferential: go-jose opens what we seal, to the same bytes; and of any
// text, what we accept go-jose accepts, to the same bytes. In both profiles.
func FuzzDifferential(f *testing.F) {
	ring, scope := vectorRing(f), Scope{App: "shop"}
	var moments []time.Time // one for each profile that this process can use
	found := map[Enc]bool{}
	for _, k := range ring.Keys() {
		usable := k.ended == "" && (k.enc == usualEnc || k.enc == A256CBCHS512)
		if primary, _ := ring.Primary(k.activate); usable && primary == k && !found[k.enc] {
			moments, found[k.enc] = append(moments, k.activate), true
		}
	}
	if !found[usualEnc] || !found[A256CBCHS512] {
		f.Fatal("no key of one profile")
	}
	for _, v := range allVectors(f) {
		f.Add([]byte(v.Comment), v.Text)
	}
	f.Add([]byte{}, "")
	f.Add(bytes.Repeat([]byte{7}, 1000), "....")
	f.Fuzz(func(t *testing.T, plain []byte, text string) {
		for _, now := range moments {
			s, err := ring.NewSealer(scope, now)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := s.AppendSeal([]byte("before"), ForAttribute, plain)
			if err == ErrTooLarge && len(plain) > 12_000 {
				continue
			}
			if err != nil {
				t.Fatalf("%d bytes are not sealed: %v", len(plain), err)
			}
			opensAlike(t, s.keys, ForAttribute, string(sealed[len("before"):]), plain)
		}
		for _, p := range []Purpose{ForAttribute, ForManifest, ForGrant} {
			o := ring.NewOpener(scope, time.Unix(1_800_000_000, 0))
			ours, err := o.AppendOpen(nil, p, text)
			if err != nil {
				continue
			}
			keys, err := o.find(text)
			if err != nil {
				t.Fatal(err)
			}
			opensAlike(t, keys, p, text, ours)
		}
	})
}

// opensAlike insists that go-jose opens text to the same plaintext.
func opensAlike(t *testing.T, keys *derived, p Purpose, text string, want []byte) {
	t.Helper()
	key, err := keys.key(p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := oracle(key.key, key.enc, text); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("go-jose opens %q as %x, %v; ours is %x", text, got, err, want)
	}
}

// FuzzValue: a value that we accept is JSON to encoding/json and to go-jose's
// strict fork, compact and without duplicates; and what we write ourselves is
// accepted.
func FuzzValue(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,"x",true,null]}`, `"\ud800"`, `"\ud83d\ude00"`, `{"a":1,"\u0061":2}`, `01`, `-`, `1.`, `[1,]`, `{"a":1,}`, "\"\x7f\"", "\"\u2028\"", ` 1`, `1 `, `{"":0}`, `1e999`, `-1e308`, `1e-999`} {
		f.Add([]byte(s))
	}
	for _, plain := range vectorPlaintexts(f, ForAttribute) {
		if _, value, ok := bytes.Cut(plain, []byte(`,"val":`)); ok {
			f.Add(bytes.TrimSuffix(value, []byte("}")))
		}
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		var any, again any
		if !ValidValue(v) {
			if depthOf(v) <= MaxDepth && utf8.Valid(v) && json.Unmarshal(v, &any) == nil {
				if out, err := json.Marshal(any); err == nil && bytes.Equal(out, v) && !bytes.Contains(v, []byte(`\u`)) {
					t.Fatalf("refused what encoding/json writes: %q", v)
				}
			}
			return
		}
		if err := json.Unmarshal(v, &any); err != nil {
			t.Fatalf("accepted %q: %v", v, err)
		}
		if err := strict.Unmarshal(v, &again); err != nil {
			t.Fatalf("accepted %q, go-jose: %v", v, err)
		}
		if !utf8.Valid(v) {
			t.Fatalf("accepted bad UTF-8: %q", v)
		}
	})
}

func depthOf(v []byte) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// FuzzClaims: what decodes has exactly one spelling.
func FuzzClaims(f *testing.F) {
	for _, c := range []*Claims{
		{JTI: ID{1}, IssuedAt: 1, Expires: 2, Session: ID{2}, Gen: 1, Name: "cart", Policy: "1.a", Value: []byte(`{"a":"b"}`)},
		{JTI: ID{1}, UID: ID{3}, Once: true, IssuedAt: 1, Expires: 2, AbsoluteExpires: 2, Session: ID{2}, Name: "t", Policy: "1", Value: []byte{1, 2}, Binary: true},
	} {
		plain, err := c.append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	for _, plain := range vectorPlaintexts(f, ForAttribute) {
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		c := new(Claims)
		if !c.decode(bytes.Clone(plain)) {
			return
		}
		again, err := c.append(nil)
		if err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("%q is written again as %q, %v", plain, again, err)
		}
		var any any
		if err := json.Unmarshal(plain, &any); err != nil {
			t.Fatalf("accepted %q: %v", plain, err)
		}
	})
}

// FuzzManifest: the same for manifests.
func FuzzManifest(f *testing.F) {
	m := &Manifest{Session: ID{1}, Subject: `a"b\c`, SubjectSince: 3, Fence: 1, Gen: 2, IssuedAt: 3, Expires: 4, AbsoluteExpires: 5, Binding: "cookie:x", Policy: "1", Entries: []Entry{{"AAAAAAAAAAAA", ID{9}, 7}, {"BAAAAAAAAAAA", ID{8}, 7}}}
	plain, err := m.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	m.Entries = nil
	if plain, err = m.append(nil); err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	for _, plain := range vectorPlaintexts(f, ForManifest) {
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		m, err := decodeManifest(bytes.Clone(plain))
		if err != nil {
			if m != nil || err != ErrMalformed {
				t.Fatalf("decodeManifest = %v, %v", m, err)
			}
			return
		}
		if again, err := m.append(nil); err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("%q is written again as %q, %v", plain, again, err)
		}
	})
}
