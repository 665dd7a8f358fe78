package bayeux_test

import (
	"testing"

	"github.com/sealedblob/sealedblob/bayeux"
)

// An attribute is of one session, until its end and in its OnRemove functions.
func TestAttributes(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	one, other := r.server.Session(r.peer().ready().id), r.server.Session(r.peer().ready().id)
	if got := one.Attribute("user"); got != nil {
		t.Errorf("unset: %v", got)
	}
	one.SetAttribute("user", "ada")
	one.SetAttribute("age", 36)
	one.SetAttribute("age", nil)
	if one.Attribute("user") != "ada" || one.Attribute("age") != nil || other.Attribute("user") != nil {
		t.Errorf("user %v, age %v; of another session %v", one.Attribute("user"), one.Attribute("age"), other.Attribute("user"))
	}
	at := make(chan any, 1)
	one.OnRemove(func(bool) { at <- one.Attribute("user") })
	one.Disconnect()
	if got := <-at; got != "ada" {
		t.Errorf("in OnRemove: %v", got)
	}
}
