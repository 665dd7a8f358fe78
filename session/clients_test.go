package session_test

import (
	"errors"
	"testing"

	"github.com/sealedblob/sealedblob/session"
)

// Each change is sent to each client: a session has 64 at most.
func TestClientsAreBounded(t *testing.T) {
	s, first := shopping(t, newCluster(t).node())
	for range 63 {
		must(t, s.Attach(&browser{}))
	}
	if err := s.Attach(&browser{}); !errors.Is(err, session.ErrTooManyClients) {
		t.Fatalf("Attach of the 65th = %v, want ErrTooManyClients", err)
	}
	must(t, s.Attach(first)) // is among the 64
	s.Detach(first)
	must(t, s.Attach(&browser{}))
}
