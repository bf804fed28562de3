package console

import (
	"net/http"
	"strconv"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
)

// perPage is how many rows a page of a list has.
const perPage = 20

// paging is where a page of a list begins, and whether there is a next one.
type paging struct {
	param string // that says where
	first int
	more  bool
}

// listed reads a page of a list of the REST; param of the visit says where it
// begins. One row more than is shown tells whether there is a next page.
func listed[T any](v *visit, param, path string, query ...string) (rows []T, p paging, err error) {
	p.param = param
	if at := v.Params.Get(param); at != "" {
		if p.first, err = strconv.Atoi(at); err != nil || p.first < 0 {
			return nil, p, oidc.Errorf(oidc.CodeInvalidRequest, "%s: want a whole number", param).WithStatus(http.StatusBadRequest)
		}
	}
	query = append(query, "first", strconv.Itoa(p.first), "max", strconv.Itoa(perPage+1))
	if err := v.get(&rows, path, query...); err != nil {
		return nil, p, err
	}
	p.more = len(rows) > perPage
	return rows[:min(len(rows), perPage)], p, nil
}

// turn gives a table the links to the pages beside this one, which have the same
// parameters.
func (p paging) turn(v *visit, t *Table, at string, params ...string) {
	to := func(first int) string {
		where := ""
		if first > 0 {
			where = strconv.Itoa(first)
		}
		return v.at(at, append(params, p.param, where)...)
	}
	if p.first > 0 {
		t.Newer = to(max(p.first-perPage, 0))
	}
	if p.more {
		t.Older = to(p.first + perPage)
	}
}

// count reads a number of the REST.
func (v *visit) count(path string, params ...string) (int, error) {
	var answer struct {
		Count int `json:"count"`
	}
	err := v.get(&answer, path, params...)
	return answer.Count, err
}

// moment is an instant of the REST, in Unix milliseconds, as a cell; 0: none.
func (v *visit) moment(ms int64) Cell {
	if ms == 0 {
		return Cell{Text: "—"}
	}
	at := v.words().At(time.UnixMilli(ms), v.Now)
	return Cell{At: &at}
}
