package badger

import (
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// SlowDown makes each commit take that much longer, as a busy disk does.
func (b *Backend) SlowDown(by time.Duration) {
	b.sync = func(txn *badger.Txn) error {
		time.Sleep(by)
		return txn.Commit()
	}
}

// Impatient makes the backend find a closure that does not end soon.
func (o Options) Impatient() Options {
	o.patience = time.Second
	return o
}
