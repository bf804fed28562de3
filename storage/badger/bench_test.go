package badger

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
)

// BenchmarkUpdate reads and writes one of 10 000 records of 700 random bytes
// per transaction, synced. More writers share a sync.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(writers, "Writers"), func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			value := make([]byte, 700)
			_, _ = rand.Read(value)
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for n.Add(1) <= int64(b.N) {
						key := fmt.Appendf(nil, "k%d", mathrand.IntN(10_000))
						err := s.Update(context.Background(), func(tx storage.Tx) error {
							_, _ = tx.Get(key)
							return tx.Put(storage.Item{Key: key, Value: value})
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
