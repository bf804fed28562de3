package badger

import (
	"fmt"

	"github.com/nightlatch/nightlatch/storage"
)

// The engine writes its logs and tables through memory maps of sparse files. A
// page for which the disk has no room is no error there: the kernel ends the
// process by SIGBUS, and the next one at the same place. A log that it cannot make
// is a commit of unknown outcome. So the last of the room is left to what the
// engine does in the background with what was answered: 2 memtables to write out,
// and a compaction of level 0 (5 tables of 16 MiB, more under a load) with the
// tables below it. It is room that somebody else can take.
const (
	roomToCommit = 256 << 20 // bytes that a commit leaves free
	roomToOpen   = 192 << 20 // a store that takes no writes can still be opened and read
	filesToSpare = 1 << 10   // on a disk that counts them
	// descriptorsToSpare are looked at by a commit, which wants half of them
	// free; a start wants all of them, beside one for each table.
	descriptorsToSpare = 128
)

const moreDescriptors = "raise the limit of open files (LimitNOFILE= of systemd, ulimit -n)"

// roomLeft tells why nothing should be written; nil if it may be.
func (b *Backend) roomLeft() error {
	free, err := b.free()
	if err != nil {
		return err
	}
	if free < roomToCommit {
		return fmt.Errorf("%d MiB are free on the disk, %d MiB are needed: %w", free>>20, roomToCommit>>20, storage.ErrFull)
	}
	return b.spare()
}

// hasRoom tells why a commit should not be tried; nil if it may be.
func (b *Backend) hasRoom() error {
	err := b.roomLeft()
	if err == nil {
		err = b.tree.trouble()
	}
	if full := err != nil; full != b.full {
		b.full = full
		if full {
			b.log.Error("the store takes no writes for now", "err", err)
		} else {
			b.log.Info("the store takes writes again")
		}
	}
	return err
}
