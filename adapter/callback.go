package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
	"github.com/nightlatch/nightlatch/page"
)

// exchangeTime bounds a code exchange, which goes on when its tab is closed.
const exchangeTime = 15 * time.Second

// keepTime bounds the writing of what a login brought, which is worth more patience: a
// node that died at the person's grant holds it for a while.
const keepTime = 2 * vault.HeldFor

// dropFlow ends a flow in the browser: its answer has come.
func (rp *RelyingParty) dropFlow(w http.ResponseWriter, f flow) {
	rp.setCookie(w, flowKind(f.State), "", -1)
}

// callback takes the provider's answer.
func (rp *RelyingParty) callback(w http.ResponseWriter, r *http.Request) {
	if !rp.method(w, r, http.MethodGet) {
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	for _, name := range []string{"state", "code", "error", "error_description", "iss"} {
		if len(query[name]) > 1 {
			err = errors.New("repeated parameter")
		}
	}
	f, known := rp.openFlow(r, query.Get("state"))
	if err != nil || !known || !rp.began(f) {
		// Never from another browser: that would log somebody into a stranger's
		// account.
		rp.config.Refused("unknown_login")
		rp.fail(w, r, http.StatusBadRequest, "invalid_request", "This login has ended or began in another browser. Go back to the page that you wanted and try again.")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeTime+keepTime)
	defer cancel()
	d, err := rp.discover(ctx)
	if err != nil {
		rp.unavailable(w, r, err) // no code was sent: loading the page again goes on
		return
	}
	if iss := query.Get("iss"); iss != rp.config.Provider.Issuer && (iss != "" || d.issInReply) {
		rp.dropFlow(w, f)
		rp.reject(ctx, w, r, f, "other_provider", "The answer comes from another login provider.", nil) // RFC 9207 §2.4
		return
	}
	code, failure := query.Get("code"), query.Get("error")
	switch {
	case failure != "":
		rp.dropFlow(w, f)
		rp.declined(ctx, w, r, f, failure, query.Get("error_description"))
		return
	case code == "":
		rp.dropFlow(w, f)
		rp.reject(ctx, w, r, f, "incomplete", "The answer of the login provider is not complete.", nil)
		return
	}
	more, err := rp.complete(ctx, w, r, d, f, code)
	// Where the code may be sent again, loading the page again does so.
	if !d.mayRepeat(f) || !passing(err) {
		rp.dropFlow(w, f)
	}
	switch {
	case err != nil:
		rp.exchangeFailed(ctx, w, r, f, err)
	case more != nil:
		rp.begin(w, r, *more)
	default:
		rp.redirect(w, r, rp.wayBack(ctx, f))
	}
}

// complete exchanges the code and writes what it brought; more is another login
// that should follow at once, nil for none.
func (rp *RelyingParty) complete(ctx context.Context, w http.ResponseWriter, r *http.Request, d *discovered, f flow, code string) (more *flow, err error) {
	within, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	a, err := rp.exchange(within, d, f, code)
	if err != nil {
		return nil, err
	}
	return rp.finish(ctx, w, r, d, f, a)
}

// noes are the errors that say no to background access, not to the login; those
// of a silent login say that a page is needed.
var (
	noes      = []string{"access_denied", "invalid_scope", "consent_required", "interaction_required", "not_allowed"}
	needsPage = []string{"login_required", "interaction_required", "consent_required", "account_selection_required", "access_denied"}
)

// declined handles an error answer. A no to background access still lets the
// person in: without a session the login is asked for again, without it (A04).
func (rp *RelyingParty) declined(ctx context.Context, w http.ResponseWriter, r *http.Request, f flow, code, description string) {
	switch {
	case f.Silent && slices.Contains(needsPage, code):
		// The provider does not know this person any more.
		rp.endSession(ctx, w, r)
		rp.begin(w, r, flow{Return: f.Return, ReturnID: f.ReturnID})
	case f.Silent:
		rp.postponeRechecks()
		rp.redirect(w, r, rp.wayBack(ctx, f))
	case f.Offline && slices.Contains(noes, code):
		reason := sentence(description, code)
		rp.config.Events("refused", rp.event("error", printable(code)))
		cookie, record, err := rp.session(r)
		if err == nil && record != nil {
			record, err = rp.sessions.Change(ctx, cookie, func(s *session.Record) { s.Refused, s.Without = reason, false })
		}
		switch {
		case err != nil:
			rp.unavailable(w, r, err)
		case record != nil:
			rp.redirect(w, r, rp.wayBack(ctx, f))
		default:
			rp.begin(w, r, flow{Return: f.Return, ReturnID: f.ReturnID, Refused: reason})
		}
	case code == "temporarily_unavailable" || code == "server_error":
		rp.unavailable(w, r, fmt.Errorf("logging in: the provider answered %s", printable(code)))
	default:
		rp.reject(ctx, w, r, f, "declined", sentence(description, code), nil)
	}
}

// sentence makes a text of a provider's error, harmless wherever it is shown.
func sentence(description, code string) page.Text {
	text := cmp.Or(description, code)
	switch text {
	case "access_denied":
		return "The request was declined."
	case "the user declined": // as our own realm has it
		return "You did not allow it."
	}
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(300, len(text))], ""))
	if first, _, _ := strings.Cut(text, " "); text != "" && !strings.Contains(first, "_") {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return page.Text(strings.TrimSuffix(text, ".") + ".")
}

