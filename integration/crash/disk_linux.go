package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func mountSmall(at string, size int64) error {
	return syscall.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
}

func unmountSmall(at string) error { return syscall.Unmount(at, 0) }

// takeAllBut makes a file that takes all that a disk has left, but for so much.
func takeAllBut(name string, leave int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var s syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &s); err != nil {
		return errors.Join(err, f.Close())
	}
	if take := int64(s.Bavail)*s.Bsize - leave; take > 0 {
		err = syscall.Fallocate(int(f.Fd()), 0, 0, take)
	}
	return errors.Join(err, f.Close())
}
