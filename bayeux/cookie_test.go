package bayeux

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// A batch has many messages, and the header its cookies up to 1 MiB.
func TestCookiesAreReadOnce(t *testing.T) {
	s := quietServer(t, Config{})
	sess, _ := s.admit("another")
	list := make([]*ServerSession, 1000)
	for i := range list {
		list[i] = sess
	}
	batch := connects(list...)
	junk := strings.Repeat(socketCookie+"="+strings.Repeat("x", 250)+"; ", 2900)
	if mib := allocated(func() {
		r := &http.Request{Header: http.Header{"Cookie": {junk + socketCookie + "=0123456789abcdef"}}}
		x := &exchange{server: s, ctx: t.Context(), req: r, browser: ownerOf(r)}
		msgs, err := parseMessages([]byte(batch), defaultMaxDepth, defaultMaxBatch)
		if err != nil {
			t.Fatal(err)
		}
		x.run(msgs)
		if x.browser.id != "0123456789abcdef" || len(x.replies) != 1000 {
			t.Errorf("browser %q, %d replies", x.browser.id, len(x.replies))
		}
	}); mib > 16 {
		t.Errorf("%d MiB", mib)
	}
}

// A session keeps its browser's value, and not the header that it stood in.
func TestNothingKeepsTheCookieHeader(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s := quietServer(t, Config{})
	before := heap()
	for i := range 64 {
		r := &http.Request{Header: http.Header{"Cookie": {fmt.Sprintf("%s=%026d; junk=%s", browserCookie, i, strings.Repeat("x", 1<<20))}}}
		if _, ok := s.admit(ownerOf(r).id); !ok {
			t.Fatal("not admitted")
		}
	}
	if grown := (heap() - before) >> 20; grown > 16 {
		t.Errorf("64 sessions hold %d MiB", grown)
	}
	runtime.KeepAlive(s)
}
