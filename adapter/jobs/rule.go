package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// rule is a job as it is judged.
type rule struct {
	Job
	site   Site
	secret []byte
	users  []person
}

// person is one way to name people: by a field of the grant, or everybody.
type person struct{ kind, value string }

// Kinds of person; the first four are form parameters too.
const (
	byUser    = "user"
	bySub     = "sub"
	byEmail   = "email"
	byGrantID = "grant_id"
	byGroup   = "group"
	everybody = "*"
)

func newRule(j Job, sites []Site, key []byte) (*rule, error) {
	if err := j.Validate(); err != nil {
		return nil, err
	}
	r := &rule{Job: j, secret: j.SecretHash}
	r.Secret = ""
	if j.Secret != "" {
		r.secret = HashSecret(key, j.Secret)
	}
	var err error
	if r.site, err = siteOf(j, sites); err != nil {
		return nil, err
	}
	for _, u := range j.Users {
		p := parsePerson(u)
		if p.kind == byUser && !r.site.Local {
			// A foreign account could pick any name.
			return nil, fmt.Errorf("option users: %q: people of provider %s are named by sub=, email= or group=, not by a name that they could pick", u, r.site.Provider)
		}
		r.users = append(r.users, p)
	}
	return r, nil
}

// Validate reports the first thing about a job that cannot work, whatever sites
// there are.
func (j Job) Validate() error {
	switch {
	case j.Name == "":
		return errors.New("a job needs a name")
	case strings.Contains(j.Name, ":"):
		return errors.New("a name with a colon cannot be sent by Basic authentication: want another")
	case j.Secret == "" && len(j.SecretHash) == 0:
		return errors.New("option secret is missing or empty: want what the job authenticates with")
	}
	for _, u := range j.Users {
		if p := parsePerson(u); p.value == "" && p.kind != everybody {
			return fmt.Errorf("option users: %q: want a name, sub=…, email=…, group=… or *", u)
		}
	}
	return nil
}

func siteOf(j Job, sites []Site) (Site, error) {
	want := strings.TrimSuffix(j.Site, "/")
	var found []Site
	var all []string
	for _, s := range sites {
		all = append(all, s.URL)
		s.URL = strings.TrimSuffix(s.URL, "/")
		if s.ConsentURI == "" {
			s.ConsentURI = s.URL
		}
		if (want == "" || s.URL == want) && (j.Provider == "" || s.Provider == j.Provider) {
			found = append(found, s)
		}
	}
	slices.Sort(all) // sites come in any order
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1 && found[0].URL == found[len(found)-1].URL:
		var providers []string
		for _, s := range found {
			providers = append(providers, s.Provider)
		}
		return Site{}, fmt.Errorf("option provider is missing: site %s has several: want one of %s", found[0].URL, strings.Join(providers, ", "))
	case len(found) > 1:
		return Site{}, fmt.Errorf("option site is missing: want one of %s", strings.Join(all, ", "))
	case len(all) == 0:
		return Site{}, errors.New("there are no grants to use: no site has the directive nightlatch")
	case j.Provider != "" && want == "":
		return Site{}, fmt.Errorf("option provider: no site has provider %s", j.Provider)
	case j.Provider != "":
		return Site{}, fmt.Errorf("option site: no site %s has provider %s", want, j.Provider)
	}
	return Site{}, fmt.Errorf("option site: %q has no directive nightlatch: want one of %s", want, strings.Join(all, ", "))
}

func parsePerson(s string) person {
	if s == everybody {
		return person{kind: everybody}
	}
	if kind, value, ok := strings.Cut(s, "="); ok && slices.Contains([]string{bySub, byEmail, byGroup}, kind) {
		return person{kind, value}
	}
	return person{byUser, s}
}

// is compares people of one kind; names and addresses without regard to case.
func (p person) is(o person) bool {
	if p.kind != o.kind {
		return false
	}
	if p.kind == byUser || p.kind == byEmail {
		return strings.EqualFold(p.value, o.value)
	}
	return p.value == o.value
}

func (p person) matches(g *vault.Grant) bool {
	switch p.kind {
	case everybody:
		return true
	case byUser:
		return g.Local && p.is(person{byUser, g.Username})
	case bySub:
		return p.value == g.Sub
	case byEmail:
		return g.EmailVerified && p.is(person{byEmail, g.Email})
	case byGroup:
		return slices.Contains(g.Groups, p.value)
	}
	return false
}

// verdict on a name, before anything is looked up.
type verdict int

const (
	denied  verdict = iota // no grant that the name could stand for is the rule's
	depends                // on the grant; one that is absent is denied like a stranger's
	allowed
)

// judge says what the rule says about a name alone.
func (r *rule) judge(who person) verdict {
	v := denied
	for _, p := range r.users {
		switch {
		case p.kind == everybody, p.is(who):
			return allowed
		case p.kind != who.kind:
			v = depends
		}
	}
	return v
}

// covers tells whether a grant is the rule's.
func (r *rule) covers(g *vault.Grant) bool {
	return g.Provider == r.site.Provider && g.Client == r.site.Client &&
		slices.ContainsFunc(r.users, func(p person) bool { return p.matches(g) })
}

// consented tells whether the person allowed this job by name. What is over has
// nothing to allow any more, and says so itself.
func (r *rule) consented(g *vault.Grant) bool {
	_, named := g.Jobs[r.Name]
	return named || g.State == vault.Ended
}

// deny names the part of the rule that forbids.
func (r *rule) deny(part string) *failure {
	return &failure{
		status: 403, Code: "access_denied", Rule: r.Name + "/" + part,
		Description: "the rule of this job does not allow it",
	}
}

// listed tells whether the rule names each of its people, so that their grants
// can be looked up one by one.
func (r *rule) listed() bool {
	return !slices.ContainsFunc(r.users, func(p person) bool { return p.kind == everybody || p.kind == byGroup })
}
