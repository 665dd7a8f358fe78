package seal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/sealedblob/sealedblob/seal"
)

// A rotation whose last step fails has happened: it says so, and it is noted, so
// that the older ring can't come back.
func TestChangeThatIsNotSynced(t *testing.T) {
	dir := ringDir(t)
	path := filepath.Join(dir, seal.RingFile)
	old, err := os.ReadFile(path)
	must(t, err)
	chmod(t, dir, "", 0o300) // files can be made and replaced in it, and it can't be opened
	bound(t, func() { _, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now) })
	chmod(t, dir, "", 0o700)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "changed to version 2") || strings.Count(err.Error(), "synced") != 2 { // ring and note
		t.Errorf("UnsafeRotateRing = %v", err)
	}
	if ring, err := seal.LoadRing(dir); err != nil || ring.Version() != 2 {
		t.Errorf("after it: %v, %v", ring, err)
	}
	must(t, os.WriteFile(path, old, 0o600))
	if _, err := seal.LoadRing(dir); !errors.Is(err, seal.ErrRing) {
		t.Errorf("the ring before it loads again: %v", err)
	}
}

// bound runs f on a thread that keeps to the modes of files, even as root: it
// gives up its capabilities (capset(2)) and ends.
func bound(t *testing.T, f func()) {
	t.Helper()
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and never unlock it: the thread ends with the goroutine
		header := struct {
			version uint32
			pid     int32
		}{version: 0x20080522} // _LINUX_CAPABILITY_VERSION_3
		var none [6]uint32
		_, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatalf("capset: %v", errno)
	}
}
