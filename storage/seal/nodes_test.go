package seal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// peer is a process that shares the store, with a key file of its own.
type peer struct {
	t    *testing.T
	s    *safe
	name string
	live *seal.Live
}

// join starts a process with a copy of the key file.
func (s *safe) join(t *testing.T, name string, within time.Duration) *peer {
	t.Helper()
	k, err := seal.Load(s.file)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, s: s, name: name}
	if p.live, err = seal.Open(t.Context(), s.store, k, within); err != nil {
		t.Fatal(err)
	}
	p.appear()
	return p
}

func (p *peer) appear() {
	p.t.Helper()
	if err := p.live.Appear(p.t.Context(), p.s.store, p.name, "host "+p.name, time.Minute, nil); err != nil {
		p.t.Error(err)
	}
}

// take reloads the process with the key file of now.
func (p *peer) take() error {
	k, err := seal.Load(p.s.file)
	if err == nil {
		err = p.live.Appear(p.t.Context(), p.s.store, p.name, "host "+p.name, time.Minute, k)
	}
	if err == nil {
		err = p.live.Learn(p.t.Context(), p.s.store, k)
	}
	return err
}

// follow is what a process does all the while, until ctx ends.
func (p *peer) follow(ctx context.Context) {
	for ctx.Err() == nil {
		turned, err := p.live.Follow(ctx, p.s.store)
		if err != nil && ctx.Err() == nil {
			p.t.Errorf("node %s: %v", p.name, err)
		}
		if turned {
			p.appear()
		}
		time.Sleep(time.Millisecond)
	}
}

// work writes and reads what the others have written, until ctx ends.
func (p *peer) work(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%03d", i%records)
		err := p.s.store.Update(context.WithoutCancel(ctx), func(tx storage.Tx) error {
			got, err := browsers(p.live).Get(tx, "s", id)
			if err != nil || got.Text != id {
				return fmt.Errorf("record %s is %v: %w", id, got, err)
			}
			return errors.Join(browsers(p.live).Put(tx, "s", id, got), grants(p.live).Put(tx, "s", p.name+id, &secret{p.name + id}))
		})
		if err != nil {
			p.t.Errorf("node %s: %v", p.name, err)
			return
		}
	}
}

func (s *safe) share(ctx context.Context, lazily bool) (seal.Rekeyed, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return seal.Rekey(ctx, seal.RekeyConfig{Store: s.store, File: s.file, Lazily: lazily})
}

