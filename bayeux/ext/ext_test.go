package ext_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/ext"
)

// browser posts batches to a server with some extensions.
type browser struct {
	t      *testing.T
	server *bayeux.Server
	way    http.RoundTripper // nil: the network
	http   *http.Client
	url    string
	id     string
}

func newBrowser(t *testing.T, extensions ...bayeux.Extension) *browser {
	t.Helper()
	s := newServer(t, extensions...)
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return (&browser{t: t, server: s, url: web.URL}).another()
}

func newServer(t *testing.T, extensions ...bayeux.Extension) *bayeux.Server {
	t.Helper()
	s, err := bayeux.NewServer(bayeux.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range extensions {
		s.AddExtension(e)
	}
	return s
}

// within calls its server without a network, for a bubble's time.
type within struct{ server *bayeux.Server }

func (w within) RoundTrip(r *http.Request) (*http.Response, error) {
	response := httptest.NewRecorder()
	w.server.ServeHTTP(response, r)
	return response.Result(), nil
}

// another is a second browser at the same server, connected.
func (b *browser) another() *browser {
	b.t.Helper()
	jar, _ := cookiejar.New(nil)
	other := &browser{t: b.t, server: b.server, url: b.url, way: b.way, http: &http.Client{Jar: jar, Transport: b.way}}
	m := other.send(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}`)[0]
	other.id = m.ClientID
	other.connect()
	return other
}

func (b *browser) send(batch string) []*bayeux.Message {
	b.t.Helper()
	resp, err := b.http.Post(b.url, "application/json", strings.NewReader(strings.ReplaceAll(batch, "$ID", b.id)))
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var msgs []*bayeux.Message
	if err := json.Unmarshal(body, &msgs); err != nil || len(msgs) == 0 {
		b.t.Fatalf("%s: %q, %v", batch, body, err)
	}
	return msgs
}

// connect asks for what waits, and returns it and the reply.
func (b *browser) connect() (deliveries []*bayeux.Message, reply *bayeux.Message) {
	b.t.Helper()
	msgs := b.send(`{"channel":"/meta/connect","clientId":"$ID","connectionType":"long-polling","advice":{"timeout":0}}`)
	return msgs[:len(msgs)-1], msgs[len(msgs)-1]
}

func TestTimestamp(t *testing.T) {
	b := newBrowser(t, ext.Timestamp{})
	before := time.Now().UTC().Truncate(10 * time.Millisecond)
	b.send(`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a"}`)
	b.send(`{"channel":"/a","clientId":"$ID","data":1}`)
	deliveries, reply := b.connect()
	for _, m := range append(deliveries, reply) {
		at, err := time.Parse("2006-01-02T15:04:05.00", m.Timestamp)
		if err != nil || at.Before(before) || time.Since(at) > time.Minute {
			t.Errorf("%s: timestamp %q, %v", m.Channel, m.Timestamp, err)
		}
	}
	if len(deliveries) != 1 {
		t.Errorf("%d deliveries, want 1", len(deliveries))
	}
}

func TestTimeSync(t *testing.T) {
	b := newBrowser(t, ext.TimeSync{})
	type answer struct{ TC, TS, P, A int64 }
	ask := func(tc, l, o int64) *answer {
		t.Helper()
		q, _ := json.Marshal(map[string]int64{"tc": tc, "l": l, "o": o})
		m := b.send(`{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0},"ext":{"timesync":` + string(q) + `}}`)[0]
		raw := m.Ext["timesync"]
		if raw == nil {
			return nil
		}
		var a answer
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatal(err)
		}
		return &a
	}
	const wrong = 3_600_000 // an hour slow
	now := time.Now().UnixMilli()
	a := ask(now-wrong, 0, 0)
	if a == nil || a.TC != now-wrong || a.TS < now || a.TS > now+10_000 || a.P < 0 || a.P > 10_000 {
		t.Fatalf("answer %+v", a)
	}
	if a.A > -wrong+1000 || a.A < -wrong-20_000 {
		t.Errorf("accuracy %d, want about %d", a.A, -wrong)
	}
	if a := ask(time.Now().UnixMilli()-wrong, 1, wrong+60_000); a == nil || a.A < 30_000 {
		t.Errorf("a client that is a minute fast: %+v", a)
	}
	// A client that is right to the millisecond: some try is fast enough.
	silent := false
	for range 50 {
		silent = silent || ask(time.Now().UnixMilli(), 1, 0) == nil
	}
	if !silent {
		t.Error("a client whose clock is right is told so")
	}
	if ask(time.Now().UnixMilli(), 0, 0) == nil {
		t.Error("no answer to a client that knows no lag")
	}
	for _, bad := range []string{`1`, `{"tc":"x"}`, `{"tc":9223372036854775807,"l":0,"o":9223372036854775807}`, `{"tc":1,"l":0,"o":-9223372036854775808}`} {
		if m := b.send(`{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0},"ext":{"timesync":` + bad + `}}`)[0]; m.Ext["timesync"] != nil {
			t.Errorf("answer to %s: %s", bad, m.Ext["timesync"])
		}
	}
	if m := b.send(`{"channel":"/a","clientId":"$ID","data":1,"ext":{"timesync":{"tc":1,"l":0,"o":0}}}`)[0]; m.Ext["timesync"] != nil {
		t.Error("an answer on an ordinary channel")
	}
}

