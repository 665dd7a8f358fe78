//go:build unix

package seal

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"
)

type ownedBy uint32

func (o ownedBy) Name() string       { return "ring.age" }
func (o ownedBy) Size() int64        { return 1 }
func (o ownedBy) Mode() fs.FileMode  { return 0o600 }
func (o ownedBy) ModTime() time.Time { return time.Time{} }
func (o ownedBy) IsDir() bool        { return false }
func (o ownedBy) Sys() any           { return &syscall.Stat_t{Uid: uint32(o)} }

func TestForeignOwnerIsUntrusted(t *testing.T) {
	me := uint32(os.Geteuid())
	if reason := untrusted(ownedBy(me), 0o077); reason != "" {
		t.Errorf("own file: %s", reason)
	}
	if reason := untrusted(ownedBy(0), 0o077); reason != "" {
		t.Errorf("root's file: %s", reason)
	}
	if untrusted(ownedBy(me+12345), 0o077) == "" {
		t.Error("a foreign owner is trusted")
	}
}
