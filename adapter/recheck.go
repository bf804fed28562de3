package adapter

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// dueAt is when the provider has to vouch for a session again: when its claims are as
// old as recheck, and with a refresh token ahead of the access token's expiry already,
// a fifth of its life or a minute before, but not in the first half of it.
func dueAt(record *session.Record, recheck time.Duration) time.Time {
	due := record.Checked.Add(recheck)
	if record.RefreshToken == "" || record.AccessExpires.IsZero() {
		return due
	}
	life := record.AccessExpires.Sub(record.Checked)
	ahead := record.AccessExpires.Add(-min(max(life/5, time.Minute), life/2))
	if ahead.Before(due) {
		return ahead
	}
	return due
}

// renewClaims asks the provider anew by the session's own refresh token. It
// returns nil, without an error, if the session is over.
func (rp *RelyingParty) renewClaims(ctx context.Context, cookie string) (*session.Record, error) {
	record, err := rp.sessions.Get(ctx, cookie)
	if err != nil || record == nil || record.RefreshToken == "" || rp.config.Now().Before(dueAt(record, rp.config.SessionRecheck)) {
		return record, err // somebody was faster
	}
	d, err := rp.discover(ctx)
	if err != nil {
		return nil, err
	}
	now := rp.config.Now().UTC() // before it is asked: what ends meanwhile is not vouched for
	tokens, err := rp.refresh(ctx, d, cookie, record.RefreshToken)
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) && answered.ErrorCode == "invalid_grant" {
		// Another node may have used the token: its record is newer then.
		if now, rerr := rp.sessions.Reread(ctx, cookie); rerr != nil || now == nil || now.RefreshToken != record.RefreshToken {
			return now, rerr
		}
		return nil, rp.sessions.End(ctx, cookie)
	}
	if err != nil {
		return nil, bare(err)
	}
	identity, raw, err := rp.renewed(rp.clientContext(ctx), d, record, tokens)
	if errors.As(err, new(*untrusted)) {
		return nil, rp.sessions.End(ctx, cookie) // not vouched for
	}
	if err != nil {
		return nil, err
	}
	return rp.sessions.Change(ctx, cookie, func(s *session.Record) {
		identity.Offline = s.Identity.Offline
		s.Identity, s.IDToken, s.Checked, s.RefreshToken = identity, raw, now, tokens.RefreshToken
		s.AccessExpires = accessExpires(tokens, now)
	})
}

// renewed reads the claims of a refresh: from its ID token, else from UserInfo.
func (rp *RelyingParty) renewed(ctx context.Context, d *discovered, record *session.Record, tokens *oauth2.Token) (session.Identity, string, error) {
	sub := record.Identity.Subject
	if _, ok := tokens.Extra("id_token").(string); ok {
		id, err := rp.vouch(ctx, d, tokens)
		if err == nil && id.identity.Subject != sub { // OpenID Connect Core §12.2
			err = distrust("sub is another one than the session's")
		}
		if err == nil && record.Identity.Claims["scope"] != nil {
			id.identity.Claims["scope"] = record.Identity.Claims["scope"]
		}
		return id.identity, id.raw, err
	}
	if !d.userinfo {
		return record.Identity, record.IDToken, nil
	}
	said := map[string]any{}
	if err := rp.addUserInfo(ctx, d, tokens, sub, said); err != nil {
		return session.Identity{}, "", err
	}
	claims := maps.Clone(record.Identity.Claims)
	maps.Copy(claims, said)
	return session.FromClaims(record.Identity.Provider, claims), record.IDToken, nil
}

// refresh is one request with one answer. Its Idempotency-Key is a function of
// the token and the session's cookie: a repetition after a lost answer, by
// whatever node, is the same request and no replay, and whoever has the token
// alone cannot make the key. x/oauth2's source is used once: it could not tell us
// of a rotated token later.
func (rp *RelyingParty) refresh(ctx context.Context, d *discovered, cookie, token string) (*oauth2.Token, error) {
	key := hmac.New(sha256.New, []byte(cookie))
	key.Write([]byte("nightlatch session refresh\x00" + token))
	ctx = rp.keyedContext(ctx, base64.RawURLEncoding.EncodeToString(key.Sum(nil)[:16]))
	return d.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
}

// keyedContext makes x/oauth2 send an Idempotency-Key.
func (rp *RelyingParty) keyedContext(ctx context.Context, key string) context.Context {
	client := *rp.client
	client.Transport = &keyed{next: client.Transport, key: key}
	return oidc.ClientContext(ctx, &client)
}

// keyed sends requests with an Idempotency-Key.
type keyed struct {
	next http.RoundTripper
	key  string
}

func (k *keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Idempotency-Key", k.key)
	if k.next == nil {
		return http.DefaultTransport.RoundTrip(r)
	}
	return k.next.RoundTrip(r)
}
