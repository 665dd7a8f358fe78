package bayeux

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

const plainConnect = `[{"channel":"/meta/connect","clientId":"abcdefghijklmnopqrstuvwxyz","connectionType":"long-polling","id":"12"}]`

func TestParsePlain(t *testing.T) {
	if parsePlain([]byte(plainConnect)) == nil {
		t.Error("a connect is for the decoder")
	}
	for _, in := range []string{
		"", "[", "]", "{", "[]", "{}", "[{}]", `{"channel":"/a"`, `[{"channel":"/a"}`, `{"channel":"/a"}]`, `{"channel":"/a",}`, `{"channel":"/a"}{`,
		`{"channel":""}`, `{"channel":"/a","channel":"/a"}`, `{"id":"1","id":"1"}`, `{"id":"` + strings.Repeat("1", maxIDLength) + `"}`,
		`{"Channel":"/a"}`, `{"channel":"\u0041"}`, `{"channel":"ä"}`, "{\"channel\":\"\x7f\"}", "{\"channel\":\"\t\"}", `{"channel":1}`, `{"channel":"/a" }`,
		`[{"channel":"/a"},{"channel":"/a"}]`, `{"data":"x"}`,
	} {
		if m := parsePlain([]byte(in)); m != nil {
			t.Errorf("%s was read as %+v", in, m)
		}
	}
	for _, limits := range [][2]int{{1, 1}, {2, 0}} {
		if _, err := parseMessages([]byte(plainConnect), limits[0], limits[1]); err == nil {
			t.Errorf("depth %d and batch %d let a connect in", limits[0], limits[1])
		}
	}
}

// What parsePlain reads, the decoder reads as the same.
func FuzzBayeuxPlain(f *testing.F) {
	for _, s := range []string{plainConnect, strings.Trim(plainConnect, "[]"), `{"id":"","channel":"/a/"}`, `{"connectionType":"x","channel":"/"}`, `[{"clientId":"}]"}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m := parsePlain(in)
		if m == nil {
			return
		}
		msgs, err := decodeMessages(in, 2, 1)
		if err != nil || len(msgs) != 1 || !reflect.DeepEqual(msgs[0], m) {
			t.Errorf("%q is %+v, the decoder says %+v, %v", in, m, msgs, err)
		}
	})
}

func BenchmarkParseConnect(b *testing.B) {
	in := []byte(plainConnect)
	for name, parse := range map[string]func([]byte, int, int) ([]*Message, error){"plain": parseMessages, "decoder": decodeMessages} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse(in, defaultMaxDepth, defaultMaxBatch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestQuotePlain(t *testing.T) {
	for c := range 0x180 {
		s := "a" + string(rune(c)) + "b"
		want, err := jsontext.AppendQuote(nil, s)
		w := objectWriter{}
		if w.quote(s); err != nil || string(w.b) != string(want) {
			t.Errorf("%q is quoted %s, want %s, %v", s, w.b, want, err)
		}
	}
}
