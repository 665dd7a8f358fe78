package sessionext_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
)

// handshake sends ext.sealed as it is, with the visitor's cookies.
func handshake(t *testing.T, v *visitor, ext string) sessionext.Reply {
	t.Helper()
	reply, _ := advised(t, v, ext)
	return reply
}

// advised is handshake with the advised interval in milliseconds.
func advised(t *testing.T, v *visitor, ext string) (sessionext.Reply, int) {
	t.Helper()
	body := `[{"channel":"/meta/handshake","version":"1.0","id":"1","supportedConnectionTypes":["long-polling"],"ext":{"sealed":` + ext + `}}]`
	r, err := http.NewRequest("POST", v.w.server.URL+"/bayeux/handshake", strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	res, err := v.http.Do(r)
	must(t, err)
	defer res.Body.Close()
	var messages []struct {
		Ext    struct{ Sealed sessionext.Reply }
		Advice struct{ Interval int }
	}
	must(t, json.NewDecoder(res.Body).Decode(&messages))
	return messages[0].Ext.Sealed, messages[0].Advice.Interval
}
