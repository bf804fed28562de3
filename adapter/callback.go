package adapter

import (
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
)

// exchangeTime bounds a code exchange, which goes on when its tab is closed.
const exchangeTime = 15 * time.Second

// callback takes the provider's answer.
func (rp *RelyingParty) callback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		rp.fail(w, r, http.StatusMethodNotAllowed, "invalid_request", "This address takes the answer of a login only.")
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	for _, name := range []string{"state", "code", "error", "error_description", "iss"} {
		if len(query[name]) > 1 {
			err = errors.New("repeated parameter")
		}
	}
	f, known := rp.openFlow(r, query.Get("state"))
	if err != nil || !known {
		// Never from another browser: that would log somebody into a stranger's
		// account.
		rp.fail(w, r, http.StatusBadRequest, "invalid_request", "This login has ended or began in another browser. Go back to the page that you wanted and try again.")
		return
	}
	rp.setCookie(w, flowKind(f.State), "", -1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeTime)
	defer cancel()
	d, err := rp.discover(ctx)
	if err != nil {
		rp.unavailable(w, r, err)
		return
	}
	if iss := query.Get("iss"); iss != rp.config.Provider.Issuer && (iss != "" || d.issInReply) {
		rp.reject(w, r, "the answer comes from another provider", nil) // RFC 9207 §2.4
		return
	}
	if code := query.Get("error"); code != "" {
		rp.declined(ctx, w, r, f, code, query.Get("error_description"))
		return
	}
	if query.Get("code") == "" {
		rp.reject(w, r, "the answer has no code", nil)
		return
	}
	tokens, id, err := rp.exchange(ctx, d, f, query.Get("code"))
	if err != nil {
		rp.exchangeFailed(w, r, err)
		return
	}
	if f.Silent && id.identity.Subject != f.Subject {
		// Somebody else is logged in at the provider by now: that is a new login,
		// with all that belongs to it.
		rp.endSession(ctx, w, r)
		rp.begin(w, r, flow{Return: f.Return, ReturnID: f.ReturnID})
		return
	}
	if err := rp.finish(ctx, w, r, f, tokens, id); err != nil {
		rp.unavailable(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, rp.wayBack(ctx, f), http.StatusSeeOther)
}

// vouched is what a verified ID token says.
type vouched struct {
	identity session.Identity
	raw      string
	sid      string
}

// exchange redeems the code and verifies the ID token.
func (rp *RelyingParty) exchange(ctx context.Context, d *discovered, f flow, code string) (*oauth2.Token, vouched, error) {
	ctx = rp.clientContext(ctx)
	tokens, err := d.oauth.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, vouched{}, fmt.Errorf("exchanging code: %w", err)
	}
	id, err := rp.vouch(ctx, d, tokens)
	if err == nil && id.nonce != f.Nonce {
		err = errors.New("verifying ID token: nonce is not the login's")
	}
	return tokens, id.vouched, err
}

type withNonce struct {
	vouched
	nonce string
}

// vouch verifies the ID token of an answer (OpenID Connect Core §3.1.3.7) and
// completes it from UserInfo where it says too little.
func (rp *RelyingParty) vouch(ctx context.Context, d *discovered, tokens *oauth2.Token) (withNonce, error) {
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return withNonce{}, errors.New("verifying ID token: there is none")
	}
	token, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return withNonce{}, fmt.Errorf("verifying ID token: %w", err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return withNonce{}, fmt.Errorf("verifying ID token: %w", err)
	}
	if token.Subject == "" {
		return withNonce{}, errors.New("verifying ID token: no sub")
	}
	if azp, ok := claims["azp"].(string); (ok || len(token.Audience) > 1) && azp != rp.config.Provider.ClientID {
		return withNonce{}, errors.New("verifying ID token: azp is another client")
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(tokens.AccessToken); err != nil {
			return withNonce{}, fmt.Errorf("verifying ID token: %w", err)
		}
	}
	if _, named := claims["preferred_username"]; !named && d.userinfo {
		if err := rp.addUserInfo(ctx, d, tokens, token.Subject, claims); err != nil {
			// The ID token is enough to know who it is.
			rp.config.Log.WarnContext(ctx, "asking for user info", "provider", rp.config.Provider.Name, "err", err)
		}
	}
	sid, _ := claims["sid"].(string)
	return withNonce{vouched{session.FromClaims(rp.config.Provider.Name, claims), raw, sid}, token.Nonce}, nil
}

