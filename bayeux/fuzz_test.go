package bayeux

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What is accepted is what the JSON library reads there, is as deep as it says, and
// rendered and read again it is the same bytes.
func FuzzBayeuxMessage(f *testing.F) {
	for _, s := range []string{
		`[]`, `{}`, `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"a":1}}]`,
		`{"channel":"/a","data":{"x":[1,null,"\u00fc"]},"id":12,"clientId":"x"}`,
		`{"subscription":["/a","/b"],"successful":false,"error":"402::x","advice":{"reconnect":"none","interval":1e3}}`,
		`{"Channel":"/a"}`, `{"channel":"/a","channel":"/b"}`, "{\"channel\":\"\xff\"}", `{"data":"\ud800"}`, `[[[`,
		`{"timestamp":"Sun","data":null,"ext":null,"channel":"/a/"}`, ` [ { "\u0063hannel" : "/a" } , {} ] `, `{"data":"\\\"[","x":[[[1]]]}`,
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
		asLibraryReads(t, in, msgs)
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
	})
}

// asLibraryReads compares a parsed batch with what a reader sees who knows nothing
// of Bayeux.
func asLibraryReads(t *testing.T, in []byte, msgs []*Message) {
	var objects []map[string]jsontext.Value
	if err := json.Unmarshal(in, &objects); err != nil {
		objects = make([]map[string]jsontext.Value, 1)
		if err := json.Unmarshal(in, &objects[0]); err != nil {
			t.Fatalf("accepted, but the library says %v: %s", err, in)
		}
	}
	if len(objects) != len(msgs) {
		t.Fatalf("%d messages, the library sees %d: %s", len(msgs), len(objects), in)
	}
	for i, m := range msgs {
		o := objects[i]
		for name, got := range map[string]string{"clientId": m.ClientID, "version": m.Version, "minimumVersion": m.MinimumVersion,
			"connectionType": m.ConnectionType, "error": m.Error, "channel": m.Channel} {
			var want string
			if raw, ok := o[name]; ok && raw.Kind() != 'n' {
				if err := json.Unmarshal(raw, &want); err != nil {
					t.Fatal(err)
				}
			}
			if name == "channel" {
				want = trimChannel(want)
			}
			if got != want {
				t.Fatalf("%s is %q, the library reads %q: %s", name, got, want, in)
			}
		}
		if !bytes.Equal(bytes.TrimSpace(o["data"]), m.Data) {
			t.Fatalf("data is %s, the library reads %s", m.Data, o["data"])
		}
		var ext map[string]jsontext.Value
		if raw := o["ext"]; raw != nil && json.Unmarshal(raw, &ext) != nil || len(ext) != len(m.Ext) {
			t.Fatalf("ext is %s, the library reads %s", m.Ext, o["ext"])
		}
	}
	depth := depthOf(t, in)
	if checkDepth(in, depth) != nil || depth > 0 && !errors.Is(checkDepth(in, depth-1), errTooDeep) {
		t.Fatalf("the depth is %d: %s", depth, in)
	}
}

func depthOf(t *testing.T, in []byte) (depth int) {
	dec := jsontext.NewDecoder(bytes.NewReader(in))
	for {
		if _, err := dec.ReadToken(); err == io.EOF {
			return depth
		} else if err != nil {
			t.Fatal(err)
		}
		depth = max(depth, dec.StackDepth())
	}
}

var channelForm = regexp.MustCompile(`^(/[A-Za-z0-9\-_!~()$@ #+.{}]+)*(/[A-Za-z0-9\-_!~()$@ #+.{}]+|/\*|/\*\*)$`)

// A channel is valid if it has the form and keeps the limits; and a wildcard covers
// it if the look-up for publishing says so.
func FuzzBayeuxChannel(f *testing.F) {
	for _, s := range [][2]string{{"/a", "/*"}, {"/a/b", "/a/**"}, {"/a//b", "/"}, {"/**", "/*/a"}, {"/a*", "/***"}, {"/\x00", "/ü"},
		{strings.Repeat("/a", 33), strings.Repeat("a", 257)}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, ch := range []string{a, b} {
			want := len(ch) <= MaxChannelLength && strings.Count(ch, "/") <= MaxChannelSegments && channelForm.MatchString(ch)
			if validChannel(ch) != want {
				t.Fatalf("validChannel(%q) = %v", ch, !want)
			}
			if !want {
				return
			}
		}
		if overlap(a, b) != overlap(b, a) || !overlap(a, a) {
			t.Fatalf("overlap(%q, %q) is not symmetric", a, b)
		}
		if isWild(a) {
			return
		}
		var covers []string
		matching(a, func(p string) {
			if !validChannel(p) && len(p) <= MaxChannelLength {
				t.Fatalf("matching(%q) gives %q", a, p)
			}
			covers = append(covers, p)
		})
		if slices.Contains(covers, b) != overlap(a, b) {
			t.Fatalf("%q covers %q: look-up and overlap differ", b, a)
		}
	})
}

var callbackForm = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*(\.[A-Za-z_$][A-Za-z0-9_$]*)*$`)

// Whatever the query, the script calls one function, named in ASCII, with JSON.
func FuzzBayeuxCallback(f *testing.F) {
	for _, s := range [][2]string{{"cb", `{"channel":"/a"}`}, {"a.b", `[]`}, {"a..b", `[]`}, {"1", `{`}, {"alert(1)//", `[]`}, {"", "\u2028"},
		{"a\u2028", `{"data":"\u2028\u2029"}`}, {strings.Repeat("a", 65), `[]`}} {
		f.Add("jsonp="+url.QueryEscape(s[0])+"&message="+url.QueryEscape(s[1]), s[0])
	}
	s, err := NewServer(Config{CallbackPolling: true, MaxBatch: 100})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query, referer string) {
		r := &http.Request{Method: "GET", URL: &url.URL{RawQuery: query}, Host: "bayeux.test", Header: http.Header{"Referer": {referer}}}
		if s.checkReferer(r) {
			u, err := url.Parse(referer)
			if err != nil || u.Hostname() != "bayeux.test" {
				t.Fatalf("referer %q", referer)
			}
		}
		callback, msgs, status := s.readQuery(r)
		if status != 0 {
			if msgs != nil || callback != "" {
				t.Fatalf("status %d with a result", status)
			}
			return
		}
		if len(callback) > maxCallbackLength || !callbackForm.MatchString(callback) {
			t.Fatalf("callback %q", callback)
		}
		var list [][]byte
		for _, m := range msgs {
			list = append(list, m.appendTo(nil))
		}
		script := string(callScript(callback, joinBatch(list)))
		inner, ok := strings.CutPrefix(script, "/**/"+callback+"(")
		inner, ok2 := strings.CutSuffix(inner, ");")
		if !ok || !ok2 || strings.ContainsAny(inner, "\u2028\u2029") || !jsontext.Value(inner).IsValid() {
			t.Fatalf("script %q", script)
		}
	})
}
