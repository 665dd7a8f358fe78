package bayeux

import (
	"bytes"
	"testing"
)

// What was accepted and rendered is accepted again, as the same bytes.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		`[]`, `{}`, `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"a":1}}]`,
		`{"channel":"/a","data":{"x":[1,null,"\u00fc"]},"id":12,"clientId":"x"}`,
		`{"subscription":["/a","/b"],"successful":false,"error":"402::x","advice":{"reconnect":"none","interval":1e3}}`,
		`{"Channel":"/a"}`, `{"channel":"/a","channel":"/b"}`, "{\"channel\":\"\xff\"}", `{"data":"\ud800"}`, `[[[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		msgs, err := parseMessages(in, 16, 100)
		if err != nil {
			if msgs != nil {
				t.Fatal("messages with an error")
			}
			return
		}
		list := make([][]byte, len(msgs))
		for i, m := range msgs {
			list[i] = m.appendTo(nil)
		}
		once := joinBatch(list)
		again, err := parseMessages(once, 17, 100)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if len(again) != len(msgs) {
			t.Fatalf("%d messages became %d", len(msgs), len(again))
		}
		for i, m := range again {
			list[i] = m.appendTo(nil)
		}
		if twice := joinBatch(list); !bytes.Equal(once, twice) {
			t.Fatalf("%s\n%s", once, twice)
		}
		for _, m := range msgs {
			_ = validChannel(m.Channel)
			if validChannel(m.Channel) {
				matching(m.Channel, func(string) {})
			}
		}
	})
}
