package adapter

import "github.com/nightlatch/nightlatch/page"

// verdict is what becomes of a request.
type verdict int

const (
	pass         verdict = iota // to the app
	logIn                       // redirect to the provider
	stepUp                      // redirect for background access
	renew                       // redirect without a page, for fresh claims
	cleanURL                    // redirect to the URL without our parameter
	unauthorized                // 401: nobody is logged in
	forbidden                   // 403: this person may not come in
	refused                     // 403: the page that says why there is no background access
	nameJobs                    // the page where a person allows jobs by name
	needsGrant                  // 403 for a program: a person has to consent first

)

// facts is all that a verdict depends on.
type facts struct {
	navigation bool // a top-level GET of a browser
	public     bool
	loggedIn   bool
	allowed    bool
	stale      bool // claims have to be renewed by a navigation
	parameter  bool // ?scope=…offline_access… is in the URL
	offline    Offline
	granted    bool      // a grant holds what is asked for
	unnamed    bool      // but the person has not allowed each job by name
	atProvider bool      // the provider's consent page names jobs
	refused    page.Text // why there is none, as remembered in the session
	without    bool      // the person goes on without
}

// judge decides. Only a top-level GET is ever redirected to the provider: any
// other request would lose its body or its caller.
func judge(f facts) verdict {
	switch {
	case f.public:
		return pass
	case !f.loggedIn && f.navigation:
		return logIn
	case !f.loggedIn:
		return unauthorized
	case f.stale && f.navigation:
		return renew
	case !f.allowed:
		return forbidden
	}
	if v := judgeOffline(f); v != pass {
		return v
	}
	if f.parameter && f.navigation {
		return cleanURL
	}
	return pass
}

// judgeOffline decides about background access, for somebody who may come in
// (A02–A04). Every redirect leads to a grant or to a refusal that is remembered,
// so that none is repeated by itself.
func judgeOffline(f facts) verdict {
	said := f.refused != "" || f.without
	switch {
	case f.granted && (!f.unnamed || !f.navigation):
		return pass // what a page's scripts ask for does not wait for a new job
	case f.parameter && f.navigation && said:
		return refused // asked for by name: the page offers to try again
	case f.without:
		return pass
	case f.offline.Required && f.navigation && said:
		return refused
	case (f.offline.Required || f.parameter || f.offline.Optional && !said) && f.navigation:
		if f.granted && !f.atProvider {
			return nameJobs
		}
		return stepUp
	case f.offline.Required:
		return needsGrant
	}
	return pass
}
