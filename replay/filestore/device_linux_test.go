package filestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealedblob/sealedblob/internal/racing"
	"github.com/sealedblob/sealedblob/replay"
)

func init() {
	roles["full"] = fullDisk
	roles["failing"] = failingDisk
	roles["birthless"] = birthless
}

// inNamespace runs a role with mounts of its own, which end with it.
func inNamespace(t *testing.T, role string) {
	t.Helper()
	cmd := racing.Command(role, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
		t.Skipf("no mounts of our own: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// A file system that is full: what was acknowledged stays, the rest is refused as
// full, and goes on when there is room again.
func TestDiskFull(t *testing.T) { inNamespace(t, "full") }

func fullDisk(dir string) error {
	size := func(flags uintptr, size string) error {
		return syscall.Mount("tmpfs", dir, "tmpfs", flags, "mode=0700,size="+size)
	}
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), size(0, "256k")); err != nil {
		return err
	}
	p, err := fillUp(dir, syscall.ENOSPC)
	if err != nil {
		return err
	}
	if err := size(syscall.MS_REMOUNT, "4m"); err != nil {
		return err
	}
	if err := p.goesOn(); err != nil {
		return err
	}
	if err := p.check(dir); err != nil {
		return err
	}
	fmt.Printf("%d acknowledged", len(p.acked))
	return nil
}

// A disk that fails: an ext4 on a loop device whose blocks can't be written any more,
// so that fdatasync is told EIO. When it works again, what was acknowledged is there.
func TestDiskFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a loop device needs root")
	}
	inNamespace(t, "failing")
}

func failingDisk(dir string) error {
	below, disk := filepath.Join(dir, "below"), filepath.Join(dir, "disk")
	sh := func(script string) error {
		out, err := exec.Command("sh", "-ec", script, "sh", below, disk).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return nil
	}
	if err := sh(`mount --make-rprivate /
		mkdir "$1" "$2"
		mount -t tmpfs -o size=2m tmpfs "$1"
		truncate -s 32M "$1/image"
		mkfs.ext4 -q -F -O ^resize_inode "$1/image"
		mount -o loop "$1/image" "$2"`); err != nil {
		return err
	}
	p, err := fillUp(filepath.Join(disk, "replay"), syscall.EIO)
	if err != nil {
		return err
	}
	// The file system has given up: it is mounted anew, on a device with room.
	p.store.Close()
	if err := sh(`umount "$2"
		mount -o remount,size=64m "$1"
		e2fsck -fy "$1/image" >"$1/said" 2>&1 || [ $? -lt 4 ] || { cat "$1/said"; exit 1; }
		mount -o loop "$1/image" "$2"`); err != nil {
		return err
	}
	if err := p.check(filepath.Join(disk, "replay")); err != nil {
		return err
	}
	fmt.Printf("%d acknowledged", len(p.acked))
	return nil
}

// An ext4 with inodes of 128 bytes notes no births, and gives a number again at once.
// A backup that is put where none is, as docs/operations.md says, is refused all the same.
func TestCopyWithoutBirths(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a loop device needs root")
	}
	inNamespace(t, "birthless")
}

func birthless(dir string) error {
	sh := func(script string) error {
		out, err := exec.Command("sh", "-ec", script, "sh", filepath.Join(dir, "below"), filepath.Join(dir, "disk")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return nil
	}
	if err := sh(`mount --make-rprivate /
		mkdir "$1" "$2"
		mount -t tmpfs -o size=64m tmpfs "$1"
		truncate -s 40M "$1/image"
		mkfs.ext4 -q -F -I 128 "$1/image"
		mount -o loop "$1/image" "$2"`); err != nil {
		return err
	}
	path := filepath.Join(dir, "disk", "replay")
	opened := func() (inode uint64, err error) {
		s, err := Open(path, Config{})
		if err != nil {
			return 0, err
		}
		var st syscall.Stat_t
		err = syscall.Stat(filepath.Join(path, segmentName(1)), &st)
		return st.Ino, errors.Join(err, s.Close())
	}
	first, err := opened()
	if err != nil {
		return err
	}
	if again, err := opened(); err != nil || again != first {
		return fmt.Errorf("opened again: inode %d, was %d: %w", again, first, err)
	}
	if err := sh(`cp -a "$2/replay" "$1/backup"; rm -r "$2/replay"; cp -a "$1/backup" "$2/replay"`); err != nil {
		return err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(path, segmentName(1)), &st); err != nil || st.Ino != first {
		return fmt.Errorf("the copy has inode %d, not %d: nothing is shown: %w", st.Ino, first, err)
	}
	if _, err := opened(); !errors.Is(err, ErrRestored) {
		return fmt.Errorf("the copy: %w, want %w", err, ErrRestored)
	}
	return nil
}

// filled is a store that was written to until that failed.
type filled struct {
	store *Store
	owner replay.Owner
	acked []replay.Right
	open  replay.Right // the first that was not
}

// fillUp claims until claims fail with want, and then makes sure that they go on
// failing, without a word on what they were about.
func fillUp(dir string, want error) (p filled, err error) {
	ctx := context.Background()
	p.owner = newOwner()
	if p.store, err = Open(dir, Config{}); err != nil {
		return p, err
	}
	issued, err := p.store.Epoch(ctx)
	if err != nil {
		return p, err
	}
	rights := func(n int) []replay.Right {
		batch := make([]replay.Right, n)
		for i := range batch {
			batch[i] = newRight()
			batch[i].Issued = issued
		}
		return batch
	}
	for len(p.acked) < 1<<20 {
		batch := rights(100)
		p.open = batch[0]
		o, err := p.store.Claim(ctx, p.owner, batch...)
		if err == nil && o == replay.Won {
			p.acked = append(p.acked, batch...)
			continue
		}
		if o != replay.Lost || !errors.Is(err, want) && !strings.Contains(err.Error(), want.Error()) {
			return p, fmt.Errorf("claim = %v, %w, want %w", o, err, want)
		}
		break
	}
	if len(p.acked) == 0 {
		return p, errors.New("nothing was acknowledged")
	}
	for range 20 {
		if o, err := p.store.Claim(ctx, newOwner(), rights(200)...); o != replay.Lost || err == nil || errors.Is(err, replay.ErrFull) != (want == syscall.ENOSPC) {
			return p, fmt.Errorf("claim on a disk that fails = %v, %w", o, err)
		}
		if o, err := p.store.Claim(ctx, newOwner(), p.acked[0]); o != replay.Lost {
			return p, fmt.Errorf("claim of what is spent = %v, %w", o, err)
		}
	}
	return p, nil
}

// goesOn claims what failed.
func (p filled) goesOn() error {
	if o, err := p.store.Claim(context.Background(), newOwner(), p.open); o != replay.Won || err != nil {
		return fmt.Errorf("claim with room again = %v, %w", o, err)
	}
	return p.store.Close()
}

// check looks whether the store at dir knows all that was acknowledged.
func (p filled) check(dir string) error {
	s, err := Open(dir, Config{})
	if err != nil {
		return err
	}
	defer s.Close()
	for n := 0; n < len(p.acked); n += 100 {
		for want, owner := range map[replay.Outcome]replay.Owner{replay.Lost: newOwner(), replay.Mine: p.owner} {
			if o, err := s.Claim(context.Background(), owner, p.acked[n:n+100]...); o != want || err != nil {
				return fmt.Errorf("claim of what was acknowledged = %v, %w, want %v", o, err, want)
			}
		}
	}
	return nil
}
