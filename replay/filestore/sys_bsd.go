//go:build darwin || freebsd

package filestore

import (
	"fmt"
	"os"
	"syscall"
)

const mountedLocally = 0x1000 // MNT_LOCAL

// networkFilesystem says whether dir is on a file system that is not local.
func networkFilesystem(dir *os.File) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(dir.Fd()), &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir.Name(), err)
	}
	if st.Flags&mountedLocally == 0 {
		return "remote", nil
	}
	return "", nil
}

// stampOf is the stamp of f. What a backup puts back has another inode, or one
// that was born later.
func stampOf(f *os.File) (stamp, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, os.NewSyscallError("fstat", err)
	}
	return stamp{uint64(st.Ino), st.Birthtimespec.Nano()}, nil
}

// datasync makes the contents of f durable.
func datasync(f *os.File) error { return f.Sync() }