func (rp *RelyingParty) addUserInfo(ctx context.Context, d *discovered, tokens *oauth2.Token, sub string, claims map[string]any) error {
	info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return err
	}
	if info.Subject != sub { // OpenID Connect Core §5.3.2
		return errors.New("sub is another one")
	}
	var more map[string]any
	if err := info.Claims(&more); err != nil {
		return err
	}
	for name, value := range more {
		if _, have := claims[name]; !have {
			claims[name] = value
		}
	}
	return nil
}

// finish writes what the login brought: the grant first, synced, then the
// session, then the cookie (A05).
func (rp *RelyingParty) finish(ctx context.Context, w http.ResponseWriter, r *http.Request, f flow, tokens *oauth2.Token, id vouched) error {
	record := session.Record{Identity: id.identity, ProviderSession: id.sid, IDToken: id.raw, Refused: f.Refused}
	granted := scopesOf(tokens, f.Scopes)
	former := rp.sessionCookie(r)
	if old, err := rp.sessions.Get(ctx, former); err == nil && old != nil && old.Identity.Subject == id.identity.Subject {
		// The same person: what was granted, refused or chosen before stays.
		record.Identity.Offline = old.Identity.Offline
		if record.Refused == "" {
			record.Refused, record.Without = old.Refused, old.Without
		}
	}
	switch {
	case f.Offline && tokens.RefreshToken == "":
		record.Refused = "The login provider gave no offline token (offline_access)."
	case f.Offline:
		err := rp.config.Grants.Save(ctx, vault.Login{
			Provider: rp.config.Provider.Name, Client: rp.config.Provider.ClientID, Site: rp.config.Site.String(),
			Sub: id.identity.Subject, Username: id.identity.Name, Email: id.identity.Email,
			EmailVerified: id.identity.EmailVerified, Groups: id.identity.Groups, Scopes: granted,
			RefreshToken: tokens.RefreshToken, AccessToken: tokens.AccessToken, AccessExpires: tokens.Expiry,
			IdleExpiresIn: seconds(tokens, "refresh_idle_expires_in"), RefreshExpiresIn: seconds(tokens, "refresh_expires_in"),
		})
		if err != nil {
			return fmt.Errorf("saving grant: %w", err)
		}
		record.Identity.Offline, record.Refused, record.Without = true, "", false
	default:
		record.RefreshToken = tokens.RefreshToken
	}
	cookie, err := rp.sessions.Create(ctx, record, former)
	if err != nil {
		return err
	}
	rp.setCookie(w, "session", cookie, 0)
	if !f.Silent {
		rp.config.Events("login", map[string]any{
			"site": rp.config.Site.String(), "provider": rp.config.Provider.Name, "sub": id.identity.Subject,
			"user": id.identity.Name, "offline": record.Identity.Offline,
		})
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

// refusals are the errors that say no to background access, not to the login.
var refusals = []string{"access_denied", "invalid_scope", "consent_required", "interaction_required"}

// declined handles an error answer. A no to background access still lets the
// person in: the login is asked for again, without it (A04).
func (rp *RelyingParty) declined(ctx context.Context, w http.ResponseWriter, r *http.Request, f flow, code, description string) {
	switch {
	case f.Silent:
		rp.endSession(ctx, w, r)
		rp.begin(w, r, flow{Return: f.Return, ReturnID: f.ReturnID})
	case f.Offline && slices.Contains(refusals, code):
		reason := sentence(description, code)
		rp.config.Events("refused", map[string]any{
			"site": rp.config.Site.String(), "provider": rp.config.Provider.Name, "error": code,
		})
		cookie := rp.sessionCookie(r)
		record, err := rp.sessions.Get(ctx, cookie)
		if err == nil && record != nil {
			_, err = rp.sessions.Change(ctx, cookie, func(s *session.Record) { s.Refused, s.Without = reason, false })
		}
		switch {
		case err != nil:
			rp.unavailable(w, r, err)
		case record != nil:
			http.Redirect(w, r, rp.wayBack(ctx, f), http.StatusSeeOther)
		default:
			rp.begin(w, r, flow{Return: f.Return, ReturnID: f.ReturnID, Refused: reason})
		}
	case code == "temporarily_unavailable" || code == "server_error":
		rp.unavailable(w, r, fmt.Errorf("logging in: the provider answered %s", printable(code)))
	default:
		rp.reject(w, r, sentence(description, code), nil)
	}
}

// sentence makes a text of a provider's error, harmless wherever it is shown.
func sentence(description, code string) string {
	text := description
	if text == "" {
		text = code
	}
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, text[:min(300, len(text))])
	text = strings.ToUpper(text[:min(1, len(text))]) + text[min(1, len(text)):]
	if text != "" && !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// exchangeFailed tells a provider that is away from an answer that must not be
// trusted.
func (rp *RelyingParty) exchangeFailed(w http.ResponseWriter, r *http.Request, err error) {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) && answered.Response.StatusCode < 500 && answered.Response.StatusCode != http.StatusTooManyRequests {
		rp.reject(w, r, "The provider did not accept the login.", fmt.Errorf("exchanging code: status %d, error %s", answered.Response.StatusCode, printable(answered.ErrorCode)))
		return
	}
	if strings.HasPrefix(err.Error(), "verifying") {
		rp.reject(w, r, "The provider's answer could not be verified.", err)
		return
	}
	if answered != nil {
		err = fmt.Errorf("exchanging code: status %d", answered.Response.StatusCode)
	}
	rp.unavailable(w, r, err)
}

// reject ends a login that cannot be trusted or was refused.
func (rp *RelyingParty) reject(w http.ResponseWriter, r *http.Request, text string, cause error) {
	rp.config.Log.WarnContext(r.Context(), "login failed", "site", rp.config.Site.String(), "reason", text, "err", cause)
	rp.config.Events("login_failed", map[string]any{"site": rp.config.Site.String(), "provider": rp.config.Provider.Name})
	rp.fail(w, r, http.StatusForbidden, "login_failed", text)
}

// renewClaims asks the provider anew by the session's own refresh token. It
// returns nil, without an error, if the session is over.
func (rp *RelyingParty) renewClaims(ctx context.Context, cookie string) (*session.Record, error) {
	record, err := rp.sessions.Get(ctx, cookie)
	if err != nil || record == nil || record.RefreshToken == "" || rp.config.Now().Sub(record.Checked) < rp.config.SessionRecheck {
		return record, err // somebody was faster
	}
	d, err := rp.discover(ctx)
	if err != nil {
		return nil, err
	}
	ctx = rp.clientContext(ctx)
	tokens, err := rp.refresh(ctx, d, record.RefreshToken)
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) && answered.ErrorCode == "invalid_grant" {
		return nil, rp.sessions.End(ctx, cookie)
	}
	if err != nil {
		return nil, err
	}
	now := rp.config.Now().UTC()
	identity, raw := record.Identity, record.IDToken
	if _, ok := tokens.Extra("id_token").(string); ok {
		id, err := rp.vouch(ctx, d, tokens)
		if err != nil {
			return nil, err
		}
		if id.identity.Subject != record.Identity.Subject { // OpenID Connect Core §12.2
			return nil, rp.sessions.End(ctx, cookie)
		}
		id.identity.Offline = record.Identity.Offline
		identity, raw = id.identity, id.raw
	}
	return rp.sessions.Change(ctx, cookie, func(s *session.Record) {
		s.Identity, s.IDToken, s.Checked = identity, raw, now
		if tokens.RefreshToken != "" {
			s.RefreshToken = tokens.RefreshToken
		}
	})
}

// refresh is one request with one answer: x/oauth2's TokenSource would hide a
// rotated token from us, so its result is read from a source that is used once.
func (rp *RelyingParty) refresh(ctx context.Context, d *discovered, token string) (*oauth2.Token, error) {
	tokens, err := d.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	if err != nil {
		return nil, fmt.Errorf("refreshing session: %w", err)
	}
	return tokens, nil
}
