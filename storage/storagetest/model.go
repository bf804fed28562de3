package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nightlatch/nightlatch/storage"
)

// testModel runs random transactions on the engine and on a map.
func testModel(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b, Now: func() time.Time { return noon }})
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		prefix := string(storage.Key("model", fmt.Sprint(round)))
		key := rapid.Custom(func(t *rapid.T) string {
			return prefix + rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0xff, '日'}), 0, 3, -1).Draw(t, "key")
		})
		model := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(t, "transactions") {
			next := maps.Clone(model)
			type op struct {
				kind, key, value string
				expires          time.Time
				limit            int
			}
			ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
				return op{
					kind:    rapid.SampledFrom([]string{"get", "many", "put", "put", "delete", "scan"}).Draw(t, "op"),
					key:     key.Draw(t, "k"),
					value:   rapid.StringN(0, 4, -1).Draw(t, "value"),
					expires: rapid.SampledFrom([]time.Time{{}, {}, noon.Add(time.Second), noon}).Draw(t, "expires"),
					limit:   rapid.IntRange(0, 12).Draw(t, "limit"),
				}
			}), 1, 20).Draw(t, "ops")
			apply := func(tx storage.Tx, model map[string]string, o op, write bool) {
				switch {
				case o.kind == "get":
					got, err := read(tx, o.key)
					want, ok := model[o.key]
					if !ok {
						want = "-"
					}
					if err != nil || got != want {
						t.Fatalf("get %q: %q, %v; want %q", o.key, got, err, want)
					}
				case o.kind == "many": // of all keys, some of them twice, and of one that may be absent
					want := []string{}
					keys := [][]byte{[]byte(o.key)}
					for _, k := range slices.Sorted(maps.Keys(model)) {
						keys = append(keys, []byte(k))
					}
					items, err := tx.GetMany(keys)
					if err != nil || len(items) != len(keys) {
						t.Fatalf("get %q: %d items, %v", keys, len(items), err)
					}
					got := []string{}
					for i, k := range keys {
						v, ok := model[string(k)]
						want = append(want, fmt.Sprintf("%q %v %q", k, ok, v))
						got = append(got, fmt.Sprintf("%q %v %q", k, items[i].Key != nil, items[i].Value))
						if ok && string(items[i].Key) != string(k) {
							t.Errorf("the item of %q has the key %q", k, items[i].Key)
						}
					}
					if !slices.Equal(got, want) {
						t.Fatalf("get many: %q; want %q", got, want)
					}
				case o.kind == "scan":
					var want []string
					for _, k := range slices.Sorted(maps.Keys(model)) {
						if k > o.key && len(want) < o.limit {
							want = append(want, k+"="+model[k])
						}
					}
					items, err := tx.Scan([]byte(prefix), []byte(o.key), o.limit)
					var got []string
					for _, it := range items {
						got = append(got, string(it.Key)+"="+string(it.Value))
					}
					if err != nil || !slices.Equal(got, want) {
						t.Fatalf("scan after %q of %d: %q, %v; want %q", o.key, o.limit, got, err, want)
					}
				case o.kind == "put" && write:
					if err := tx.Put(storage.Item{Key: []byte(o.key), Value: []byte(o.value), Expires: o.expires}); err != nil {
						t.Fatal(err)
					}
					if model[o.key] = o.value; o.expires.Equal(noon) {
						delete(model, o.key)
					}
				case o.kind == "delete" && write:
					if err := tx.Delete([]byte(o.key)); err != nil {
						t.Fatal(err)
					}
					delete(model, o.key)
				}
			}
			keep := rapid.SampledFrom([]bool{true, true, false}).Draw(t, "commit")
			err := s.Update(t.Context(), func(tx storage.Tx) error {
				next = maps.Clone(model)
				for _, o := range ops {
					apply(tx, next, o, true)
				}
				if !keep {
					return errRollback
				}
				return nil
			})
			if (err == nil) != keep {
				t.Fatalf("commit: %v, update: %v", keep, err)
			}
			if keep {
				model = next
			}
			if err := s.View(t.Context(), func(tx storage.Tx) error {
				for _, o := range ops {
					apply(tx, model, o, false)
				}
				apply(tx, model, op{kind: "scan", key: prefix[:len(prefix)-1], limit: 100}, false)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// person is a record with an index of each kind.
type person struct {
	Name   string   // unique
	Teams  []string // counted
	Colour string   // plain, "": none
}

var people = storage.Table[person]{
	Name: "person",
	Indexes: map[string]storage.Index[person]{
		"name": {Unique: true, Values: func(p *person) []string { return []string{p.Name} }},
		"team": {Counted: true, Values: func(p *person) []string { return p.Teams }},
		"colour": {Values: func(p *person) []string {
			return slices.DeleteFunc([]string{p.Colour}, func(c string) bool { return c == "" })
		}},
	},
}

// checkPeople compares all that the table tells of a scope with a model.
func checkPeople(tx storage.Tx, scope string, model map[string]person) error {
	var bad []error
	fail := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			bad = append(bad, fmt.Errorf("%s: %v; want %v", what, got, want))
		}
	}
	ids := slices.Sorted(maps.Keys(model))
	rows, err := people.List(tx, scope, "", 100)
	bad = append(bad, err)
	got := []string{}
	for _, r := range rows {
		got = append(got, r.ID)
		fail("record "+r.ID, *r.Record, model[r.ID])
	}
	fail("list", got, ids)
	for id := range model {
		row, err := people.GetBy(tx, scope, "name", model[id].Name)
		bad = append(bad, err)
		fail("by name", row.ID, id)
	}
	with := func(has func(person) bool) []string {
		out := []string{}
		for _, id := range ids {
			if has(model[id]) {
				out = append(out, id)
			}
		}
		return out
	}
	for _, v := range values {
		if _, err := people.GetBy(tx, scope, "name", v); (err == nil) != (len(with(func(p person) bool { return p.Name == v })) == 1) {
			bad = append(bad, fmt.Errorf("by name %q: %w", v, err))
		}
		team := with(func(p person) bool { return slices.Contains(p.Teams, v) })
		listed, err := people.IDsBy(tx, scope, "team", v, "", 100)
		fail("ids of team "+v, listed, team)
		n, err2 := people.Count(tx, scope, "team", v)
		fail("count of team "+v, n, len(team))
		for first := range len(team) + 2 {
			page, err := people.PageBy(tx, scope, "team", v, first, 2)
			bad = append(bad, err)
			got := []string{}
			for _, row := range page {
				got = append(got, row.ID)
			}
			from := min(first, len(team))
			fail(fmt.Sprintf("team %s from the %dth on", v, first), got, team[from:min(from+2, len(team))])
		}
		colour := with(func(p person) bool { return p.Colour == v && v != "" })
		var paged []string
		for after := ""; ; {
			page, err := people.ListBy(tx, scope, "colour", v, after, 2)
			bad = append(bad, err)
			for _, r := range page {
				paged = append(paged, r.ID)
			}
			if len(page) < 2 {
				break
			}
			after = page[1].ID
		}
		fail("pages of colour "+v, paged, colour)
		bad = append(bad, err, err2)
	}
	entries, err := people.Between(tx, scope, "team", storage.Entry{}, "\U0010ffff", 1000)
	bad = append(bad, err)
	var have, want []string
	for _, e := range entries {
		have = append(have, e.Value+"/"+e.ID)
	}
	for _, v := range slices.Sorted(slices.Values(values)) {
		for _, id := range with(func(p person) bool { return slices.Contains(p.Teams, v) }) {
			want = append(want, v+"/"+id)
		}
	}
	fail("all teams", have, want)
	return errors.Join(bad...)
}

