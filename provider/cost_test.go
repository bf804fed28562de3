package provider_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/realm"
	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// cost of a request at the store.
type cost struct{ views, updates, syncs, reads, scans, rows int }

type costKey struct{}

// counter adds what passes through to an engine up in the context's *cost.
type counter struct{ storage.Backend }

func (c *counter) View(ctx context.Context, fn func(storage.Tx) error) error {
	n, ok := ctx.Value(costKey{}).(*cost)
	if !ok {
		return c.Backend.View(ctx, fn)
	}
	n.views++
	return c.Backend.View(ctx, func(tx storage.Tx) error { return fn(&counted{tx, n}) })
}

// Update counts a sync if something was written: one that writes nothing does
// not wait for the disk.
func (c *counter) Update(ctx context.Context, fn func(storage.Tx) error) error {
	n, ok := ctx.Value(costKey{}).(*cost)
	if !ok {
		return c.Backend.Update(ctx, fn)
	}
	n.updates++
	before := n.rows
	err := c.Backend.Update(ctx, func(tx storage.Tx) error { return fn(&counted{tx, n}) })
	if err == nil && n.rows > before {
		n.syncs++
	}
	return err
}

type counted struct {
	storage.Tx
	n *cost
}

func (t *counted) Get(key []byte) (storage.Item, error) { t.n.reads++; return t.Tx.Get(key) }

func (t *counted) GetMany(keys [][]byte) ([]storage.Item, error) {
	t.n.reads += len(keys)
	return t.Tx.GetMany(keys)
}

func (t *counted) Scan(prefix, after []byte, limit int) ([]storage.Item, error) {
	t.n.scans++
	return t.Tx.Scan(prefix, after, limit)
}

func (t *counted) Put(it storage.Item) error { t.n.rows++; return t.Tx.Put(it) }

func (t *counted) Delete(key []byte) error { t.n.rows++; return t.Tx.Delete(key) }

