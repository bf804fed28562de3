package seal_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
)

// TestRekeyWhileInUse: people write all the while. In the end the new key alone opens
// everything.
func TestRekeyWhileInUse(t *testing.T) {
	s := newSafe(t)
	k, live := s.opened(t)
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := n; ; i += 4 {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%03d", i%records)
				err := s.store.Update(t.Context(), func(tx storage.Tx) error { return grants(live).Put(tx, "s", id, &secret{id}) })
				if err == nil {
					id = fmt.Sprintf("new-%d", i%records)
					err = s.store.Update(t.Context(), func(tx storage.Tx) error { return browsers(live).Put(tx, "s", id, &secret{id}) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r, err := seal.Rekey(t.Context(), seal.RekeyConfig{Store: s.store, File: s.file, Live: live})
	end()
	all.Wait()
	if err != nil {
		t.Fatal(err)
	}
	now := s.whole(t)
	if keys := now.Keys(); len(keys) != 1 || keys[0] != r.Newest || !now.Same(live.File()) {
		t.Errorf("the file holds %v, in use is %v", keys, live.File().Keys())
	}
	if by := s.sealedBy(t); len(by) != 1 || by[r.Newest] < 2*records {
		t.Errorf("values by keys: %v", by)
	}
	// What was sealed before, a cookie say, still opens in this process.
	cookie, err := k.Seal([]byte("cookie"), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := live.Open([]byte("cookie"), cookie); err != nil || string(text) != "text" {
		t.Errorf("a cookie of before: %q, %v", text, err)
	}
	if r, err := seal.Rekey(t.Context(), seal.RekeyConfig{Store: s.store, File: s.file, Live: live}); err != nil || r.Newest == now.Keys()[0] {
		t.Errorf("once more: %+v, %v", r, err)
	}
	s.whole(t)
	// A key file of somebody else's is refused, and nothing is exchanged.
	other := newSafe(t)
	before := live.File()
	if _, err := seal.Rekey(t.Context(), seal.RekeyConfig{Store: s.store, File: other.file, Live: live}); err == nil || !live.File().Same(before) {
		t.Errorf("with another key file: %v", err)
	}
	s.whole(t)
}
