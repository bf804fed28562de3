package caddymodule

import (
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// Allow says who of those who logged in may pass: whoever fits one of its
// values. Nobody anonymous ever does.
type Allow struct {
	Any          bool                `json:"any,omitempty"`
	Users        []string            `json:"users,omitempty"` // preferred_username, or sub=…
	Roles        []string            `json:"roles,omitempty"`
	Groups       []string            `json:"groups,omitempty"`
	Emails       []string            `json:"emails,omitempty"`        // verified ones
	EmailDomains []string            `json:"email_domains,omitempty"` // of verified addresses
	Claims       map[string][]string `json:"claims,omitempty"`
}

func (a *Allow) permits(id session.Identity) bool {
	switch {
	case id.Anonymous():
		return false
	case a.Any, slices.Contains(a.Users, id.Name), slices.Contains(a.Users, "sub="+id.Subject):
		return true
	case overlap(a.Roles, id.Roles), overlap(a.Groups, id.Groups):
		return true
	}
	if id.EmailVerified && id.Email != "" {
		_, domain, _ := strings.Cut(id.Email, "@")
		if containsFold(a.Emails, id.Email) || containsFold(a.EmailDomains, domain) {
			return true
		}
	}
	for name, values := range a.Claims {
		if overlap(values, claimValues(id.Claims[name])) {
			return true
		}
	}
	return false
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func containsFold(list []string, s string) bool {
	return s != "" && slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, s) })
}
