package user

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/storage"
)

// names of a user, in lower case, by which a search finds him.
func names(u *User) []string {
	out := []string{}
	for _, name := range []string{u.Username, u.Email, u.FirstName, u.LastName} {
		if name = strings.ToLower(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Word of a search, in lower case: it begins a name or address; *x* is anywhere,
// "x" the whole.
type Word string

// Fits tells whether one of a user's names is like the word.
func (w Word) Fits(u *User) bool { return slices.ContainsFunc(names(u), w.is) }

func (w Word) is(name string) bool {
	from, to, part := w.between()
	return name >= from && name <= to && strings.Contains(name, part)
}

// between which names are those that are like the word, as far as the order of
// names tells; of those are the ones that contain part.
func (w Word) between() (from, to, part string) {
	text := string(w)
	if whole, ok := strings.CutPrefix(text, `"`); ok && strings.HasSuffix(whole, `"`) {
		text = strings.TrimSuffix(whole, `"`)
		return text, text, ""
	}
	if anywhere, ok := strings.CutPrefix(text, "*"); ok {
		return "", beyond, strings.TrimSuffix(anywhere, "*")
	}
	text = strings.TrimSuffix(text, "*")
	return text, text + beyond, ""
}

// beyond is greater than every text that begins with the same part.
const beyond = "\xff"

// Words of a search.
func Words(search string) (out []Word) {
	for _, word := range strings.Fields(strings.ToLower(search)) {
		out = append(out, Word(word))
	}
	return out
}

// Found is a part of what a search finds.
type Found struct {
	Users  []*User
	Looked int    // names that were looked at
	Next   string // where the search goes on; "" at its end
}

// A part of a search reads so many index rows and records at most: some 20 ms,
// whatever is looked for.
const (
	searchRows    = 10_000
	searchRecords = 500
)

// Search looks for people who have a name like each of the words, or lists all, at
// most limit of them, in the order of the names by which it finds them. It looks
// at a bounded number, so a part may have few, or none, and yet a Next, from which
// after goes on. It returns storage.ErrCursor for an after that is not of this
// search.
func Search(tx storage.Tx, realm string, words []Word, after string, limit int) (Found, error) {
	index, by := "name", Word("")
	if len(words) > 0 {
		// By the one that leaves out most: by its beginning, the longer the better.
		index, by = "names", slices.MaxFunc(words, func(a, b Word) int {
			fromA, _, _ := a.between()
			fromB, _, _ := b.between()
			return cmp.Compare(len(fromA), len(fromB))
		})
	}
	from, to, _ := by.between()
	at := storage.Entry{Value: from}
	if after != "" {
		var err error
		if at, err = storage.ParseEntry(after); err != nil || at.Value < from || at.Value > to {
			return Found{}, storage.ErrCursor
		}
	}
	var out Found
	for records := 0; ; {
		entries, err := Users.Between(tx, realm, index, at, to, 500)
		if err != nil || len(entries) == 0 {
			return out, err
		}
		for len(entries) > 0 {
			// Records are read together, not many more than are wanted.
			var ids []string
			n := 0
			for ; n < len(entries) && len(ids) < min(limit-len(out.Users)+5, searchRecords-records); n++ {
				if by.is(entries[n].Value) {
					ids = append(ids, entries[n].ID)
				}
			}
			rows, err := Users.GetMany(tx, realm, ids)
			if err != nil {
				return Found{}, fmt.Errorf("searching users: %w", err)
			}
			for _, e := range entries[:n] {
				if len(out.Users) == limit {
					break
				}
				at = e
				out.Looked++
				if !by.is(e.Value) {
					continue
				}
				u := rows[0].Record
				rows = rows[1:]
				records++
				if first(u, by, index) == e.Value && !slices.ContainsFunc(words, func(w Word) bool { return !w.Fits(u) }) {
					out.Users = append(out.Users, u)
				}
			}
			entries = entries[n:]
			if len(out.Users) == limit || records >= searchRecords || out.Looked >= searchRows {
				rest, err := Users.Between(tx, realm, index, at, to, 1)
				if len(rest) > 0 {
					out.Next = at.String()
				}
				return out, err
			}
		}
	}
}

// first of the names by which a search comes upon a user: he is found once.
func first(u *User, by Word, index string) string {
	if index == "name" {
		return strings.ToLower(u.Username)
	}
	var out []string
	for _, name := range names(u) {
		if by.is(name) {
			out = append(out, name)
		}
	}
	return slices.Min(out)
}