// values are such that a sloppy key mixes them up.
var values = []string{"", "a", "aa", "a\x00", "b", "b\x00\x01a"}

func testTableModel(t *testing.T, b storage.Backend) {
	s := storage.New(storage.Config{Backend: b})
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		scopes := []string{fmt.Sprint("s", round), fmt.Sprint("s", round, "\x00")}
		models := map[string]map[string]person{scopes[0]: {}, scopes[1]: {}}
		value := rapid.SampledFrom(values)
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			scope := rapid.SampledFrom(scopes).Draw(t, "scope")
			id := rapid.SampledFrom([]string{"1", "2", "2\x00", "3"}).Draw(t, "id")
			p := person{Name: value.Draw(t, "name"), Teams: rapid.SliceOfN(value, 0, 4).Draw(t, "teams"), Colour: value.Draw(t, "colour")}
			remove := rapid.SampledFrom([]bool{false, false, true}).Draw(t, "remove")
			model := models[scope]
			taken := false
			for other, q := range model {
				taken = taken || other != id && q.Name == p.Name
			}
			err := s.Update(t.Context(), func(tx storage.Tx) error {
				if remove {
					return people.Delete(tx, scope, id)
				}
				// ErrTaken leaves the table whole, even if its caller goes on.
				if err := people.Put(tx, scope, id, &p); !taken || !errors.Is(err, storage.ErrTaken) {
					return err
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case remove:
				delete(model, id)
			case !taken:
				model[id] = p
			}
			for scope, model := range models {
				if err := s.View(t.Context(), func(tx storage.Tx) error { return checkPeople(tx, scope, model) }); err != nil {
					t.Fatalf("scope %q: %v", strings.ToValidUTF8(scope, "?"), err)
				}
			}
		}
	})
}
