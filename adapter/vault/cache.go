package vault

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nightlatch/nightlatch/storage"
)

// A hand-out of a token that is still fresh costs no storage read, no unsealing
// and no JSON: Find and Token read two maps under a shared lock, compare the
// ask with the grant, and copy the Grant, which is the one allocation to speak
// of. Once a minute for each grant and job a use is written behind the answer.
//
// What is kept is what the store said, never a decision: rules, states and
// lifetimes are judged at every ask. It holds no refresh token.
//
// A write forgets the grant before it returns, whatever its outcome (see
// write), and what was read before that moment is not kept after it. So an ask
// that begins after Save, DropCached, Reject or Revoke has returned, or after a
// refresh has committed, sees what they wrote. What other nodes write is told by
// Follow; while nobody tells, nothing is kept.

// maxKept bounds the grants in memory, of a few KiB each, and the names that
// lead to them.
const maxKept = 4096

type cache struct {
	mu sync.RWMutex
	// deaf: other nodes write, and nobody tells of it.
	deaf bool
	// moves counts what was forgotten.
	moves  uint64
	grants map[string]*handout
	// named are the ids that a query found. One that is not in grants any more,
	// or no longer fits the query, is looked up again.
	named map[Query][]string
}

// get returns a grant that must not be changed, nil if it is not kept.
func (c *cache) get(id string) *handout {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.grants[id]
}

// find returns what a query in normal form found, nil if that is not kept.
func (c *cache) find(q Query) []Grant {
	c.mu.RLock()
	defer c.mu.RUnlock()
	one := [1]string{q.GrantID}
	ids := one[:]
	if q.GrantID == "" {
		ids = c.named[q]
	}
	if len(ids) == 0 {
		return nil
	}
	found := make([]Grant, 0, len(ids))
	for _, id := range ids {
		h := c.grants[id]
		if h == nil || !q.names(&h.Grant) {
			return nil
		}
		found = append(found, h.Grant)
	}
	return found
}

// mark is taken before a read whose result is to be kept.
func (c *cache) mark() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.moves
}

// keep remembers what was read since the mark, and if a query found it, under
// which name; unless something was forgotten meanwhile.
func (c *cache) keep(mark uint64, q Query, read ...*record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deaf || c.moves != mark || len(read) == 0 {
		return
	}
	ids := make([]string, len(read))
	for i, r := range read {
		ids[i] = r.ID
		h := r.handout // a copy: a pointer into the record would keep its refresh token
		put(&c.grants, r.ID, &h)
	}
	if q != (Query{}) && q.GrantID == "" {
		put(&c.named, q, ids)
	}
}

// put makes room by letting go of any other entry: it is only read again.
func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	if _, there := (*m)[k]; !there && len(*m) >= maxKept {
		for other := range *m {
			delete(*m, other)
			break
		}
	}
	(*m)[k] = v
}

// forget drops grants that were written, and what was found by the names that
// they have now: one may have come to it.
func (c *cache) forget(written ...*record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moves++
	for _, r := range written {
		delete(c.grants, r.ID)
		for _, client := range []string{"", r.Client} {
			for _, q := range []Query{{Sub: r.Sub}, {User: r.Username}, {Email: r.Email}} {
				q.Provider, q.Client = r.Provider, client
				delete(c.named, q.normal())
			}
		}
	}
}

// forgetID drops a grant of which only the id is known.
func (c *cache) forgetID(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moves++
	delete(c.grants, id)
}

// forgetAll drops everything; deaf: until Follow hears again.
func (c *cache) forgetAll(deaf bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = deaf
	c.moves++
	c.grants, c.named = nil, nil
}

// clear drops everything.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moves++
	c.grants, c.named = nil, nil
}

// normal is the form in which queries are compared: names and addresses without
// regard to case, and only the one name that counts.
func (q Query) normal() Query {
	n := Query{Provider: q.Provider, Client: q.Client}
	switch {
	case q.GrantID != "":
		n.GrantID = q.GrantID
	case q.Sub != "":
		n.Sub = q.Sub
	case q.User != "":
		n.User = strings.ToLower(q.User)
	default:
		n.Email = strings.ToLower(q.Email)
	}
	return n
}

