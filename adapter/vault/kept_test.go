package vault

import (
	"fmt"
	"testing"
)

func TestWhatWasReadBeforeAWriteIsNotKept(t *testing.T) {
	r := &record{handout: handout{Grant: Grant{ID: "g_1", Provider: "p", Client: "c", Sub: "s"}}, RefreshToken: "secret"}
	q := Query{Provider: "p", Sub: "s"}
	var c cache
	mark := c.mark()
	c.forget(r) // a write commits while r is on its way
	c.keep(mark, q, r)
	if c.get("g_1") != nil || c.find(q) != nil {
		t.Error("a stale grant is kept")
	}
	c.keep(c.mark(), q, r)
	if c.get("g_1") == nil || len(c.find(q)) != 1 || len(c.find(Query{Provider: "p", GrantID: "g_1"})) != 1 {
		t.Error("a grant is not kept")
	}
	if c.find(Query{Provider: "other", GrantID: "g_1"}) != nil {
		t.Error("found at another provider")
	}
	// An id whose grant is gone or has another name leads nowhere.
	c.forgetID("g_1")
	if c.find(q) != nil {
		t.Error("found a grant that is not kept")
	}
	renamed := *r
	renamed.Sub = "other"
	c.keep(c.mark(), Query{}, &renamed)
	if c.find(q) != nil {
		t.Error("found by the name of before")
	}
	c.forgetAll(true)
	c.keep(c.mark(), q, r)
	if c.get("g_1") != nil {
		t.Error("a node that hears nothing keeps a grant")
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	for i := range 3 * maxKept {
		id := fmt.Sprint("g_", i)
		c.keep(c.mark(), Query{Provider: "p", Sub: id}, &record{handout: handout{Grant: Grant{ID: id, Provider: "p", Sub: id}}})
		if c.get(id) == nil {
			t.Fatal("the newest is not kept")
		}
	}
	if len(c.grants) != maxKept || len(c.named) != maxKept {
		t.Errorf("%d grants, %d names; want %d", len(c.grants), len(c.named), maxKept)
	}
}
