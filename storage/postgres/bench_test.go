package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
)

// visit is a record like an offline session: what a login writes, and a refresh
// rewrites.
type visit struct {
	User, Client, Hour string
	N                  int
	Text               string
}

var visits = storage.Table[visit]{Name: "visit", Indexes: map[string]storage.Index[visit]{
	"user":        {Counted: true, Values: func(v *visit) []string { return []string{v.User} }},
	"client":      {Counted: true, Values: func(v *visit) []string { return []string{v.Client} }},
	"user_client": {Counted: true, Values: func(v *visit) []string { return []string{v.User + "/" + v.Client} }},
	"unused":      {Values: func(v *visit) []string { return []string{v.User + "/" + v.Hour} }},
	"idle":        {Values: func(v *visit) []string { return []string{v.Client + "/" + v.Hour} }},
	"created":     {Values: func(v *visit) []string { return []string{v.Client + "/" + v.Hour} }},
}}

// setting is read by everybody and written by nobody.
type setting struct{ Text string }

var settings = storage.Table[setting]{Name: "setting"}

func text(n int) string {
	raw := make([]byte, n/2)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

func newVisit() (string, *visit) {
	return text(32), &visit{User: "user" + text(20), Client: fmt.Sprint("client", mathrand.IntN(3)), Hour: fmt.Sprintf("%08d", 480_000+mathrand.IntN(720)), Text: text(600)}
}

// BenchmarkUpdate measures updates and false conflicts: no two writers ever want
// the same record, except by chance. Kinds: a refresh reads what everybody reads
// and rewrites one of the records, a login reads the same and makes a new one.
func BenchmarkUpdate(b *testing.B) {
	server := postgrestest.Start(b, postgrestest.Config{Durable: true})
	for _, records := range []int{100, 10_000, 100_000} {
		engine, err := postgres.Open(context.Background(), postgres.Options{URL: server.URL(), Schema: postgrestest.Name(), MaxConns: 16})
		if err != nil {
			b.Fatal(err)
		}
		s := storage.New(storage.Config{Backend: engine, RetryFor: time.Minute})
		ids := fill(b, s, records)
		for kind, run := range map[string]func(tx storage.Tx) error{
			"Refresh": func(tx storage.Tx) error {
				id := ids[mathrand.IntN(len(ids))]
				v, err := visits.Get(tx, "demo", id)
				if err != nil {
					return err
				}
				v.N++
				return visits.Put(tx, "demo", id, v)
			},
			"Login": func(tx storage.Tx) error {
				id, v := newVisit()
				return visits.Put(tx, "demo", id, v)
			},
		} {
			for _, writers := range []int{1, 8, 64} {
				b.Run(fmt.Sprintf("%s/%dRecords/%dWriters", kind, records, writers), func(b *testing.B) {
					before := s.Stats().Conflicts.Load()
					var n atomic.Int64
					var wg sync.WaitGroup
					b.ResetTimer()
					for range writers {
						wg.Go(func() {
							for n.Add(1) <= int64(b.N) {
								err := s.Update(context.Background(), func(tx storage.Tx) error {
									if _, err := settings.List(tx, "demo", "", 15); err != nil {
										return err
									}
									for i := range 4 {
										if _, err := settings.Get(tx, "other", fmt.Sprint(i)); err != nil {
											return err
										}
									}
									return run(tx)
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
					b.ReportMetric(100*float64(s.Stats().Conflicts.Load()-before)/float64(b.N), "conflicts/100")
				})
			}
		}
		_ = engine.Close()
	}
}

func fill(b *testing.B, s *storage.Store, records int) []string {
	update := func(fn func(tx storage.Tx) error) {
		if err := s.Update(context.Background(), fn); err != nil {
			b.Fatal(err)
		}
	}
	update(func(tx storage.Tx) error {
		for i := range 15 {
			for _, scope := range []string{"demo", "other"} {
				if err := settings.Put(tx, scope, fmt.Sprint(i), &setting{text(400)}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	var ids []string
	for len(ids) < records {
		update(func(tx storage.Tx) error {
			for range min(100, records-len(ids)) {
				id, v := newVisit()
				if err := visits.Put(tx, "demo", id, v); err != nil {
					return err
				}
				ids = append(ids, id)
			}
			return nil
		})
	}
	return ids
}
