//go:build linux || darwin

package badger

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nightlatch/nightlatch/storage"
)

// freeOn returns how many bytes the disk of a folder has left for this process.
func freeOn(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	if s.Files > 0 && s.Ffree < filesToSpare {
		return 0, fmt.Errorf("only %d more files can be made on the disk: %w", s.Ffree, storage.ErrFull)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// descriptorLimit is how many files this process may have open.
func descriptorLimit() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return maxDescriptors
	}
	return int(min(uint64(l.Cur), maxDescriptors))
}

const maxDescriptors = 1 << 30

// spareDescriptors tells whether few descriptors are left. The kernel gives out
// the lowest free number, so the highest ones are free until there is hardly
// another; those it counts.
func spareDescriptors() error {
	limit := descriptorLimit()
	var last [descriptorsToSpare]unix.PollFd
	for i := range last {
		last[i].Fd = int32(limit - 1 - i)
	}
	if _, err := unix.Poll(last[:], 0); err != nil {
		return nil // interrupted: the next one will tell
	}
	free := 0
	for i := range last {
		if last[i].Revents&unix.POLLNVAL != 0 {
			free++
		}
	}
	if free < descriptorsToSpare/2 {
		return fmt.Errorf("hardly any of %d descriptors is free: %w; %s", limit, storage.ErrFull, moreDescriptors)
	}
	return nil
}