// exchangeFailed tells a no to background access, which some providers say only
// here, a provider that is away, and an answer that must not be trusted.
func (rp *RelyingParty) exchangeFailed(ctx context.Context, w http.ResponseWriter, r *http.Request, f flow, err error) {
	var answered *oauth2.RetrieveError
	switch {
	case passing(err):
		rp.unavailable(w, r, bare(err))
	case !errors.As(err, &answered):
		rp.reject(ctx, w, r, f, "unverified", "The answer of the login provider could not be verified.", err)
	case f.Offline && slices.Contains(noes, answered.ErrorCode):
		rp.declined(ctx, w, r, f, answered.ErrorCode, answered.ErrorDescription)
	default:
		rp.reject(ctx, w, r, f, "not_accepted", "The login provider did not accept the login.", bare(err))
	}
}

// passing tells that an exchange failed by something that may be over in a
// moment: no answer, one that says so, or a store that does not write now.
func passing(err error) bool {
	if answered := (*oauth2.RetrieveError)(nil); errors.As(err, &answered) {
		return transient(answered.Response.StatusCode)
	}
	return err != nil && !errors.As(err, new(*untrusted))
}

func transient(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// bare leaves the body of a provider's answer out of an error: nobody knows what
// it holds.
func bare(err error) error {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) {
		return fmt.Errorf("asking token endpoint: status %d, error %q", answered.Response.StatusCode, printable(answered.ErrorCode))
	}
	return err
}

// reject ends a login that cannot be trusted or was refused: kind is one of a few
// words, text for people.
func (rp *RelyingParty) reject(ctx context.Context, w http.ResponseWriter, r *http.Request, f flow, kind string, text page.Text, cause error) {
	rp.config.Log.WarnContext(ctx, "login failed", "reason", string(text), "err", cause)
	rp.parties.forget(w) // another choice may do better
	rp.config.Events("login_failed", rp.event("error", kind, "reason", string(text)))
	rp.failure(w, r, fault{status: http.StatusForbidden, heading: "You are not logged in", text: text, code: "login_failed", again: rp.wayBack(ctx, f)})
}

// event begins the data of an event of this site.
func (rp *RelyingParty) event(more ...any) map[string]any {
	data := map[string]any{"site": rp.config.Site.String(), "provider": rp.config.Provider.Name}
	for i := 0; i+1 < len(more); i += 2 {
		data[more[i].(string)] = more[i+1]
	}
	return data
}
