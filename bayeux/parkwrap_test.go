package bayeux

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// However often a client sends early, its connection has one wrapper at most.
func TestWrappersDoNotPileUp(t *testing.T) {
	plain, _ := net.Pipe()
	for name, conn := range map[string]net.Conn{"plain": plain, "TLS": tls.Client(plain, new(tls.Config))} {
		for range 2 {
			w := withEarly(conn, []byte("xy"))
			got, early := takeEarly(w, bufio.NewReader(strings.NewReader("")))
			if got != w || len(early) != 0 {
				t.Errorf("%s: bytes that nobody read are lost", name)
			}
			if b := make([]byte, 1); true {
				io.ReadFull(w, b)
				io.ReadFull(w, b)
			}
			if got, _ := takeEarly(w, bufio.NewReader(strings.NewReader(""))); got != conn {
				t.Errorf("%s: still wrapped", name)
			}
		}
	}
}
