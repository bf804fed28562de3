//go:build linux || darwin

package badger

import (
	"fmt"
	"syscall"

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
