package redisstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// web is the account of the package comment, for the store "sealedblob".
func web(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("redisstore.go"))
	must(t, err)
	_, text2, found := strings.Cut(string(text), "//	ACL SETUSER web on >PASSWORD ")
	rule, _, ended := strings.Cut(text2, "//\n")
	if !found || !ended {
		t.Fatal("no account in the package comment")
	}
	var rules []string
	for _, word := range strings.Fields(strings.ReplaceAll(rule, "//", "")) {
		if n := len(rules); n > 0 && strings.HasPrefix(rules[n-1], "(") && !strings.HasSuffix(rules[n-1], ")") {
			rules[n-1] += " " + word
			continue
		}
		rules = append(rules, word)
	}
	return append([]string{"ACL", "SETUSER", "web", "on", ">secret"}, rules...)
}

// The account of a web node is enough for a store, and for nothing else.
func TestAccount(t *testing.T) {
	server := services.Redis(t)
	server.Redis(web(t)...)
	cfg := configOf(server.Addr, "")
	cfg.Client.Username, cfg.Client.Password = "web", "secret"
	openFails(t, cfg, "LeavePurge")
	wrong := cfg
	wrong.Client.Password = "hunter2"
	if _, err := Open(t.Context(), wrong); err == nil || strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 200 {
		t.Errorf("Open with a wrong password = %v", err)
	}
	cfg.LeavePurge = true
	s := mustOpen(t, cfg)
	owner, right := newOwner(), newRight(s)
	exercise(t, s, owner, right)
	if err := s.Purge(t.Context()); err == nil || isFinal(err) {
		t.Errorf("Purge by an account that may not = %v", err)
	}
	key := "sb:{sealedblob}:r:" + string(right.ID[:])
	if said(server, "EXISTS", key) != "1" {
		t.Fatal("the right is elsewhere")
	}
	for _, command := range [][]string{
		{"DEL", key}, {"UNLINK", key}, {"SET", key, "x"}, {"GETDEL", key}, {"EXPIRE", key, "1"}, {"PERSIST", key}, {"HSET", key, "a", "b"},
		{"RENAME", key, "sb:{sealedblob}:x:1"}, {"COPY", key, "sb:{sealedblob}:x:1"}, {"SETRANGE", key, "0", "x"}, {"APPEND", key, "x"},
		{"DEL", "sb:{sealedblob}:meta"}, {"FLUSHALL"}, {"FLUSHDB"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "maxmemory", "1"}, {"ACL", "LIST"},
		{"SCRIPT", "FLUSH"}, {"SCRIPT", "KILL"}, {"REPLICAOF", "NO", "ONE"}, {"SHUTDOWN"}, {"KEYS", "*"}, {"SWAPDB", "0", "1"},
		{"GET", "other"}, {"SETNX", "other", "x"}, {"MIGRATE", "127.0.0.1", "1", key, "0", "1"}, {"RESTORE", key, "0", "x", "REPLACE"},
	} {
		err := s.client.Do(t.Context(), s.client.B().Arbitrary(command...).Build()).Error()
		if !isRedisError(err, "NOPERM") {
			t.Errorf("%q = %v, want NOPERM", command, err)
		}
	}
	expect(t, s, newOwner(), right, replay.Lost, nil)
	// Scripts have no more rights than who calls them.
	if err := s.client.Do(t.Context(), s.client.B().Eval().Script("return redis.call('DEL', KEYS[1])").Numkeys(1).Key(key).Build()).Error(); err == nil {
		t.Error("a script deleted a right")
	}
	// Each of its words is needed.
	whole := web(t)
	for i := 5; i < len(whole); i++ {
		if word := whole[i]; word != "+wait" && word != "resetchannels" {
			server.Redis("FLUSHALL")
			server.Redis("ACL", "DELUSER", "web")
			server.Redis(append(append([]string(nil), whole[:i]...), whole[i+1:]...)...)
			if err := try(cfg); err == nil {
				t.Errorf("%s is not needed", word)
			}
		}
	}
}

// A node that was taken over sets the epoch back, so that what the server forgot is granted again:
// not by nodes that live on.
func TestEpochSetBack(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	server.Redis(web(t)...)
	cfg := configOf(server.Addr, "")
	cfg.Client.Username, cfg.Client.Password, cfg.LeavePurge = "web", "secret", true
	first := mustOpen(t, cfg)
	right := newRight(first)
	expect(t, first, newOwner(), right, replay.Won, nil)
	nextSecond(first)
	server.Redis("FLUSHALL")
	s := mustOpen(t, cfg)
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	must(t, s.client.Do(t.Context(), s.client.B().Arbitrary("HSET", s.meta, "epoch", "0").Build()).Error())
	for range 2 {
		expect(t, s, newOwner(), right, replay.Lost, ErrWentBack)
	}
	must(t, s.RaiseEpoch(t.Context()))
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
}

func TestReadOnly(t *testing.T) {
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	cfg.ReadOnly = true
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrGone) {
		t.Errorf("Open without a store = %v", err)
	}
	writer, s := mustOpen(t, configOf(server.Addr, "test")), mustOpen(t, cfg)
	right := newRight(s)
	expect(t, writer, newOwner(), right, replay.Won, nil)
	expect(t, s, newOwner(), newRight(s), replay.Lost, errReadOnly)
	if spent, err := s.Spent(t.Context(), right.ID); err != nil || !spent[0] {
		t.Errorf("Spent = %v, %v", spent, err)
	}
	for name, err := range map[string]error{"Purge": s.Purge(t.Context()), "RaiseEpoch": s.RaiseEpoch(t.Context()), "Revoke": s.Revoke(t.Context(), newID(), time.Now().Add(time.Hour))} {
		if !errors.Is(err, errReadOnly) {
			t.Errorf("%s = %v", name, err)
		}
	}
}
