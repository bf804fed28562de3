package declared_test

import (
	"slices"
	"testing"

	"github.com/nightlatch/nightlatch/provider/declared"
)

type record struct {
	ID       string   `json:"id"`
	Enabled  bool     `json:"enabled"`
	Name     string   `json:"name,omitempty"`
	Text     string   `json:"text,omitempty"`
	Single   bool     `json:"single,omitempty"`
	URIs     []string `json:"uris"`
	Declared []string `json:"declared,omitempty"`
}

func TestMerge(t *testing.T) {
	base := record{Enabled: true, Name: "nobody", Text: "none"}
	merge := func(have, d record) record {
		t.Helper()
		out, err := declared.Merge(have, base, d, "id", "enabled")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := merge(base, record{ID: "ignored", Name: "a", Single: true})
	if first.ID != "" || !first.Enabled || first.Text != "none" || first.Name != "a" || !first.Single || !slices.Equal(first.Declared, []string{"name", "single"}) {
		t.Errorf("first: %+v", first)
	}
	// What administrators change beside the declaration stays; state does too.
	first.ID, first.Enabled, first.Text, first.URIs = "1", false, "theirs", []string{"u"}
	same := merge(first, record{Name: "a", Single: true})
	if same.ID != "1" || same.Enabled || same.Text != "theirs" || !slices.Equal(same.URIs, []string{"u"}) {
		t.Errorf("the same again: %+v", same)
	}
	// A switch that is named is declared to be off.
	same.Single = true
	if off := merge(same, record{Name: "a", Declared: []string{"name", "single"}}); off.Single || off.Name != "a" || !slices.Equal(off.Declared, []string{"name", "single"}) {
		t.Errorf("a switch declared to be off: %+v", off)
	}
	// What leaves the declaration goes, what comes wins.
	next := merge(same, record{Text: "ours", URIs: []string{}})
	if next.Name != "nobody" || next.Single || next.Text != "ours" || next.URIs == nil || len(next.URIs) != 0 || next.Enabled ||
		!slices.Equal(next.Declared, []string{"text", "uris"}) {
		t.Errorf("another: %+v", next)
	}
}

func TestChanged(t *testing.T) {
	a := record{ID: "1", Name: "a", URIs: []string{"u"}, Declared: []string{"name", "uris"}}
	b := a
	b.Text, b.Enabled = "theirs", true
	for _, tt := range []struct {
		name string
		edit func(*record)
		want string
	}{
		{"what is not declared", func(*record) {}, ""},
		{"a declared text", func(r *record) { r.Name = "b" }, "name"},
		{"a declared list", func(r *record) { r.URIs = []string{"u", "v"} }, "uris"},
		{"a declared field emptied", func(r *record) { r.Name = "" }, "name"},
	} {
		after := b
		tt.edit(&after)
		got, err := declared.Changed(&a, &after, a.Declared)
		if err != nil || (tt.want == "") != (len(got) == 0) || len(got) > 0 && got[0] != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}
