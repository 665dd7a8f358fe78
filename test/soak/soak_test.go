//go:build linux

package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's own program be the server, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(serveMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func TestSoak(t *testing.T) {
	t.Parallel()
	for _, p := range quick {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			if err := enoughFiles(p); err != nil {
				t.Fatal(err)
			}
			if err := p.run(t.Logf); err != nil {
				t.Error(err)
			}
		})
	}
}

// Whatever a session leaves behind is noticed, however small.
func TestSoakNoticesLeaks(t *testing.T) {
	t.Parallel()
	for leak, want := range map[string]string{
		"goroutine":  "goroutines",
		"descriptor": "open files",
		"entry":      "objects behind",
	} {
		t.Run(leak, func(t *testing.T) {
			t.Parallel()
			p := plan{name: leak, polls: 10, sockets: 10, timeout: 20 * time.Second, lapse: 4 * time.Second, leak: leak}
			if err := p.run(t.Logf); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("a %s for each session: %v", leak, err)
			}
		})
	}
}
