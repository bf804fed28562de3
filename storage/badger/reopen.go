package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// reopenPause is the time between two looks whether the folder can be written.
const reopenPause = 500 * time.Millisecond

// reopen begins to mend the store after a commit has failed: as soon as the
// folder takes writes it closes the engine, which writes out what it has in
// memory, and opens it, which reads the logs. Until then nothing is written, and
// reads go on as long as the engine can serve them; in between, for as long as an
// engine takes to open, they get storage.ErrClosed.
//
// Whether the failed commit happened is settled by that; changed are the keys
// that are different if it did. Called by the committer.
func (b *Backend) reopen(changed [][]byte) {
	b.broken.Store(true)
	if b.options.InMemory {
		return // it would come back empty
	}
	b.mender.Go(func() {
		told := ""
		for err := b.mend(); err != nil; err = b.mend() {
			if text := err.Error(); text != told {
				told = text
				b.log.Warn("the store cannot be opened again yet", "err", err)
			}
			if !b.pause() {
				return
			}
		}
		b.log.Info("the store has been opened again and takes writes")
		b.watchers.Tell(changed)
	})
}

// pause returns false if the store is closed meanwhile.
func (b *Backend) pause() bool {
	select {
	case <-b.gate.Closed():
		return false
	case <-time.After(reopenPause):
		return true
	}
}

// mend makes one attempt.
func (b *Backend) mend() error {
	if err := b.writable(); err != nil {
		return err
	}
	if t := b.tree; t != nil {
		t.readers.Close()
		t.readers.Wait()
		if err := t.Close(); err != nil {
			b.log.Warn("closing store to open it again", "err", err)
		}
		b.tree = nil
	}
	t, err := openTree(b.options)
	if err != nil {
		return fmt.Errorf("opening store %s: %w", b.options.Dir, err)
	}
	b.tree = t
	b.readers.Store(t)
	b.broken.Store(false)
	return nil
}

// writable tells why the folder takes no writes: a file as large as the engine's
// largest, and sparse like it, is made, synced and removed.
func (b *Backend) writable() error {
	if err := b.roomLeft(); err != nil {
		return err
	}
	name := filepath.Join(b.options.Dir, "probe")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(name) }()
	_, err = f.WriteAt([]byte{1}, probeSize-1)
	return errors.Join(err, f.Sync(), f.Close())
}

// probeSize is what the engine makes of its value log, which stays empty.
const probeSize = 2 * valueLogSize

// readable turns a panic of the engine under a reader into an error, once a
// commit has failed: the engine may have lost the memtable that it would read.
func (b *Backend) readable(err *error) {
	if !b.broken.Load() {
		return
	}
	if p := recover(); p != nil {
		*err = errBroken
	}
}
