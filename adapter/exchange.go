package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/nightlatch/nightlatch/adapter/session"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// answer of the token endpoint, verified.
type answer struct {
	tokens  *oauth2.Token
	expires time.Time // of the access token, on our clock; zero: not told
	vouched
}

// vouched is what a verified ID token says.
type vouched struct {
	identity session.Identity
	raw      string
	sid      string
	nonce    string
}

// untrusted: the provider answered, and the answer does not verify.
type untrusted struct{ error }

func (e *untrusted) Unwrap() error { return e.error }

func distrust(format string, args ...any) error {
	return &untrusted{fmt.Errorf("verifying ID token: "+format, args...)}
}

// exchange redeems the code and verifies the ID token.
func (rp *RelyingParty) exchange(ctx context.Context, d *discovered, f flow, code string) (answer, error) {
	ctx = rp.clientContext(ctx)
	tokens, sent, err := rp.redeem(ctx, d, f, code)
	if err != nil {
		return answer{}, fmt.Errorf("exchanging code: %w", err)
	}
	id, err := rp.vouch(ctx, d, tokens)
	if err != nil {
		return answer{}, err
	}
	if id.nonce != f.Nonce {
		return answer{}, distrust("nonce is not the login's")
	}
	a := answer{tokens: tokens, expires: accessExpires(tokens, sent), vouched: id}
	if scope, _ := tokens.Extra("scope").(string); scope != "" {
		a.identity.Claims["scope"] = scope
	}
	return a, nil
}

// accessExpires is when an access token expires that was asked for at an instant of
// our clock; zero if the answer does not tell.
func accessExpires(tokens *oauth2.Token, sent time.Time) time.Time {
	if tokens.ExpiresIn <= 0 {
		return time.Time{}
	}
	return sent.Add(time.Duration(tokens.ExpiresIn) * time.Second)
}

// A code is sent at most redeemAttempts times, the last of them not later than
// redeemTime after the first; the pause between them doubles.
const (
	redeemAttempts = 4
	redeemTime     = 5 * time.Second
	redeemPause    = 100 * time.Millisecond
)

// redeem sends the code, and again with the same key where the provider did not
// answer, or not yet, if it takes that for the same request; elsewhere a second one
// would end what the first began (RFC 6749 §4.1.2). sent is when the request left
// that was answered.
func (rp *RelyingParty) redeem(ctx context.Context, d *discovered, f flow, code string) (tokens *oauth2.Token, sent time.Time, err error) {
	attempts := 1
	if d.mayRepeat(f) {
		attempts = redeemAttempts
		ctx = rp.keyedContext(ctx, f.Key)
	}
	over, cancel := context.WithTimeout(ctx, redeemTime)
	defer cancel()
	for n := 1; ; n++ {
		sent = rp.config.Now()
		tokens, err = d.oauth.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
		if n == attempts || !passing(err) {
			return tokens, sent, err
		}
		wait := redeemPause << (n - 1)
		if answered := (*oauth2.RetrieveError)(nil); errors.As(err, &answered) {
			if after, told := vault.RetryAfter(answered.Response.Header, sent); told {
				wait = after
			}
		}
		if until, _ := over.Deadline(); time.Until(until) < wait {
			return nil, sent, err // nobody waits that long before a white page
		}
		select {
		case <-over.Done():
			return nil, sent, err
		case <-time.After(wait):
		}
	}
}

// mayRepeat tells whether the code of a flow may be sent more than once.
func (d *discovered) mayRepeat(f flow) bool { return d.codeAgain && f.Key != "" }

// maxAhead is how far a provider's clock may be ahead of ours.
const maxAhead = 10 * time.Minute

// vouch verifies the ID token of an answer (OpenID Connect Core §3.1.3.7, but
// for the nonce) and completes it from UserInfo where it says too little.
func (rp *RelyingParty) vouch(ctx context.Context, d *discovered, tokens *oauth2.Token) (vouched, error) {
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return vouched{}, distrust("there is none")
	}
	token, err := d.verifier.Verify(ctx, raw)
	if err != nil && d.keys.away() {
		return vouched{}, fmt.Errorf("verifying ID token: %w", err)
	}
	if err != nil {
		return vouched{}, distrust("%w", err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return vouched{}, distrust("%w", err)
	}
	azp, named := claims["azp"].(string)
	switch {
	case token.Subject == "":
		return vouched{}, distrust("no sub")
	case (named || len(token.Audience) > 1) && azp != rp.config.Provider.ClientID:
		return vouched{}, distrust("azp is another client")
	case token.IssuedAt.After(rp.config.Now().Add(maxAhead)):
		return vouched{}, distrust("iat is in the future")
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(tokens.AccessToken); err != nil {
			return vouched{}, distrust("%w", err)
		}
	}
	if _, named := claims["preferred_username"]; !named && d.userinfo {
		if err := rp.addUserInfo(ctx, d, tokens, token.Subject, claims); err != nil {
			if errors.As(err, new(*untrusted)) {
				return vouched{}, err
			}
			// The ID token is enough to know who it is.
			rp.config.Log.WarnContext(ctx, "asking for user info", "err", err)
		}
	}
	sid, _ := claims["sid"].(string)
	return vouched{session.FromClaims(rp.config.Provider.Name, claims), raw, sid, token.Nonce}, nil
}

// addUserInfo fills in claims that are not there yet.
func (rp *RelyingParty) addUserInfo(ctx context.Context, d *discovered, tokens *oauth2.Token, sub string, claims map[string]any) error {
	info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return errors.New("user info does not answer") // its error quotes the body
	}
	if info.Subject != sub { // OpenID Connect Core §5.3.2
		return distrust("user info is about another sub")
	}
	var more map[string]any
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("reading user info: %w", err)
	}
	for name, value := range more {
		if _, have := claims[name]; !have {
			claims[name] = value
		}
	}
	return nil
}

// scopesOf is what was granted: what was asked for if the answer does not say
// (RFC 6749 §5.1).
func scopesOf(tokens *oauth2.Token, asked []string) []string {
	if s, ok := tokens.Extra("scope").(string); ok && s != "" {
		return strings.Fields(s)
	}
	return asked
}

func seconds(tokens *oauth2.Token, name string) time.Duration {
	n, _ := tokens.Extra(name).(float64)
	return time.Duration(n) * time.Second
}
