package filestore

import (
	"fmt"
	"hash/fnv"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// networkFilesystems are those whose locks and fsyncs cannot be relied upon, by
// the magic numbers of statfs(2).
var networkFilesystems = map[uint32]string{
	0x6969:     "NFS",
	0x517b:     "SMB",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB2",
	0x01021997: "9p",
	0x65735546: "FUSE",
	0x564c:     "NCP",
	0x5346414f: "AFS",
	0x6b414653: "kAFS",
	0x73757245: "Coda",
	0x00c36400: "Ceph",
	0x0bd00bd0: "Lustre",
	0x47504653: "GPFS",
	0x01161970: "GFS2",
	0x7461636f: "OCFS2",
	0xaad7aaea: "PanFS",
	0x19830326: "BeeGFS",
	0x20030528: "OrangeFS",
	0x786f4256: "VirtualBox shared folder",
	0xbacbacbc: "VMware shared folder",
}

// networkFilesystem names the network file system that dir is on, if any.
func networkFilesystem(dir *os.File) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(dir.Fd()), &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir.Name(), err)
	}
	return networkFilesystems[uint32(st.Type)], nil
}

// stampOf is the stamp of f. What a backup puts back has another inode, or one
// that was born later; where the file system does not note births, one of another
// generation, which is in its handle (name_to_handle_at(2)). A file system that tells
// neither is refused: a copy could not be told.
func stampOf(f *os.File) (stamp, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return stamp{}, os.NewSyscallError("statx", err)
	}
	s := stamp{inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		s.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
		return s, nil
	}
	handle, _, err := unix.NameToHandleAt(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return stamp{}, fmt.Errorf("this file system tells neither when a file was born nor its generation, by which a backup that is put back is known: %w", err)
	}
	sum := fnv.New64a()
	sum.Write(handle.Bytes())
	s.born = int64(sum.Sum64())
	return s, nil
}

// datasync makes the contents of f durable, with as little else as possible.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
