package sessionext_test

import (
	"testing"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
)

// A visitor whose session has as many clients as it may is told to come again later.
func TestTooManyClientsOfOneSession(t *testing.T) {
	v := newWorld(t).visitor("long-polling")
	v.do("/set?name=cart&value=tea")
	for i := range 64 {
		if reply, _ := advised(t, v, `{"v":1}`); reply.Gen == "" {
			t.Fatalf("client %d was not attached: %+v", i+1, reply)
		}
	}
	if reply, wait := advised(t, v, `{"v":1}`); reply.State != sessionext.StateRetry || reply.Gen != "" || wait < 1000 {
		t.Errorf("client 65: %+v, and to wait %d ms", reply, wait)
	}
}
