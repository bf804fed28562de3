package console

import (
	"net/http"

	"github.com/nightlatch/nightlatch/page"
)

// notBefore is the policy by which tokens from before an instant are refused: of
// the realm, of a client or of a user. Each has a page, and two that ask.
type notBefore struct {
	head func(*visit) (Head, error)
	at   func(*visit) string // address of its page
	rest func(*visit) string // path of the record that has it
	push func(*visit) string // path that tells the applications, "" for none
	ends func(*visit) ([]string, error)
}

// routes of the pages at a path.
func (n notBefore) routes(at, menu string) []route {
	return []route{
		{at, menu, n.show, nil},
		asking(at+"/set", menu, n.set),
		asking(at+"/clear", menu, n.clear),
		asking(at+"/push", menu, n.tell),
	}
}

// of reads the value of now, in Unix seconds.
func (n notBefore) of(v *visit) (int64, error) {
	var record struct {
		NotBefore int64 `json:"notBefore"`
	}
	err := v.get(&record, n.rest(v))
	return record.NotBefore, err
}

func (n notBefore) value(v *visit, seconds int64) Fact {
	if seconds == 0 {
		return Fact{v.T("Not before"), Cell{Text: v.T("None")}}
	}
	return Fact{v.T("Not before"), v.moment(seconds * 1000)}
}

func (n notBefore) show(v *visit) error {
	head, err := n.head(v)
	if err != nil {
		return err
	}
	now, err := n.of(v)
	if err != nil {
		return err
	}
	head.Notice = v.notice()
	at := n.at(v)
	p := Panel{
		Head: head, Facts: []Fact{n.value(v, now)},
		Hint:    v.T("Sessions and tokens from this instant or earlier are refused. Of the realm's, the client's and the user's the latest counts."),
		Actions: []Action{{Name: v.T("Set to now"), URL: v.at(at + "/set"), Bad: true}},
	}
	if now > 0 {
		p.Actions = append(p.Actions, Action{Name: v.T("Clear"), URL: v.at(at + "/clear")})
	}
	if n.push(v) != "" {
		p.Actions = append(p.Actions, Action{Name: v.T("Push"), URL: v.at(at + "/push")})
	}
	if head.Tabs == nil {
		p.Actions = append(p.Actions, Action{Name: v.T("Cancel"), URL: head.Above.URL})
	}
	v.render(http.StatusOK, "panel", head.Title, p)
	return nil
}

func (n notBefore) question(v *visit, title page.Text, notice string) (*question, error) {
	head, err := n.head(v)
	if err != nil {
		return nil, err
	}
	q := newQuestion(Head{Title: v.T(title), Above: pageLink(head.Title, v.at(n.at(v)))}, n.at(v))
	q.notice = notice
	return q, nil
}

func (n notBefore) put(v *visit, seconds any) error {
	return v.send(http.MethodPut, n.rest(v), object{"notBefore": seconds})
}

func (n notBefore) set(v *visit) (*question, error) {
	q, err := n.question(v, "Set Not before to now?", "not-before-set")
	if err != nil {
		return nil, err
	}
	q.page.Then, err = n.ends(v)
	q.page.Button, q.page.Bad = v.T("Set to now"), true
	q.act = func() error { return n.put(v, float64(v.Now.UnixMilli())/1000) }
	return q, err
}

func (n notBefore) clear(v *visit) (*question, error) {
	q, err := n.question(v, "Clear Not before?", "not-before-cleared")
	if err != nil {
		return nil, err
	}
	q.page.Then = []string{v.T("Sessions that were refused only for it, and have not expired since, work again, offline ones included.")}
	q.page.Button = v.T("Clear")
	q.act = func() error { return n.put(v, 0) }
	return q, nil
}

func (n notBefore) tell(v *visit) (*question, error) {
	if n.push(v) == "" {
		return nil, errNothing
	}
	q, err := n.question(v, "Push Not before?", "pushed")
	if err != nil {
		return nil, err
	}
	q.page.Then = []string{v.T("Nothing ends by it, and no application has to be told: tokens are judged here at each use, so Not before is in force already.")}
	q.page.Button = v.T("Push")
	q.act = func() error { return v.send(http.MethodPost, n.push(v), nil) }
	return q, nil
}

func is(text string) func(*visit) string { return func(*visit) string { return text } }

var realmNotBefore = notBefore{
	head: func(v *visit) (Head, error) {
		return Head{Title: v.T("Revocation"), Above: pageLink(v.T("Sessions"), v.at("sessions"))}, nil
	},
	at: is("sessions/revocation"), rest: is(""), push: is("push-revocation"),
	ends: func(v *visit) ([]string, error) {
		t, err := v.totals()
		return v.endsAll(t), err
	},
}

var userNotBefore = notBefore{
	head: func(v *visit) (Head, error) {
		p, err := v.subject()
		if err != nil {
			return Head{}, err
		}
		return v.userHead(p, "revocation"), nil
	},
	at:   func(v *visit) string { return path("users", v.R.PathValue("user"), "revocation") },
	rest: func(v *visit) string { return path("users", v.R.PathValue("user")) },
	push: is(""),
	ends: func(v *visit) ([]string, error) {
		p, err := v.subject()
		if err != nil {
			return nil, err
		}
		has, err := v.holdings(p)
		return v.barring(p, has), err
	},
}
