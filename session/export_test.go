package session

import (
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// CookieValueForTest is the text that the middleware puts into the cookie.
func CookieValueForTest(h Holder) string { return h.cookieValue() }

// WaitersForTest is for how many holders requests wait.
func (m *Manager) WaitersForTest() int {
	m.arrivals.mu.Lock()
	defer m.arrivals.mu.Unlock()
	return len(m.arrivals.byHolder)
}

// ObservedForTest is a store that tells o of each call.
func ObservedForTest(store replay.Store, o Observer) replay.Store { return observedStore{store, o} }

// OutcomeForTest classes an error.
func OutcomeForTest(err error) (Result, Reason) { return outcome(err) }

// ReadProofForTest reads a proof that is about nothing.
func ReadProofForTest(text string) error {
	_, _, err := readProof(text, about("", ""))
	return err
}

// RefusalsForTest are the errors that [Outward] calls rejected.
func RefusalsForTest() []error { return refusals }

// HolderForTest is somebody who knows a session's ID and draws the secret.
func HolderForTest(id seal.ID) Holder {
	h := newHolder()
	h.Session = id
	return h
}
