package bayeux_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// What every reply to a client has in it (Bayeux 1.0, sections 2.5, 3.8, 3.12, 3.13,
// 4 and 6.1.2), good or bad.
func TestRepliesHaveTheirMembers(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	r.server.HandleService("/service/x", func(context.Context, *bayeux.ServerSession, *bayeux.Message) {})
	p := r.peer().ready()
	tests := []struct {
		name, msg, want string
	}{
		{"connect", `{"channel":"/meta/connect","clientId":"$ID","connectionType":"long-polling","advice":{"timeout":0}`,
			`{"channel":"/meta/connect","id":$N,"clientId":"$ID","successful":true,"advice":{"reconnect":"retry","interval":0,"timeout":30000,"maxInterval":10000}}`},
		{"subscribe", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a"`,
			`{"channel":"/meta/subscribe","id":$N,"clientId":"$ID","subscription":"/a","successful":true}`},
		{"subscribe to some", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":["/a","/b/**"]`,
			`{"channel":"/meta/subscribe","id":$N,"clientId":"$ID","subscription":["/a","/b/**"],"successful":true}`},
		{"subscribe to a service", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/service/a"`,
			`{"channel":"/meta/subscribe","id":$N,"clientId":"$ID","subscription":"/service/a","successful":true}`},
		{"refused subscription", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/meta/a"`,
			`{"channel":"/meta/subscribe","id":$N,"clientId":"$ID","subscription":"/meta/a","successful":false,"error":"403:denied_by_security_policy:subscribe_denied"}`},
		{"unsubscribe", `{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":"/a"`,
			`{"channel":"/meta/unsubscribe","id":$N,"clientId":"$ID","subscription":"/a","successful":true}`},
		{"publish", `{"channel":"/x","clientId":"$ID","data":1`, `{"channel":"/x","id":$N,"clientId":"$ID","successful":true}`},
		{"publish on a service channel", `{"channel":"/service/x","clientId":"$ID","data":1`, `{"channel":"/service/x","id":$N,"clientId":"$ID","successful":true}`},
		{"publish without data", `{"channel":"/x","clientId":"$ID"`, `{"channel":"/x","id":$N,"clientId":"$ID","successful":false,"error":"400::data_missing"}`},
		{"unknown meta channel", `{"channel":"/meta/x","clientId":"$ID"`,
			`{"channel":"/meta/x","id":$N,"clientId":"$ID","successful":false,"error":"403:denied_by_security_policy:create_denied"}`},
		{"nobody's publish", `{"channel":"/x","data":1`, `{"channel":"/x","id":$N,"successful":false,"error":"402::session_unknown"}`},
		{"nobody's disconnect", `{"channel":"/meta/disconnect","clientId":"x"`,
			`{"channel":"/meta/disconnect","id":$N,"successful":false,"error":"402::session_unknown"}`},
		{"refused handshake", `{"channel":"/meta/handshake","version":"2.0"`,
			`{"channel":"/meta/handshake","id":$N,"version":"1.0","supportedConnectionTypes":["websocket","long-polling"],"successful":false,"error":"400::version_unsupported","advice":{"reconnect":"none"}}`},
	}
	for _, id := range []string{`"7f"`, `12`} {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				resp, err := p.http.Post(p.url, "application/json", strings.NewReader(strings.ReplaceAll(tt.msg, "$ID", p.id)+`,"id":`+id+`}`))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				want := "[" + strings.NewReplacer("$ID", p.id, "$N", id).Replace(tt.want) + "]"
				if err != nil || string(body) != want {
					t.Errorf("got  %s, %v\nwant %s", body, err, want)
				}
				if got := resp.Header.Get("Content-Type"); got != "application/json;charset=UTF-8" {
					t.Errorf("Content-Type %q", got)
				}
			})
		}
	}
	if m := p.one(`{"channel":"/meta/disconnect","clientId":"$ID","id":"9"}`); string(m.ID) != `"9"` || m.ClientID != p.id || !*m.Successful {
		t.Errorf("disconnect: %+v", m)
	}
}

// clientIds are 26 random characters of 32: 130 bits.
func TestClientIDsDiffer(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	seen := map[string]bool{}
	var used [26]map[byte]bool
	for range 300 {
		id := r.peer().handshake().ClientID
		if seen[id] || len(id) != len(used) {
			t.Fatalf("clientId %q", id)
		}
		seen[id] = true
		for i := range used {
			if used[i] == nil {
				used[i] = map[byte]bool{}
			}
			used[i][id[i]] = true
		}
	}
	for i := range used {
		if len(used[i]) < 28 { // of 32; 300 draws miss five with a chance below 10^-15
			t.Errorf("position %d has %d different characters", i, len(used[i]))
		}
	}
}

// What our client's requests have in them (sections 3.2, 3.5, 3.7, 3.8, 4), that a
// handshake is alone, and that there is one connect at a time, after the interval.
func TestClientRequests(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var seen []*bayeux.Message
				var at []time.Time
				var batches []int
				s := newServer(t, bayeux.Config{Interval: 2 * time.Second, Timeout: 5 * time.Second})
				s.AddExtension(tap{in: func(_ *bayeux.ServerSession, m *bayeux.Message) bool {
					mu.Lock()
					defer mu.Unlock()
					seen, at = append(seen, m), append(at, time.Now())
					return true
				}})
				counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						body, _ := io.ReadAll(r.Body)
						var batch []json.RawMessage
						if json.Unmarshal(body, &batch) != nil {
							t.Errorf("no array: %.100s", body)
						}
						mu.Lock()
						if strings.Contains(string(body), bayeux.MetaHandshake) {
							batches = append(batches, len(batch))
						}
						mu.Unlock()
						if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
							t.Errorf("Content-Type %q", got)
						}
						r.Body = io.NopCloser(strings.NewReader(string(body)))
					}
					s.ServeHTTP(w, r)
				})
				c := connected(t, serveMem(t, counted), bayeux.ClientConfig{Transports: transport})
				got := make(inbox, 10)
				if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
					t.Fatal(err)
				}
				if err := c.Publish(t.Context(), "/a", 1); err != nil { // while the connect is held
					t.Fatal(err)
				}
				got.want(t, "/a 1")
				time.Sleep(time.Minute)
				if err := c.Unsubscribe(t.Context(), "/a"); err != nil {
					t.Fatal(err)
				}
				if err := c.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids, channels := map[string]bool{}, map[string]int{}
				var last time.Time
				for i, m := range seen {
					channels[m.Channel]++
					if ids[string(m.ID)] || m.ID == nil {
						t.Errorf("%s: id %s", m.Channel, m.ID)
					}
					ids[string(m.ID)] = true
					handshake := m.Channel == bayeux.MetaHandshake
					if handshake != (m.ClientID == "") || handshake != (m.Version == "1.0") || handshake != (len(m.SupportedConnectionTypes) > 0) {
						t.Errorf("%s: %+v", m.Channel, m)
					}
					if m.Channel == bayeux.MetaConnect {
						if m.ConnectionType != transport[0] {
							t.Errorf("connectionType %q", m.ConnectionType)
						}
						if gap := at[i].Sub(last); channels[m.Channel] > 2 && gap < 2*time.Second {
							t.Errorf("a connect %v after the one before, want 2s at least", gap)
						}
						last = at[i]
					}
				}
				for ch, least := range map[string]int{bayeux.MetaHandshake: 1, bayeux.MetaConnect: 5, bayeux.MetaSubscribe: 1, bayeux.MetaUnsubscribe: 1, bayeux.MetaDisconnect: 1, "/a": 1} {
					if channels[ch] < least {
						t.Errorf("%d messages on %s, want at least %d", channels[ch], ch, least)
					}
				}
				if name == "long-polling" && !slices.Equal(batches, []int{1}) {
					t.Errorf("handshakes came in batches of %d", batches)
				}
			})
		})
	}
}

// Section 3.14: a code of three digits, arguments, a text.
func TestErrorTexts(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	texts := regexp.MustCompile(`(?m)^\terror\w+ += "(.*)"$`).FindAllSubmatch(source, -1)
	if len(texts) < 15 {
		t.Fatalf("%d error texts found", len(texts))
	}
	form := regexp.MustCompile(`^[0-9]{3}:[a-z_]*:[a-z_]+$`)
	for _, text := range texts {
		if !form.Match(text[1]) {
			t.Errorf("error text %q", text[1])
		}
	}
}

// The table of conformance names tests that exist, in each of its rows.
func TestConformanceTable(t *testing.T) {
	doc, err := os.ReadFile("../docs/bayeux.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, file := range append(files, more...) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	rows := 0
	for line := range strings.SplitSeq(string(doc), "\n") {
		if cells := strings.Split(line, "|"); len(cells) > 3 && regexp.MustCompile(`^ [0-9]`).MatchString(cells[1]) {
			rows++
			if !named.MatchString(line) {
				t.Errorf("no test: %s", line)
			}
		}
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			if !tests[m[1]] {
				t.Errorf("docs/bayeux.md names %s, which is not there", m[1])
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows of sections", rows)
	}
}
