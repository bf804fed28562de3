package console

import (
	"errors"
	"net/http"
)

// question is a page that asks before it changes something, and says what the
// change will touch.
type question struct {
	page   Confirm
	fields []Field      // what the question is about, which its form brings along
	act    func() error // the change
	next   string       // page to go on to
	notice string       // there; a key of notices
}

// newQuestion goes on to a page, whatever the answer.
func newQuestion(head Head, next string) *question {
	return &question{page: Confirm{Head: head}, next: next}
}

// asking is the route of a question: GET asks, POST does it. of reads what the
// change will touch; with errGone it may return a question that has a next alone.
func asking(path, menu string, of func(*visit) (*question, error)) route {
	get := func(v *visit) error {
		q, err := of(v)
		if err == nil {
			q.show(v, http.StatusOK)
		}
		return err
	}
	post := func(v *visit) error {
		q, err := of(v)
		if err == nil {
			err = q.act()
		}
		var refused *Refused
		switch {
		case err == nil:
			return v.done(q.next, q.notice)
		case q != nil && errors.Is(err, errGone):
			return v.done(q.next, "gone")
		case !errors.As(err, &refused):
			return err
		}
		q.page.Problem = sentence(refused.Error())
		q.show(v, refused.Status)
		return nil
	}
	return route{path, menu, get, post}
}

func (q *question) show(v *visit, status int) {
	q.page.Form = Form{Action: v.R.URL.EscapedPath(), CSRF: v.h.Reception.Proof(v.Visit), Fields: q.fields}
	if q.page.Back == "" {
		q.page.Back = v.at(q.next)
	}
	v.render(status, "confirm", q.page.Title, q.page)
}
