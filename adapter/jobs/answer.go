package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// failure is an error answer (RFC 6749 §5.2) with the members of docs/jobs.md.
type failure struct {
	status      int
	retryAfter  time.Duration
	cause       error  // for the log alone
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	GrantStatus string `json:"grant_status,omitempty"`
	Reconsent   string `json:"reconsent_uri,omitempty"`
	Consent     string `json:"consent_uri,omitempty"`
	Rule        string `json:"rule,omitempty"`
}

func malformed(description string) *failure {
	return &failure{status: http.StatusBadRequest, Code: "invalid_request", Description: description}
}

func (f *failure) write(w http.ResponseWriter) {
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="nightlatch jobs", charset="UTF-8"`)
	}
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
	}
	writeJSON(w, f.status, f)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the job has hung up
}

// failed turns an error of the vault into the answer for the job.
func failed(err error, site Site) *failure {
	if errors.Is(err, vault.ErrNoGrant) {
		return noGrant(site)
	}
	e := new(vault.Error)
	if !errors.As(err, &e) {
		e = &vault.Error{Class: vault.ClassTransient, RetryAfter: time.Second}
	}
	switch e.Class {
	case vault.ClassSuspended, vault.ClassFinal:
		return &failure{
			status: http.StatusBadRequest, Code: "invalid_grant", GrantStatus: e.Status, Reconsent: site.ConsentURI,
			Description: "the provider does not accept the grant; the person can allow background access again at reconsent_uri",
		}
	case vault.ClassRequest:
		return &failure{status: http.StatusBadRequest, Code: e.Code, Description: "this grant does not allow it"}
	case vault.ClassOperator:
		return unavailable(err, e.RetryAfter, "the gateway's client is not accepted by the provider; its operator has to act")
	}
	if errors.Is(err, context.Canceled) {
		err = nil // the job has left
	}
	return unavailable(err, e.RetryAfter, "the provider or the store is away for the moment")
}

func unavailable(cause error, after time.Duration, description string) *failure {
	return &failure{
		status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Description: description,
		retryAfter: max(after, time.Second), cause: cause,
	}
}

func noGrant(site Site) *failure {
	return &failure{
		status: http.StatusNotFound, Code: "no_grant", Consent: site.ConsentURI,
		Description: "this person has not allowed background access; that is done at consent_uri",
	}
}

// notAllowed: there is a grant, but the person has not allowed this job to use it.
func notAllowed(r *rule) *failure {
	return &failure{
		status: http.StatusNotFound, Code: "no_grant", Consent: r.site.ConsentURI,
		Description: "this person has not allowed the job " + printable(r.Name) + "; that is done at consent_uri",
	}
}

// printable keeps what a stranger sent short and harmless in a description
// (RFC 6749 §5.2).
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}
