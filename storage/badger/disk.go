package badger

import (
	"fmt"

	"github.com/nightlatch/nightlatch/storage"
)

// The engine writes its logs and tables through memory maps of sparse files. A
// page for which the disk has no room is no error there: the kernel ends the
// process by SIGBUS, and the next one at the same place. A table that a
// compaction cannot even create is worse: the engine drops that error and the
// records with it. So the last of the room is left to what the engine does in the
// background with what was answered: 2 memtables to write out, and a compaction
// of level 0 (5 tables of 16 MiB, more under a load) with the tables below it. It
// is room that somebody else can take.
const (
	roomToCommit = 256 << 20 // bytes that a commit leaves free
	roomToOpen   = 192 << 20 // a store that takes no writes can still be opened and read
	filesToSpare = 1 << 10   // on a disk that counts them
)

// hasRoom tells why a commit should not be tried; nil if it may be.
func (b *Backend) hasRoom() error {
	free, err := b.free()
	if err == nil && free < roomToCommit {
		err = fmt.Errorf("%d MiB are free on the disk, %d MiB are needed: %w", free>>20, roomToCommit>>20, storage.ErrFull)
	}
	if full := err != nil; full != b.full {
		b.full = full
		if full {
			b.log.Error("the store takes no writes until its disk has room", "err", err)
		} else {
			b.log.Info("the disk has room again, the store takes writes")
		}
	}
	return err
}

// readable turns a panic of the engine under a reader into an error, once a
// commit has failed: the engine may have lost the memtable that it would read.
func (b *Backend) readable(err *error) {
	if !b.broken.Load() {
		return
	}
	if p := recover(); p != nil {
		*err = fmt.Errorf("reading store: a commit has failed, the store must be opened again: %w", storage.ErrClosed)
	}
}
