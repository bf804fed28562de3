package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
)

// storeEnv names the folder for a process that measures a store, so that its
// memory is the store's alone.
const storeEnv = "NIGHTLATCH_BENCH_STORE"

const (
	storeClient  = "client-of-the-store-group"
	storeWriters = 64
)

// store: the embedded engine alone, without Caddy and HTTP, with many offline
// sessions of about 700 bytes that have rotated before.
func (b *bench) store() error {
	dir := cmp.Or(b.kept, filepath.Join(b.dir, "store"))
	fmt.Printf("store with %d client sessions, engine alone\n", b.sessions)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := fillStore(dir, b.sessions); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var all []storeFigures
	for range b.rounds {
		cmd := exec.Command(self, "-sessions", strconv.Itoa(b.sessions))
		cmd.Env, cmd.Stderr = append(os.Environ(), storeEnv+"="+dir), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("measuring in a process of its own: %w", err)
		}
		var f storeFigures
		if err := json.Unmarshal(out, &f); err != nil {
			return err
		}
		all = append(all, f)
	}
	figure := func(of func(storeFigures) float64, digits int) string {
		var v []float64
		for _, f := range all {
			v = append(v, of(f))
		}
		return show(v, digits)
	}
	fmt.Printf("  open %s ms; idle %s MiB, of it private %s MiB\n",
		figure(func(f storeFigures) float64 { return f.Open }, 0),
		figure(func(f storeFigures) float64 { return f.Idle.Resident }, 0), figure(func(f storeFigures) float64 { return f.Idle.Private }, 0))
	fmt.Printf("  count %s ms, first page of 100 %s ms\n",
		figure(func(f storeFigures) float64 { return f.Count }, 2), figure(func(f storeFigures) float64 { return f.FirstPage }, 2))
	fmt.Printf("  %d writers for 10 s: %s updates/s, slowest %s ms; resident at most %s MiB, of it private %s MiB\n\n", storeWriters,
		figure(func(f storeFigures) float64 { return f.PerSecond }, 0), figure(func(f storeFigures) float64 { return f.Slowest }, 0),
		figure(func(f storeFigures) float64 { return f.Busy.Resident }, 0), figure(func(f storeFigures) float64 { return f.Busy.Private }, 0))
	return nil
}

// storeFigures of one process; times in milliseconds.
type storeFigures struct {
	Open, Count, FirstPage, PerSecond, Slowest float64
	Idle, Busy                                 memory
}

// memory in MiB. Resident counts the pages of mapped files too, which the
// system takes back whenever it likes; Private does not.
type memory struct{ Resident, Private float64 }

// fillStore writes the sessions, closes the store, and tells what it takes.
func fillStore(dir string, sessions int) error {
	store, err := openStore(dir)
	if err != nil {
		return err
	}
	at, now, size := time.Now(), time.Now().UTC(), 0
	const batch = 400
	for done := 0; done < sessions; done += batch {
		err := store.Update(context.Background(), func(tx storage.Tx) error {
			for i := done; i < min(done+batch, sessions); i++ {
				cs := offlineSession(i, storeClient, now)
				for g := range uint64(4) { // the keys that consumed its last tokens
					cs.Consumed = append(cs.Consumed, randomHash(uint64(i)<<2+g))
				}
				if i == 0 {
					raw, err := json.Marshal(cs)
					if err != nil {
						return err
					}
					size = len(raw)
				}
				if err := session.ClientSessions.Put(tx, "demo", cs.ID, &cs); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return errors.Join(err, store.Close())
		}
	}
	written := time.Since(at)
	if err := store.Close(); err != nil {
		return err
	}
	files, bytes := 0, int64(0)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
	}
	fmt.Printf("  records of %d bytes written in %.0f s; %d files, %d MiB\n", size, written.Seconds(), files, bytes>>20)
	return nil
}

func randomHash(seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	hash := make([]byte, 32)
	_, _ = r.Read(hash)
	return hash
}

func openStore(dir string) (*storage.Store, error) {
	backend, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	return storage.New(storage.Config{Backend: backend}), nil
}

// measureStore runs in a process of its own and prints figures as JSON.
func measureStore(dir string, sessions int) error {
	var f storeFigures
	at := time.Now()
	store, err := openStore(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	f.Open = ms(time.Since(at))
	f.Idle = memoryOf("self")
	ctx := context.Background()
	err = store.View(ctx, func(tx storage.Tx) error {
		at := time.Now()
		c := &client.Client{ID: storeClient}
		rows, err := session.PageOffline(tx, "demo", c, 0, 100)
		if err != nil || len(rows) != min(100, sessions) {
			return fmt.Errorf("listed %d: %v", len(rows), err)
		}
		f.FirstPage = ms(time.Since(at))
		at = time.Now()
		n, err := session.CountOffline(tx, "demo", c)
		if err != nil || n != sessions {
			return fmt.Errorf("counted %d: %v", n, err)
		}
		f.Count = ms(time.Since(at))
		return nil
	})
	if err != nil {
		return err
	}

	const lasts = 10 * time.Second
	var updates, slowest atomic.Int64
	errs := make([]error, storeWriters)
	var writers sync.WaitGroup
	start := time.Now()
	for w := range storeWriters {
		writers.Go(func() {
			for errs[w] == nil && time.Since(start) < lasts {
				at := time.Now()
				errs[w] = store.Update(ctx, func(tx storage.Tx) error {
					id := offlineSession(rand.IntN(sessions), storeClient, at).ID
					cs, err := session.ClientSessions.Get(tx, "demo", id)
					if err != nil {
						return err
					}
					cs.Generation++
					cs.RotatedAt = at.UTC()
					return session.ClientSessions.Put(tx, "demo", id, cs)
				})
				updates.Add(1)
				for took := int64(time.Since(at)); ; {
					if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(100 * time.Millisecond):
		}
		m := memoryOf("self")
		f.Busy = memory{max(f.Busy.Resident, m.Resident), max(f.Busy.Private, m.Private)}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	f.PerSecond = float64(updates.Load()) / time.Since(start).Seconds()
	f.Slowest = ms(time.Duration(slowest.Load()))
	return json.NewEncoder(os.Stdout).Encode(f)
}

var (
	rssAll     = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	rssPrivate = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)
)

// memoryOf a process, "self" for this one.
func memoryOf(pid string) memory {
	raw, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return memory{}
	}
	mib := func(re *regexp.Regexp) float64 {
		m := re.FindSubmatch(raw)
		if m == nil {
			return 0
		}
		kb, _ := strconv.Atoi(string(m[1]))
		return float64(kb) / 1024
	}
	return memory{mib(rssAll), mib(rssPrivate)}
}
