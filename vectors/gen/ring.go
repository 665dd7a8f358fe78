package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/sealedblob/sealedblob/seal"
)

// key is a key of SPEC §11. An ended one has no secret in the ring.
type key struct {
	ID       string `json:"id"`
	Enc      string `json:"enc"`
	Secret   string `json:"secret,omitempty"`
	Created  int64  `json:"created"`
	Activate int64  `json:"activate"`
	Ended    string `json:"ended,omitempty"`
}

type content struct {
	Version    uint64   `json:"version"`
	Created    int64    `json:"created"`
	Recipients []string `json:"recipients"`
	Keys       []key    `json:"keys"`
}

// ring names the keys of the vectors. gcm is primary at now, and cbc from
// 1,000,000 seconds later on.
type ring struct{ gcm, cbc, openOnly, pending, retired, revoked key }

// keys reads the vectors' ring. If there is none it makes one, and it adds the
// keys that are missing. All of them belong in seal/samples.txt.
func keys() ring {
	if _, err := os.Stat("keys"); err != nil {
		makeKeys()
	}
	c := readRing()
	r := ring{
		gcm: c.Keys[0], cbc: c.Keys[1],
		openOnly: known("OpenOnly", now-2000, ""), pending: known("Pending1", 4_000_000_000, ""),
		retired: known("Retired1", now-3000, "retired"), revoked: known("Revoked1", now-4000, "revoked"),
	}
	changed := false
	for _, k := range []key{r.openOnly, r.pending, r.retired, r.revoked} {
		if k.Ended != "" {
			k.Secret = ""
		}
		if !slices.Contains(c.Keys, k) {
			c.Keys, changed = append(c.Keys, k), true
		}
	}
	if changed {
		c.Version++
		writeRing(c)
	}
	return r
}

// known is a key whose secret follows from its ID, so that something can be sealed
// under it when the ring has erased it.
func known(id string, activate int64, ended string) key {
	secret := sha256.Sum256([]byte("sealed-blob/v1 vectors " + id))
	return key{ID: id, Enc: "A256GCM", Secret: b64.EncodeToString(secret[:]), Created: activate - 1000, Activate: activate, Ended: ended}
}

func makeKeys() {
	_, err := seal.InitRing("keys", seal.A256GCM, time.Unix(now-1000, 0))
	check(err)
	_, err = seal.RotateRing(context.Background(), "keys", seal.A256CBCHS512, time.Unix(now-1000, 0), time.Unix(now+1_000_000, 0))
	check(err)
	for _, name := range []string{"ring.lock", "ring.seen", "ring.seen.lock"} { // the writer's, not the readers'
		check(os.Remove("keys/" + name))
	}
}

func readRing() (c content) {
	identity, err := os.ReadFile("keys/identity.txt")
	check(err)
	ids, err := age.ParseIdentities(bytes.NewReader(identity))
	check(err)
	file, err := os.ReadFile("keys/ring.age")
	check(err)
	plain, err := age.Decrypt(bytes.NewReader(file), ids...)
	check(err)
	text, err := io.ReadAll(plain)
	check(err)
	raw, err := b64.DecodeString(strings.Split(string(text), "\n")[1])
	check(err)
	check(json.Unmarshal(raw, &c))
	return c
}

// writeRing is SPEC §11.
func writeRing(c content) {
	text, err := os.ReadFile("keys/signer.key")
	check(err)
	seed, err := b64.DecodeString(strings.TrimSpace(string(text)))
	check(err)
	raw, err := json.Marshal(c)
	check(err)
	signature := ed25519.Sign(ed25519.NewKeyFromSeed(seed), append([]byte("sealed-blob/v1/keyring-signature\x00"), raw...))
	to, err := age.ParseRecipients(strings.NewReader(strings.Join(c.Recipients, "\n")))
	check(err)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	check(err)
	_, err = io.WriteString(w, "sealed-blob/v1 keyring\n"+b64.EncodeToString(raw)+"\n"+b64.EncodeToString(signature)+"\n")
	check(err)
	check(w.Close())
	check(os.WriteFile("keys/ring.age", out.Bytes(), 0o600))
}
