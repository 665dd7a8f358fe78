package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// wholeRing is a seal.Source for which the key service decrypts the whole ring, so
// that the node has no identity and no use for age.
type wholeRing struct {
	wrapped  string // the ring's plaintext, encrypted by clevis
	seen     string // notes the highest version, for the next start
	verifier ed25519.PublicKey
	maxStale time.Duration

	mu     sync.Mutex
	ring   *seal.Ring
	looked time.Time
}

// newWholeRing asks the service once, and fails if it does not answer.
func newWholeRing(wrapped, signer, seen string, maxStale time.Duration) (*wholeRing, error) {
	text, err := os.ReadFile(signer)
	if err != nil {
		return nil, err
	}
	verifier, err := base64.RawURLEncoding.DecodeString(string(bytes.TrimSuffix(text, []byte("\n"))))
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url", signer)
	}
	w := &wholeRing{wrapped: wrapped, seen: seen, verifier: verifier, maxStale: maxStale}
	return w, w.look()
}

// Ring implements seal.Source: the last good ring, for maxStale.
func (w *wholeRing) Ring(context.Context) (*seal.Ring, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.looked) > w.maxStale {
		return nil, errors.New("the key service has not answered for too long")
	}
	return w.ring, nil
}

// run asks every interval until ctx ends.
func (w *wholeRing) run(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := w.look(); err != nil {
			log.Printf("keyring: %v", err)
		}
	}
}

// look takes what the service opens, unless it is older than what was taken
// before: seal.ParseRing remembers nothing.
func (w *wholeRing) look() error {
	plain, err := unwrap(w.wrapped)
	if err != nil {
		return err
	}
	ring, err := seal.ParseRing(plain, w.verifier)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.note(ring.Version()); err != nil {
		return err
	}
	w.ring, w.looked = ring, time.Now()
	return nil
}

func (w *wholeRing) note(version uint64) error {
	highest := uint64(0)
	text, err := os.ReadFile(w.seen)
	if err == nil {
		highest, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case version < highest:
		return fmt.Errorf("version %d of the keyring, and version %d was seen before", version, highest)
	case version == highest:
		return nil
	}
	if err := os.WriteFile(w.seen+".new", fmt.Appendf(nil, "%d\n", version), 0o600); err != nil {
		return err
	}
	return os.Rename(w.seen+".new", w.seen)
}
