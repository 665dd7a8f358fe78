package seal_test

import (
	"crypto/fips140"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/sealedblob/sealedblob/seal"
)

// rfcExample is one JWE of an RFC, in each serialization in which it stands
// there, and each key that opens it.
type rfcExample struct {
	name, plaintext string
	keys            []any // for go-jose
	texts           []string
}

// The examples of RFC 7516 (Appendix A) and RFC 7520 (§5) are sound: go-jose
// opens each to the RFC's plaintext. Ours refuses each as what it is, another
// format, before it looks for a key.
func TestRFCExamplesAreNotOurs(t *testing.T) {
	ring := testRing(t, usual)
	opened, refused := 0, 0
	for _, example := range append(rfc7516(t), rfc7520(t)...) {
		if len(example.texts) == 0 || len(example.keys) == 0 {
			t.Errorf("%s: no text or no key", example.name)
		}
		for _, text := range example.texts {
			for _, key := range example.keys {
				plain, err := openAny(text, key)
				if err != nil || string(plain) != example.plaintext {
					t.Errorf("%s: go-jose = %.40q, %v; want %.40q", example.name, plain, err, example.plaintext)
				}
				opened++
			}
			for how, open := range map[string]func() error{
				"attribute": func() error { _, _, err := ring.NewOpener(scope, now).Attribute(text); return err },
				"manifest":  func() error { _, _, err := ring.NewOpener(scope, now).Manifest(text); return err },
				"inspect":   func() error { _, err := seal.InspectUnverified(text); return err },
			} {
				if err := open(); err != seal.ErrMalformed {
					t.Errorf("%s as %s: %v, want ErrMalformed", example.name, how, err)
				}
				refused++
			}
		}
	}
	t.Logf("opened by go-jose: %d, refused: %d", opened, refused)
	if opened != 42 || refused != 3*39 { // A.4 has two recipients, §5.13 three
		t.Errorf("opened by go-jose: %d, want 42; refused: %d, want %d", opened, refused, 3*39)
	}
}

// What makes them another format is the header alone: the other parts of each
// A128GCM or A256GCM example, behind a header of ours, come as far as authentication.
func TestRFCExamplesBehindOurHeader(t *testing.T) {
	ring := testRing(t, seal.A256GCM)
	header := b64(`{"alg":"dir","enc":"A256GCM","kid":"` + ring.Keys()[0].ID() + "." + b64("salt of 16 bytes") + `"}`)
	ran := 0
	for _, example := range append(rfc7516(t), rfc7520(t)...) {
		for _, text := range example.texts {
			part := strings.Split(text, ".")
			if len(part) != 5 || len(part[2]) != 16 { // JSON, or another IV than GCM's
				continue
			}
			ran++
			text = strings.Join([]string{header, "", part[2], part[3], part[4]}, ".")
			var err error
			fips140.WithoutEnforcement(func() { _, _, err = ring.NewOpener(scope, now).Attribute(text) }) // it lets GCM open nothing
			if err != seal.ErrAuth {
				t.Errorf("%s behind our header: %v, want ErrAuth", example.name, err)
			}
		}
	}
	if ran != 6 {
		t.Errorf("%d examples have the parts of A256GCM, want 6", ran)
	}
}

// openAny opens a JWE of any algorithm that the RFCs' examples use.
func openAny(text string, key any) (plain []byte, err error) {
	parse := jose.ParseEncryptedCompact
	if strings.HasPrefix(text, "{") {
		parse = jose.ParseEncryptedJSON
	}
	fips140.WithoutEnforcement(func() {
		var object *jose.JSONWebEncryption
		object, err = parse(text, []jose.KeyAlgorithm{
			jose.RSA1_5, jose.RSA_OAEP, jose.PBES2_HS512_A256KW, jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A256KW, jose.DIRECT, jose.A256GCMKW, jose.A128KW,
		}, []jose.ContentEncryption{jose.A128GCM, jose.A256GCM, jose.A128CBC_HS256})
		if err == nil {
			_, _, plain, err = object.DecryptMulti(key)
		}
	})
	return plain, err
}

func rfc7516(t *testing.T) (all []rfcExample) {
	t.Helper()
	raw, err := os.ReadFile("testdata/rfc7516/rfc7516.json")
	must(t, err)
	var cases []struct {
		ID, Plaintext, JWE string
		Keys               json.RawMessage
	}
	must(t, json.Unmarshal(raw, &cases))
	for _, c := range cases {
		all = append(all, rfcExample{"RFC 7516 " + c.ID, c.Plaintext, rfcKeys(t, c.Keys), []string{c.JWE}})
	}
	if len(all) != 5 {
		t.Errorf("%d examples of RFC 7516, want 5", len(all))
	}
	return all
}

func rfc7520(t *testing.T) (all []rfcExample) {
	t.Helper()
	files, err := filepath.Glob("testdata/cookbook/5_*.json")
	must(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		must(t, err)
		var c struct {
			Title string
			Input struct {
				Plaintext json.RawMessage
				Password  string `json:"pwd"`
				Key       json.RawMessage
			}
			Output struct {
				Compact  string
				JSON     json.RawMessage
				JSONFlat json.RawMessage `json:"json_flat"`
			}
		}
		must(t, json.Unmarshal(raw, &c))
		example := rfcExample{name: "RFC 7520 " + c.Title, plaintext: rfcText(t, c.Input.Plaintext)}
		if c.Input.Password != "" {
			example.keys = []any{[]byte(c.Input.Password)}
		} else {
			example.keys = rfcKeys(t, c.Input.Key)
		}
		for _, text := range []string{c.Output.Compact, string(c.Output.JSON), string(c.Output.JSONFlat)} {
			if text != "" {
				example.texts = append(example.texts, text)
			}
		}
		all = append(all, example)
	}
	if len(all) != 13 {
		t.Errorf("%d examples of RFC 7520, want 13", len(all))
	}
	return all
}

// rfcText is a plaintext: a string, or the JSON that it is.
func rfcText(t *testing.T, raw json.RawMessage) (text string) {
	t.Helper()
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

// rfcKeys reads a key, or a list with one key for each recipient.
func rfcKeys(t *testing.T, raw json.RawMessage) (keys []any) {
	t.Helper()
	if raw[0] != '[' {
		raw = append(append(json.RawMessage("["), raw...), ']')
	}
	var jwks []jose.JSONWebKey
	must(t, json.Unmarshal(raw, &jwks))
	for _, key := range jwks {
		keys = append(keys, key)
	}
	return keys
}
