package session_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// A bug in the application's function costs its request, and locks nobody out.
func TestUpdateThatPanics(t *testing.T) {
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"rollback":"refuse"},"cart":{}}}`)
	for _, name := range []string{"role", "cart"} {
		for what, fail := range map[string]func(){"panic": func() { panic("a bug") }, "Goexit": runtime.Goexit} {
			m := c.node()
			s, err := m.Start()
			must(t, err)
			must(t, s.Set(t.Context(), name, "before"))
			must(t, s.Save(t.Context()))
			over := make(chan any)
			go func() {
				defer func() { over <- recover() }()
				_ = session.Update(session.NewContext(t.Context(), s), policy.Attr[string](name), func(string) (string, error) {
					fail()
					return "after", nil
				})
			}()
			<-over
			free := make(chan error, 1)
			go func() {
				_ = m.EndLogins(t.Context(), "somebody else") // looks at every session
				free <- s.Set(t.Context(), name, "later")
			}()
			select {
			case err := <-free:
				must(t, err)
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: the session is locked after a %s", name, what)
			}
		}
	}
}
