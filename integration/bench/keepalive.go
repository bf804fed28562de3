package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/badger"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// keepalive: the vault alone, with many grants that nobody uses and a provider that
// answers at once, on a clock of its own. How they are spread over the time in
// which they come due, what a refresh costs the store, what the walk costs in
// memory, and whether the pace is kept when all are due at once.
func (b *bench) keepalive() error {
	const idle = 30 * 24 * time.Hour
	fmt.Printf("keep-alive of %d grants, idle limit %v\n", b.grants, idle)
	backend, err := badger.Open(badger.Options{Dir: filepath.Join(b.dir, "keepalive")})
	if err != nil {
		return err
	}
	var clock atomic.Int64
	clock.Store(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Unix())
	now := func() time.Time { return time.Unix(clock.Load(), 0).UTC() }
	store := storage.New(storage.Config{Backend: backend, Now: now})
	defer store.Close()
	key, err := seal.New()
	if err != nil {
		return err
	}
	far := &instantProvider{}
	provider := &vault.Provider{
		Name: "far", Issuer: "https://far.example.com", ClientID: "portal", ClientSecret: "secret", HTTPClient: &http.Client{Transport: far},
		TokenEndpoint:   func(context.Context) (string, error) { return "https://far.example.com/token", nil },
		StopAfterUnused: -1, OfflineIdle: idle, RefreshRate: 1e9,
	}
	v, err := vault.New(vault.Config{Store: store, Sealer: key, Now: now, Providers: map[string]*vault.Provider{"far": provider}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	v.Attend(ctx) // as a gateway does that has just started
	at := time.Now()
	if err := save(ctx, v, b.grants); err != nil {
		return err
	}
	fmt.Printf("  saved in %.0f s\n", time.Since(at).Seconds())

	// Hour by hour until everything has come due once.
	var hours []float64
	peak, base := heap(), heap()
	updates := store.Stats().Updates.Load()
	at = time.Now()
	for far.asked.Load() < int64(b.grants) && len(hours) < 16*24 {
		clock.Add(int64(time.Hour / time.Second))
		before := far.asked.Load()
		v.Attend(ctx)
		if n := far.asked.Load() - before; n > 0 || len(hours) > 0 {
			hours = append(hours, float64(n))
		}
		if len(hours)%12 == 0 {
			peak = max(peak, heap())
		}
	}
	took := time.Since(at).Seconds()
	asked := float64(far.asked.Load())
	if int(asked) < b.grants {
		return fmt.Errorf("%.0f of %d grants were refreshed", asked, b.grants)
	}
	sorted := slices.Sorted(slices.Values(hours))
	fmt.Printf("  spread over %d hours: median %.0f an hour, most %.0f (%.2f of the median)\n", len(hours), sorted[len(sorted)/2], sorted[len(sorted)-1], sorted[len(sorted)-1]/sorted[len(sorted)/2])
	fmt.Printf("  %.0f refreshes/s; %.2f commits asked of the store for each\n", asked/took, float64(store.Stats().Updates.Load()-updates)/asked)
	fmt.Printf("  heap %.1f MiB before, at most %.1f MiB between walks\n", base, peak)

	// The gateway has slept: all are due at once, and the provider takes so many a
	// second.
	const rate = 200
	slow := *provider
	slow.RefreshRate = rate
	v.Use(map[string]*vault.Provider{"far": &slow})
	clock.Add(int64(20 * 24 * time.Hour / time.Second))
	before := far.asked.Load()
	walk, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	at = time.Now()
	v.Attend(walk)
	fmt.Printf("  all due at once, %d a second allowed: %.0f a second sent; heap %.1f MiB\n\n", rate, float64(far.asked.Load()-before)/time.Since(at).Seconds(), heap())
	return v.Close(ctx)
}

// save gives so many people a grant, as logins do.
func save(ctx context.Context, v *vault.Vault, n int) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range 128 {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n) && failed.Load() == nil; i = next.Add(1) {
				sub := fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15)
				_, err := v.Save(ctx, vault.Login{
					Provider: "far", Client: "portal", Site: "https://app.example.com", Sub: sub, Username: "user-" + sub,
					Email: sub + "@example.com", EmailVerified: true, Scopes: []string{"openid", "profile", "offline_access"},
					RefreshToken: strings.Repeat("r", 600) + sub,
				})
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// heap in use after a collection, in MiB.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// instantProvider answers each refresh with a rotated token.
type instantProvider struct{ asked atomic.Int64 }

func (p *instantProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	n := p.asked.Add(1)
	body, err := json.Marshal(map[string]any{
		"access_token": fmt.Sprint("a", n), "token_type": "Bearer", "expires_in": 300, "refresh_token": strings.Repeat("r", 600) + fmt.Sprint(n),
	})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}