// costs is the table in the doc comment of provider/grant, by request.
func costs(t *testing.T) map[string]string {
	t.Helper()
	doc, err := os.ReadFile("grant/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "//\trequest")
	table, _, _ = strings.Cut(table, "//\n")
	out := map[string]string{}
	for _, line := range strings.Split(table, "\n")[1:] {
		// Names have single spaces, columns at least two between them.
		if name, figures, ok := strings.Cut(strings.TrimPrefix(line, "//\t"), "  "); ok {
			out[name] = strings.Join(strings.Fields(figures), " ")
		}
	}
	return out
}

// TestCostOfARequest holds the table in the doc comment of provider/grant against
// what happens.
func TestCostOfARequest(t *testing.T) {
	want := costs(t)
	w := deviceWorld(t)
	engine := w.backend.Backend
	if faults, ok := engine.(*storagetest.Faults); ok {
		engine = faults.Backend // a second attempt would count
	}
	w.backend.Backend = &counter{engine}
	measure := func(form url.Values, key string) (*reply, cost) {
		r := httptest.NewRequest(http.MethodPost, issuer+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		r.SetBasicAuth("reports", "reports-secret")
		var n cost
		return w.do(r.WithContext(context.WithValue(r.Context(), costKey{}, &n))), n
	}
	// Events without a change wait for nobody once the provider runs.
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.provider.Run(ctx) }()
	defer func() { stop(); <-ended }()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, n := measure(url.Values{"grant_type": {"client_credentials"}}, ""); n.syncs == 0 || time.Now().After(deadline) {
			break
		}
	}
	const scope = "openid offline_access"
	form := func(params ...string) url.Values {
		q := url.Values{}
		for i := 0; i < len(params); i += 2 {
			q.Set(params[i], params[i+1])
		}
		return q
	}
	refresh := func(token string) url.Values { return form("grant_type", "refresh_token", "refresh_token", token) }
	offline := func(w *world) string {
		w.password("reports", "alice", scope).ok()
		return w.password("reports", "alice", scope).ok().refreshed() // not the first of its user
	}
	for _, c := range []struct {
		name   string
		form   func(w *world) url.Values // all that comes before the request
		key    string
		status int
	}{
		{"authorization_code, offline", func(w *world) url.Values {
			b := w.browser()
			b.grant("alice", "reports", scope)
			return form("grant_type", "authorization_code", "code", b.authorize("", "reports", scope).Get("code"),
				"redirect_uri", callback, "code_verifier", verifier)
		}, "", 200},
		{"refresh_token, single use", func(w *world) url.Values {
			w.edit(singleUse(0))
			token := offline(w)
			w.advance(time.Minute)
			return refresh(token)
		}, "k", 200},
		{"the same again", func(w *world) url.Values {
			w.edit(singleUse(0))
			token := offline(w)
			w.refresh("reports", token, key, "k").ok()
			return refresh(token)
		}, "k", 200},
		{"a replay", func(w *world) url.Values {
			w.edit(singleUse(0))
			token := offline(w)
			w.refresh("reports", token).ok()
			return refresh(token)
		}, "", 400},
		{"refresh_token, else", func(w *world) url.Values { return refresh(offline(w)) }, "", 200},
		{"after half a minute", func(w *world) url.Values {
			token := offline(w)
			w.advance(31 * time.Second)
			return refresh(token)
		}, "", 200},
		{"a bad signature", func(w *world) url.Values { return refresh(offline(w) + "x") }, "", 400},
		{"password, offline", func(w *world) url.Values {
			offline(w)
			return form("grant_type", "password", "username", "alice", "password", "alice-pw", "scope", scope)
		}, "", 200},
		{"device_code, waiting", func(w *world) url.Values {
			d := w.device("reports", scope)
			return form("grant_type", deviceGrant, "device_code", d.text("device_code"))
		}, "", 400},
		{"device_code, let in", func(w *world) url.Values {
			d := w.device("reports", scope)
			w.browser().letIn("alice", d, "accept")
			w.advance(time.Minute)
			return form("grant_type", deviceGrant, "device_code", d.text("device_code"))
		}, "", 200},
		{"token exchange", func(w *world) url.Values {
			w.editClient("reports", func(c *client.Client) { c.TokenExchange = true })
			return form("grant_type", grantExchange, "subject_token_type", typeAccess,
				"subject_token", w.password("reports", "alice", "openid").ok().access())
		}, "", 200},
		{"client_credentials", func(w *world) url.Values {
			w.post("token", "reports", "grant_type", "client_credentials").ok() // makes the service account
			return form("grant_type", "client_credentials")
		}, "", 200},
		{"client_credentials, offline", func(w *world) url.Values {
			w.post("token", "reports", "grant_type", "client_credentials", "scope", scope).ok()
			return form("grant_type", "client_credentials", "scope", scope)
		}, "", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.edit(func(s *realm.Settings) { s.RevokeRefreshToken = false })
			got, n := measure(c.form(w), c.key)
			if got.status != c.status {
				t.Fatalf("answered %d %s", got.status, got.body)
			}
			signatures := 0
			for _, token := range []string{got.access(), got.text("id_token"), got.refreshed()} {
				if token != "" && decode(t, token, 0)["alg"] == "ES256" {
					signatures++
				}
			}
			figures := strings.Trim(fmt.Sprint(n), "{}") + fmt.Sprint(" ", signatures)
			if figures != want[c.name] {
				t.Errorf("costs %s; the doc comment says %s", figures, want[c.name])
			}
			delete(want, c.name)
		})
	}
	if len(want) > 0 {
		t.Errorf("nothing is held against these lines of the doc comment: %v", want)
	}
}

// BenchmarkRefresh is a refresh without a network and a disk; -benchmem tells the
// objects that it allocates.
func BenchmarkRefresh(b *testing.B) {
	for name, edit := range map[string]func(*realm.Settings){"SingleUse": singleUse(0), "Else": func(*realm.Settings) {}} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, edit)
			token := w.password("reports", "alice", "openid offline_access").ok().refreshed()
			b.ReportAllocs()
			for b.Loop() {
				token = w.refresh("reports", token).ok().refreshed()
			}
		})
	}
}