func TestActivity(t *testing.T) {
	const limit = 300 * time.Millisecond
	tests := []struct {
		name  string
		kind  ext.ActivityKind
		act   func(b *browser)
		alive bool
	}{
		{"silence", ext.ClientActivity, func(*browser) {}, false},
		{"publications", ext.ClientActivity, func(b *browser) { b.send(`{"channel":"/a","clientId":"$ID","data":1}`) }, true},
		{"deliveries do not count", ext.ClientActivity, func(b *browser) { b.server.Session(b.id).Deliver("/x", 1) }, false},
		{"deliveries count", ext.ClientServerActivity, func(b *browser) { b.server.Session(b.id).Deliver("/x", 1) }, true},
		{"silence of both", ext.ClientServerActivity, func(*browser) {}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := ext.NewActivity(limit, tt.kind)
				if err != nil {
					t.Fatal(err)
				}
				s := newServer(t, a)
				defer s.Shutdown(t.Context())
				b := (&browser{t: t, server: s, url: "http://bayeux.test", way: within{s}}).another()
				for start := time.Now(); time.Since(start) < 2*limit && s.Session(b.id) != nil; time.Sleep(limit / 20) {
					tt.act(b)
					_, reply := b.connect()
					if !*reply.Successful && (reply.Advice == nil || reply.Advice.Reconnect != bayeux.ReconnectNone) {
						t.Errorf("advice %+v", reply.Advice)
					}
				}
				if alive := s.Session(b.id) != nil; alive != tt.alive {
					t.Errorf("session alive: %v, want %v", alive, tt.alive)
				}
			})
		})
	}
	for _, bad := range []struct {
		max  time.Duration
		kind ext.ActivityKind
	}{{0, 0}, {-1, 0}, {1, 2}, {1, -1}} {
		if a, err := ext.NewActivity(bad.max, bad.kind); err == nil || a != nil {
			t.Errorf("NewActivity(%v, %v) = %v, %v", bad.max, bad.kind, a, err)
		}
	}
}

// The texts were written by CometD 9's Z85.js; the eight bytes are RFC 32's own.
func TestZ85(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "00": "\x00", "@@": "\xff", "0rJ": "\x01\x02", "%nJ": "\xff\xff", "%nS9": "\xff\xff\xff", "00000": "\x00\x00\x00\x00",
		"%nSc0": "\xff\xff\xff\xff", "HelloWorld": "\x86\x4f\xd2\x6f\xb5\x59\xf7\x5b", "0rJua1P": "\x01\x02\x03\x04\x05",
		"PS#w.<N&": "\xa0\xb1\xc2\xd3\xe4\xf5",
	} {
		if got := ext.EncodeZ85([]byte(want)); got != text {
			t.Errorf("EncodeZ85(%x) = %q, want %q", want, got, text)
		}
		if got, err := ext.DecodeZ85(text); err != nil || string(got) != want {
			t.Errorf("DecodeZ85(%q) = %x, %v, want %x", text, got, err, want)
		}
	}
	for name, bad := range map[string]string{
		"one character": "0", "one left over": "000000", "too large": "%nSc1", "far too large": "#####",
		"no character of it": "00\"00", "not ASCII": "00\xff00", "space": "0 000", "another text of the same byte": "01", "short and too large": "##",
	} {
		if got, err := ext.DecodeZ85(bad); err == nil {
			t.Errorf("%s: DecodeZ85(%q) = %x", name, bad, got)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 500 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if got, err := ext.DecodeZ85(ext.EncodeZ85(b)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%x became %x, %v", b, got, err)
		}
	}
}

func TestBinary(t *testing.T) {
	b := newBrowser(t, ext.Binary{})
	other := b.another()
	for _, x := range []*browser{b, other} {
		x.send(`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a"}`)
	}
	m := b.send(`{"channel":"/a","clientId":"$ID","data":{"data":"HelloWorld","last":true,"meta":{"n":1}},"ext":{"binary":{"secret":1},"other":1}}`)[0]
	if !*m.Successful {
		t.Fatalf("refused: %s", m.Error)
	}
	mine, err := ext.NewBinary("/a", ext.BinaryData{Data: []byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.server.PublishMessage(mine); err != nil {
		t.Fatal(err)
	}
	b.server.Publish("/a", "text")
	got, _ := other.connect()
	if len(got) != 3 {
		t.Fatalf("%d deliveries, want 3", len(got))
	}
	if len(got[0].Ext) != 1 || string(got[0].Ext["binary"]) != "{}" {
		t.Errorf("ext %s", got[0].Ext)
	}
	d, binary, err := ext.ReadBinary(got[0])
	if err != nil || !binary || string(d.Data) != "\x86\x4f\xd2\x6f\xb5\x59\xf7\x5b" || !d.Last || string(d.Meta) != `{"n":1}` {
		t.Errorf("ReadBinary = %+v, %v, %v", d, binary, err)
	}
	if d, binary, err = ext.ReadBinary(got[1]); err != nil || !binary || !bytes.Equal(d.Data, []byte{1, 2, 3}) || d.Last || d.Meta != nil {
		t.Errorf("ReadBinary = %+v, %v, %v", d, binary, err)
	}
	if d, binary, err = ext.ReadBinary(got[2]); err != nil || binary || d.Data != nil {
		t.Errorf("ReadBinary of a text = %+v, %v, %v", d, binary, err)
	}
	for name, data := range map[string]string{
		"text":     `"HelloWorld"`,
		"no bytes": `{"last":true}`,
		"null":     `{"data":null}`,
		"not Z85":  `{"data":"\u00fc"}`,
		"unknown":  `{"data":"","extra":1}`,
	} {
		if m := b.send(`{"channel":"/a","clientId":"$ID","data":` + data + `,"ext":{"binary":{}}}`)[0]; *m.Successful || m.Error != "404::message_deleted" {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, err := ext.NewBinary("/a", ext.BinaryData{Meta: jsontext.Value("{")}); err == nil {
		t.Error("NewBinary took meta that is not JSON")
	}
}
