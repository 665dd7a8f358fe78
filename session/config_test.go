package session_test

import (
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// A negative limit would let nobody in, or ask the store with no time to answer.
func TestNegativeLimitsAreRefused(t *testing.T) {
	c := newCluster(t)
	for name, change := range map[string]func(*session.Config){
		"MaxSessions":  func(cfg *session.Config) { cfg.MaxSessions = -1 },
		"StoreTimeout": func(cfg *session.Config) { cfg.StoreTimeout = -time.Second },
		"Lapse":        func(cfg *session.Config) { cfg.Lapse = -time.Second },
	} {
		cfg := session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop"}
		change(&cfg)
		if _, err := session.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
