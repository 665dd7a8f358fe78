package main

import (
	"strings"
	"testing"
)

// Each server reads what it should; ours ends what it should not take, and sets nothing
// aside for what a frame announces.
func TestSocketServers(t *testing.T) {
	for _, name := range socketServers {
		p, err := fanServer{name: name}.start()
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if _, err := socketFrames(p, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := p.suffers(string(appendText(nil, []byte("[]")))); got != "taken" {
			t.Errorf("%s: an ordinary message is %s", name, got)
		}
		if name != oursSocket {
			continue
		}
		for _, h := range hostileFrames {
			if got := p.suffers(h.first + strings.Repeat(h.again, h.times)); got != "ended" {
				t.Errorf("%s are %s", h.name, got)
			}
		}
		if n, err := socketAnnounced(p); err != nil || n > 64<<10 {
			t.Errorf("%.0f bytes set aside, %v", n, err)
		}
	}
}