// TestRekeyOfManyNodes: none of them meets what it cannot open, whatever the others
// write, and in the end nothing is sealed with the old key.
func TestRekeyOfManyNodes(t *testing.T) {
	s := newSafe(t)
	first := s.whole(t).Keys()[0]
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	nodes := map[string]*peer{}
	for _, name := range []string{"a", "b", "c"} {
		p := s.join(t, name, time.Minute)
		nodes[name] = p
		all.Go(func() { p.follow(ctx) })
		all.Go(func() { p.work(ctx) })
	}
	if err := seal.StandBy(ctx, s.store, "me", "a command", time.Minute); err != nil {
		t.Fatal(err)
	}

	// The new key is in the file, and seals nothing before all have it.
	for _, lacking := range []string{"a b c", "b c", "c"} {
		_, err := s.share(ctx, false)
		if !errors.Is(err, seal.ErrUnready) || !strings.Contains(err.Error(), s.file) {
			t.Fatalf("%s lack the key: %v", lacking, err)
		}
		for name := range nodes {
			if named := strings.Contains(err.Error(), "host "+name); named != strings.Contains(lacking, name) {
				t.Errorf("%s lack the key, %s is named: %v: %v", lacking, name, named, err)
			}
		}
		k := s.whole(t)
		if len(k.Keys()) != 2 {
			t.Fatalf("the file holds %v", k.Keys())
		}
		if by := s.sealedBy(t); len(by) != 1 || by[first] == 0 {
			t.Errorf("values by keys: %v, before all have the new one", by)
		}
		if err := nodes[lacking[:1]].take(); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := s.store.Present(ctx); err != nil || len(left) != 4 {
		t.Errorf("present: %v, %v", left, err)
	}

	// Lazily: what is written from now on.
	r, err := s.share(ctx, true)
	if err != nil || r.Newest == first || r.Resealed+r.Verified != 0 {
		t.Fatalf("lazily: %+v, %v", r, err)
	}
	for name, p := range nodes {
		value, err := p.live.Seal([]byte("k"), []byte("v"))
		if by, _ := seal.SealedWith(storage.Item{Key: storage.Key("x"), Value: value}); err != nil || by != r.Newest {
			t.Errorf("afterwards node %s seals with %s, %v", name, by, err)
		}
	}
	if by := s.sealedBy(t); by[first] == 0 {
		t.Errorf("values by keys: %v: that was not lazily", by)
	}
	if k := s.whole(t); len(k.Keys()) != 2 {
		t.Errorf("lazily the file holds %v", k.Keys())
	}

	// At once. Who comes meanwhile follows from the beginning.
	late := s.join(t, "d", time.Minute)
	all.Go(func() { late.follow(ctx) })
	all.Go(func() { late.work(ctx) })
	if r, err = s.share(ctx, false); err != nil || r.Resealed == 0 {
		t.Fatalf("at once: %+v, %v", r, err)
	}
	if by := s.sealedBy(t); len(by) != 1 || by[r.Newest] < 2*records {
		t.Errorf("in the end, values by keys: %v", by)
	}
	now := s.whole(t)
	if keys := now.Keys(); !slices.Equal(keys, []seal.KeyID{r.Newest}) {
		t.Errorf("in the end the file holds %v", keys)
	}
	for _, name := range []string{"a", "b", "c"} { // the old key leaves their files
		if err := nodes[name].take(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(s.file)); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
	stop()
	all.Wait()
	if by := s.sealedBy(t); len(by) != 1 {
		t.Errorf("at last, values by keys: %v", by)
	}
}

// TestRekeyWaitsForAll: who is slow to turn to the new key holds up the end, not the
// others; who has died holds it up for as long as it counts as present.
func TestRekeyWaitsForAll(t *testing.T) {
	s := newSafe(t)
	p := s.join(t, "slow", time.Minute)
	if _, err := s.share(t.Context(), false); !errors.Is(err, seal.ErrUnready) {
		t.Fatal(err)
	}
	if err := p.take(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	_, err := seal.Rekey(ctx, seal.RekeyConfig{Store: s.store, File: s.file, Progress: func(step string, items int) {
		if step != "waiting for nodes" || items != 1 {
			t.Errorf("%s: %d before the node has turned", step, items)
		}
		stop() // the command is interrupted
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("while a node seals with the old key: %v", err)
	}
	s.whole(t)
	if turned, err := p.live.Follow(t.Context(), s.store); err != nil || !turned {
		t.Fatalf("%v, %v", turned, err)
	}
	p.appear()
	if turned, err := p.live.Follow(t.Context(), s.store); err != nil || turned {
		t.Errorf("a second time: %v, %v", turned, err)
	}
	if r, err := s.share(t.Context(), false); err != nil || r.Resealed != 2*records {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	s.whole(t)
}

// TestFollowWaits: a process has turned to the new key when nothing is on its way
// any more that it sealed with the old one.
func TestFollowWaits(t *testing.T) {
	s := newSafe(t)
	_, live := s.opened(t)
	k, err := s.whole(t).WithNewKey()
	if err == nil {
		err = k.Save(s.file, true)
	}
	if err == nil {
		err = live.Learn(t.Context(), s.store, k)
	}
	if err == nil {
		_, err = s.share(t.Context(), true)
	}
	if err != nil {
		t.Fatal(err)
	}
	sealed, goOn := make(chan struct{}), make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		if err := s.store.Update(t.Context(), func(tx storage.Tx) error {
			err := grants(live).Put(tx, "s", "slow", &secret{"slow"})
			close(sealed)
			<-goOn
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	<-sealed
	hurried, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if turned, err := live.Follow(hurried, s.store); err == nil || turned {
		t.Errorf("a follow that was interrupted: %v, %v", turned, err)
	}
	var turned bool
	done := make(chan struct{})
	both.Go(func() {
		defer close(done)
		if turned, err = live.Follow(t.Context(), s.store); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-done:
		t.Error("the process has turned while a transaction is under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	both.Wait()
	if !turned {
		t.Error("it has not turned")
	}
	if _, err := s.share(t.Context(), false); err != nil {
		t.Error(err)
	}
	if by := s.sealedBy(t); len(by) != 1 {
		t.Errorf("values by keys: %v", by)
	}
}

// TestNodeWithoutTheKey: one that was asleep while the others went on seals nothing
// and says what it lacks, until it is given the key; one that starts is refused.
func TestNodeWithoutTheKey(t *testing.T) {
	s := newSafe(t)
	old := filepath.Join(t.TempDir(), "old.key")
	k := s.whole(t)
	if err := k.Save(old, false); err != nil {
		t.Fatal(err)
	}
	p := s.join(t, "asleep", time.Minute)
	if err := s.store.Vanish(t.Context(), "asleep"); err != nil { // its time is over
		t.Fatal(err)
	}
	r, err := s.share(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	_, other := s.opened(t)
	value, err := other.Seal([]byte("k"), []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.live.Open([]byte("k"), value); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), r.Newest.String()) {
		t.Errorf("what the others sealed: %v", err)
	}
	if _, err := p.live.Follow(t.Context(), s.store); !errors.Is(err, seal.ErrForeignKey) || !strings.Contains(err.Error(), r.Newest.String()) {
		t.Errorf("it follows: %v", err)
	}
	if _, err := p.live.Seal([]byte("k"), []byte("v")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("it seals: %v", err)
	}
	if err := p.live.Appear(t.Context(), s.store, "asleep", "host", time.Minute, nil); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("it appears: %v", err)
	}
	if all, err := s.store.Present(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("present: %v, %v", all, err)
	}
	// One that starts.
	if _, err := seal.Open(t.Context(), s.store, k, time.Minute); !errors.Is(err, seal.ErrForeignKey) || !strings.Contains(err.Error(), r.Newest.String()) {
		t.Errorf("a start: %v", err)
	}
	// A reload with the key file.
	if err := p.take(); err != nil {
		t.Fatal(err)
	}
	if plain, err := p.live.Open([]byte("k"), value); err != nil || string(plain) != "v" {
		t.Errorf("with the key: %q, %v", plain, err)
	}
	if _, err := p.live.Seal([]byte("k"), []byte("v")); err != nil {
		t.Errorf("with the key: %v", err)
	}
	// A reload with the file of before is refused, and changes nothing.
	s.file, old = old, s.file
	if err := p.take(); !errors.Is(err, seal.ErrForeignKey) {
		t.Errorf("back to the old file: %v", err)
	}
	s.file = old
	if _, err := p.live.Seal([]byte("k"), []byte("v")); err != nil {
		t.Errorf("after a reload that was refused: %v", err)
	}

	// Nobody has heard of it for long: whether the others wait for it is not sure.
	p = s.join(t, "silent", time.Nanosecond)
	time.Sleep(time.Microsecond)
	if _, err := p.live.Seal([]byte("k"), []byte("v")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a silent node seals: %v", err)
	}
}

// TestRekeyByTwo: the one that began earlier gives way, and undoes nothing.
func TestRekeyByTwo(t *testing.T) {
	s := newSafe(t)
	other := filepath.Join(t.TempDir(), "nightlatch.key")
	var second seal.Rekeyed
	_, err := seal.Rekey(t.Context(), seal.RekeyConfig{Store: s.store, File: s.file, Progress: func(step string, _ int) {
		if step != "sealing anew" || second.Newest != 0 {
			return
		}
		k, err := seal.Load(s.file)
		if err == nil {
			if k, err = k.WithNewKey(); err == nil {
				err = k.Save(other, false)
			}
		}
		if err != nil {
			t.Error(err)
		}
		if second, err = seal.Rekey(t.Context(), seal.RekeyConfig{Store: s.store, File: other}); err != nil {
			t.Error(err)
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "rekeyed meanwhile") {
		t.Errorf("the earlier one: %v", err)
	}
	s.file = other
	if by := s.sealedBy(t); len(by) != 1 || by[second.Newest] == 0 {
		t.Errorf("values by keys: %v, want %s", by, second.Newest)
	}
	s.whole(t)
}
