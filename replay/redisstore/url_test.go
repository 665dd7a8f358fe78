package redisstore

import (
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	type want struct {
		addr, user, password, name string
		database                   int
		tls                        bool
	}
	for text, w := range map[string]want{
		"redis://host":                           {addr: "host:6379"},
		"redis://host:7/3?name=shop.eu":          {addr: "host:7", database: 3, name: "shop.eu"},
		"rediss://web:s%40cret@host:7":           {addr: "host:7", user: "web", password: "s@cret", tls: true},
		"redis://:secret@[::1]:7/":               {addr: "[::1]:7", password: "secret"},
		"rediss://web:secret@example.org?name=a": {addr: "example.org:6379", user: "web", password: "secret", name: "a", tls: true},
	} {
		cfg, err := ParseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := want{cfg.Client.InitAddress[0], cfg.Client.Username, cfg.Client.Password, cfg.Name, cfg.Client.SelectDB, cfg.Client.TLSConfig != nil}
		if got != w {
			t.Errorf("%s = %+v, want %+v", text, got, w)
		}
	}
}

func TestParseURLTellsNothing(t *testing.T) {
	for _, text := range []string{
		"", "secret", "http://u:secret@host", "redis://u:secret@", "redis://u:secret@host:port", "redis://u:secret@host/x", "redis://u:secret@host/-1",
		"redis://u:secret@host?name=", "redis://u:secret@host?name={secret}", "redis://u:secret@host?name=a&name=b", "redis://u:secret@host?secret=1",
		"redis://u:secret@host#x", "redis:secret", "redis://u:sec%zzret@host", "redis://u:secret@host?%zz",
	} {
		if _, err := ParseURL(text); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "zz") {
			t.Errorf("%q = %v, want an error that tells nothing", text, err)
		}
	}
}