// names tells whether a query in normal form finds a grant; the indexes of the
// table say the same.
func (q Query) names(g *Grant) bool {
	if g.Provider != q.Provider || q.Client != "" && g.Client != q.Client {
		return false
	}
	switch {
	case q.GrantID != "":
		return g.ID == q.GrantID
	case q.Sub != "":
		return g.Sub == q.Sub
	case q.User != "":
		return g.Local && strings.ToLower(g.Username) == q.User
	}
	return g.EmailVerified && q.Email != "" && strings.ToLower(g.Email) == q.Email
}

// look reads a grant, from memory if it is kept there.
func (v *Vault) look(ctx context.Context, id string) (*handout, error) {
	if h := v.cache.get(id); h != nil {
		return h, nil
	}
	mark := v.cache.mark()
	r, err := v.read(ctx, id)
	if err != nil {
		return nil, err
	}
	v.cache.keep(mark, Query{}, r)
	return &r.handout, nil
}

// write is the only way to write grants. It plans what the background does next
// with each, and announces their news once they are on disk. Whatever the
// outcome, what was put is forgotten: the commit may have happened.
func (v *Vault) write(ctx context.Context, fn func(tx storage.Tx, put func(*record) error) error) error {
	now := v.c.Now()
	keep := len(v.tells()) > 0
	var written, last []*record // by any run of the closure, by the last one
	defer func() { v.cache.forget(written...) }()
	err := v.c.Store.Update(ctx, func(tx storage.Tx) error {
		last = nil
		return fn(tx, func(r *record) error {
			r.DueAt = r.due(v.policy(&r.Grant), now)
			if keep {
				r.post()
			}
			written, last = append(written, r), append(last, r)
			return v.grants.Put(tx, scope, r.ID, r)
		})
	})
	if err != nil {
		return err
	}
	for _, r := range last {
		if keep && len(r.news) > 0 {
			select {
			case v.wake <- struct{}{}:
			default: // it is awake
			}
		}
		v.announce(r)
	}
	return nil
}

// Follow hears what other nodes write (at most 2 s late, see storage.Backend)
// until ctx ends. Where Config.Node is set nothing is served from memory unless
// it runs; where it is not, nobody else writes and it returns at once.
func (v *Vault) Follow(ctx context.Context) {
	if v.c.Node == "" {
		return
	}
	for ctx.Err() == nil {
		err := v.follow(ctx)
		v.cache.forgetAll(true)
		if ctx.Err() != nil {
			return
		}
		v.c.Logger.Warn("watching grants", "error", err)
		_ = pause(ctx, time.Second)
	}
}

// follow hears of drops, and once it does of grants too, until it hears one of
// them no more.
func (v *Vault) follow(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	hears, once := make(chan struct{}), sync.Once{}
	both.Go(func() error {
		return v.c.Store.Watch(ctx, v.drops.Prefix(scope),
			func() {
				v.heed()
				once.Do(func() { close(hears) })
			},
			func([][]byte) { v.heed() },
		)
	})
	select {
	case <-hears:
	case <-ctx.Done():
		return both.Wait()
	}
	both.Go(func() error {
		return v.c.Store.Watch(ctx, v.grants.Prefix(scope),
			func() { v.cache.forgetAll(false) },
			func(keys [][]byte) { v.heard(ctx, keys) },
		)
	})
	return both.Wait()
}

// maxHeard bounds the reads that one piece of news causes.
const maxHeard = 256

// heard forgets grants that some node wrote. They are read for their names,
// which may be new.
func (v *Vault) heard(ctx context.Context, keys [][]byte) {
	if len(keys) > maxHeard {
		v.cache.forgetAll(false)
		return
	}
	for _, key := range keys {
		parts, err := storage.Parts(key)
		if err != nil || len(parts) == 0 {
			v.cache.forgetAll(false)
			return
		}
		v.cache.forgetID(parts[len(parts)-1])
	}
	for _, key := range keys {
		parts, _ := storage.Parts(key)
		r, err := v.read(ctx, parts[len(parts)-1])
		if err != nil {
			v.cache.forgetAll(false)
			return
		}
		v.cache.forget(r)
	}
}
