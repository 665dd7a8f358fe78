//go:build unix

package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// openNoFollow opens path and refuses a symbolic link as its last element.
func openNoFollow(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link", path)
	}
	return f, err
}

// untrusted says why a file or folder can't be trusted, or nothing.
func untrusted(info fs.FileInfo, forbidden fs.FileMode) string {
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return fmt.Sprintf("has mode %04o; group and others must not have %04o (chmod go-rwx)", mode, mode&forbidden)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() && stat.Uid != 0 {
		return fmt.Sprintf("belongs to user %d, not to this process's user", stat.Uid)
	}
	return ""
}

// lockFile takes the lock of the writers of a file, waiting no longer than five
// seconds. A lock that is held, or can't be made, is no [ErrRing]: nothing was
// judged.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a symbolic link", ErrRing, path)
	}
	if err != nil {
		return nil, fmt.Errorf("seal: taking the writer's lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("seal: another writer holds %s", path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
