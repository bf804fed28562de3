package jobs

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

const (
	maxBody    = 64 << 10 // bytes of a form
	maxPurpose = 256      // bytes
	maxTTL     = 24 * time.Hour
)

// readForm reads the body of a POST or the query of a GET. A parameter that
// comes twice is refused (RFC 6749 §3.2), and so is a query of a POST, since it
// would be in every log.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *failure) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if raw != "" {
			return nil, malformed("parameters belong into the body")
		}
		if !isForm(r.Header.Get("Content-Type")) {
			return nil, malformed("the body must be application/x-www-form-urlencoded")
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			return nil, &failure{status: http.StatusRequestEntityTooLarge, Code: "invalid_request", Description: "the body is larger than 64 KiB"}
		}
		if err != nil {
			return nil, malformed("the body could not be read")
		}
		raw = string(body)
	}
	form, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed("the form is malformed")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, malformed("parameter " + printable(name) + " is repeated")
		}
	}
	return form, nil
}

func isForm(contentType string) bool {
	const form = "application/x-www-form-urlencoded"
	if contentType == form {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == form
}

// ask is a parsed POST /token.
type ask struct {
	who             person
	provider, site  string
	scopes          []string
	resource        string
	minTTL          time.Duration
	purpose         string
	scopesWereGiven bool
}

func parseAsk(form url.Values) (ask, *failure) {
	who, f := parseWho(form)
	if f != nil {
		return ask{}, f
	}
	a := ask{
		who: who, provider: form.Get("provider"), site: strings.TrimSuffix(form.Get("site"), "/"),
		scopes: strings.Fields(form.Get("scope")), resource: form.Get("resource"), purpose: form.Get("purpose"),
	}
	a.scopesWereGiven = len(a.scopes) > 0
	if a.minTTL, f = parseTTL(form.Get("min_ttl")); f != nil {
		return ask{}, f
	}
	if len(a.purpose) > maxPurpose || strings.ContainsFunc(a.purpose, unicode.IsControl) {
		return ask{}, malformed("purpose must be at most 256 bytes without control characters")
	}
	if a.resource != "" {
		// RFC 8707 §2
		if u, err := url.Parse(a.resource); err != nil || !u.IsAbs() || u.Fragment != "" {
			return ask{}, &failure{status: http.StatusBadRequest, Code: "invalid_target", Description: "resource must be an absolute URI without a fragment"}
		}
	}
	return a, nil
}

// parseWho wants exactly one name.
func parseWho(form url.Values) (person, *failure) {
	var who person
	for _, kind := range []string{byUser, bySub, byEmail, byGrantID} {
		if value := form.Get(kind); value != "" {
			if who.kind != "" {
				return person{}, malformed("only one of user, sub, email and grant_id may be given")
			}
			who = person{kind, value}
		}
	}
	if who.kind == "" {
		return person{}, malformed("one of user, sub, email and grant_id is required")
	}
	return who, nil
}

// parseTTL reads a duration (60s, 15m) or a number of seconds.
func parseTTL(s string) (time.Duration, *failure) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if n, numErr := strconv.Atoi(s); numErr == nil && n <= int(maxTTL/time.Second) {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 || d > maxTTL {
		return 0, malformed("min_ttl must be a duration such as 60s, at most 24h")
	}
	return d, nil
}

func (p person) query(site Site) vault.Query {
	q := vault.Query{Provider: site.Provider, Client: site.Client}
	switch p.kind {
	case byUser:
		q.User = p.value
	case bySub:
		q.Sub = p.value
	case byEmail:
		q.Email = p.value
	case byGrantID:
		q.GrantID = p.value
	}
	return q
}
