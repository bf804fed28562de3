package adapter

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// finish writes what the login brought: the grant first, synced, then the
// session, then the cookie (A05). more is another login that should follow at
// once, nil for none.
func (rp *RelyingParty) finish(ctx context.Context, w http.ResponseWriter, r *http.Request, d *discovered, f flow, a answer) (more *flow, err error) {
	cookie, old, err := rp.session(r)
	if err != nil {
		return nil, err
	}
	same := old != nil && old.Identity.Subject == a.identity.Subject
	if f.Silent && (same || old == nil) {
		return nil, rp.refreshed(ctx, cookie, old, a)
	}
	// Another sub is a new login, whatever the flow was for.
	now := rp.config.Now().UTC()
	record := session.Record{
		Identity: a.identity, ProviderSession: a.sid, IDToken: a.raw, Scopes: scopesOf(a.tokens, f.Scopes), Refused: f.Refused,
	}
	if same {
		record.Created, record.Denied, record.Granted, record.Named = old.Created, old.Denied, old.Granted, old.Named
		if record.Refused == "" {
			record.Refused, record.Without = old.Refused, old.Without
		}
	}
	// Who may not come in leaves no grant behind.
	allowed := rp.allowed(rp.landing(ctx, r, f), &a.identity)
	had, err := rp.grantOf(ctx, a.identity.Subject)
	if err != nil {
		return nil, err
	}
	record.Identity.Offline = had.State == vault.Active
	switch {
	case f.Offline && allowed && rp.gaveOffline(d, a, f):
		login := rp.loginOf(d, a, f.Scopes, record.Scopes)
		lost, err := rp.config.Grants.Save(ctx, login)
		if err != nil {
			return nil, fmt.Errorf("saving grant: %w", err)
		}
		record.Identity.Offline, record.Refused, record.Without, record.Granted = true, "", false, now
		record.Denied, record.Named = without(f.Scopes, record.Scopes...), slices.Sorted(maps.Keys(login.Jobs))
		// A login never takes scopes away: another one asks for all.
		if len(lost) > 0 && !f.Merged {
			more = &flow{Return: f.Return, ReturnID: f.ReturnID, Offline: true, Merged: true, Scopes: union(f.Scopes, lost)}
		}
	case f.Offline && allowed && !rp.config.Provider.Local && !f.Consent && rp.config.Provider.AuthParams["prompt"] == "":
		// OpenID Connect Core §11: a provider may give it to prompt=consent only.
		more = &flow{Return: f.Return, ReturnID: f.ReturnID, Offline: true, Consent: true, Scopes: f.Scopes}
	case f.Offline && allowed:
		record.Refused, record.Without = "The login provider gave no offline token (offline_access).", false
		rp.config.Events("refused", rp.event("sub", a.identity.Subject, "error", "no_refresh_token"))
	case !f.Offline:
		record.RefreshToken, record.AccessExpires = a.tokens.RefreshToken, a.expires
	}
	fresh, err := rp.sessions.Create(ctx, record, cookie)
	if err != nil {
		return nil, err
	}
	rp.setCookie(w, "session", fresh, 0)
	rp.config.Events("login", rp.event(
		"sub", a.identity.Subject, "user", a.identity.Name, "offline", record.Identity.Offline, "allowed", allowed,
	))
	return more, nil
}

// refreshed notes what a silent login said. A session that ended meanwhile
// stays ended.
func (rp *RelyingParty) refreshed(ctx context.Context, cookie string, old *session.Record, a answer) error {
	if old == nil {
		return nil
	}
	now := rp.config.Now().UTC()
	_, err := rp.sessions.Change(ctx, cookie, func(s *session.Record) {
		offline := s.Identity.Offline
		s.Identity, s.ProviderSession, s.IDToken, s.Checked = a.identity, a.sid, a.raw, now
		s.Identity.Offline = offline
		s.RefreshToken, s.AccessExpires = a.tokens.RefreshToken, a.expires
	})
	return err
}

// gaveOffline tells whether the refresh token of an answer outlives the person's
// session at the provider. One that was given without the scope does not.
func (rp *RelyingParty) gaveOffline(d *discovered, a answer, f flow) bool {
	if a.tokens.RefreshToken == "" {
		return false
	}
	return !slices.Contains(f.Scopes, oidc.ScopeOfflineAccess) || slices.Contains(scopesOf(a.tokens, f.Scopes), oidc.ScopeOfflineAccess) || !d.supports(oidc.ScopeOfflineAccess)
}

func (rp *RelyingParty) loginOf(d *discovered, a answer, asked, granted []string) vault.Login {
	p, id := rp.config.Provider, a.identity
	var jobs vault.Jobs
	if d.namesJobs { // else it was not told of any
		jobs = jobsOf(a.tokens)
	}
	return vault.Login{
		Provider: p.Name, Client: p.ClientID, Site: rp.config.Site.String(),
		Sub: id.Subject, Username: id.Name, Email: id.Email, EmailVerified: id.EmailVerified, Groups: id.Groups, Asked: asked, Scopes: granted,
		Jobs:         jobs,
		RefreshToken: a.tokens.RefreshToken, AccessToken: a.tokens.AccessToken, AccessExpires: a.expires,
		IdleExpiresIn: seconds(a.tokens, "refresh_idle_expires_in"), RefreshExpiresIn: seconds(a.tokens, "refresh_expires_in"),
	}
}

// jobsOf are the jobs that the provider's consent page named (RFC 9396 §7); nil
// if it named none.
func jobsOf(tokens *oauth2.Token) vault.Jobs {
	raw, err := json.Marshal(tokens.Extra("authorization_details"))
	if err != nil {
		return nil
	}
	return vault.JobsOf(raw)
}

// grantOf is the person's grant, one that the provider refuses for now included;
// without one it holds nothing and is in no state.
func (rp *RelyingParty) grantOf(ctx context.Context, sub string) (vault.Grant, error) {
	found, err := rp.config.Grants.Find(ctx, vault.Query{Provider: rp.config.Provider.Name, Client: rp.config.Provider.ClientID, Sub: sub})
	if err != nil {
		return vault.Grant{}, err
	}
	for _, g := range found {
		if g.State == vault.Active || g.State == vault.Suspended {
			return g, nil
		}
	}
	return vault.Grant{}, nil
}
