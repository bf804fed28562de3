package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/adapter/session"
)

// bearerToken returns the token of an Authorization header (RFC 6750 §2.1). Other
// schemes are the app's.
func bearerToken(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(first(r.Header, "Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// guardBearer lets a program in with an access token of the provider that is
// meant for this site.
func (rp *RelyingParty) guardBearer(w http.ResponseWriter, r *http.Request, id *session.Identity) (*session.Identity, bool) {
	public := rp.config.Public(r)
	switch {
	case rp.allowed(r, id):
		forApp(r, !public)
		return id, true
	case public:
		forApp(r, false)
		return nobody, true
	default:
		rp.config.Refused("forbidden")
		rp.answer(w, http.StatusForbidden, notAllowed)
		return id, false
	}
}

// refuseBearer answers a token that is not valid here, or cannot be judged now.
func (rp *RelyingParty) refuseBearer(w http.ResponseWriter, r *http.Request, err error) {
	if errors.As(err, new(*unjudged)) {
		rp.unavailable(w, r, err)
		return
	}
	rp.config.Log.DebugContext(r.Context(), "bearer token refused", "err", err)
	text := "the access token is not valid for this site"
	if errors.Is(err, errTooOld) {
		text = "the access token was issued too long ago for this site: ask for a new one"
	}
	rp.challenge(w, r, "invalid_token", text)
}

// errTooOld: the token verifies, and is older than BearerMax.
var errTooOld = errors.New("token is too old")

// unjudged: the provider or the store is away, which the token needs to be judged.
type unjudged struct{ error }

func (e *unjudged) Unwrap() error { return e.error }

// bearers caches verified tokens by their hash.
type bearers struct {
	mu    sync.Mutex
	known map[[32]byte]verified
}

type verified struct {
	id      *session.Identity
	behind  []string // what may end it although it verifies, see session.Store.Ended
	issued  time.Time
	expires time.Time
}

// maxBearers bounds the cache.
const maxBearers = 50_000

func (rp *RelyingParty) verifyBearer(ctx context.Context, raw string) (*session.Identity, error) {
	if len(raw) == 0 || len(raw) > 16<<10 {
		return nobody, errors.New("token is empty or too long")
	}
	key := sha256.Sum256([]byte(raw))
	now := rp.config.Now()
	v, ok := rp.bearers.get(key, now)
	if !ok {
		var err error
		if v, err = rp.openBearer(ctx, raw); err != nil {
			return nobody, err
		}
		rp.bearers.put(key, v)
	}
	switch ended, err := rp.sessions.Ended(ctx, v.issued, v.behind...); {
	case err != nil:
		return nobody, &unjudged{err}
	case ended:
		return nobody, errors.New("what stood behind the token has ended")
	}
	return v.id, nil
}

// openBearer verifies a token that was not seen before.
func (rp *RelyingParty) openBearer(ctx context.Context, raw string) (verified, error) {
	header, claims, err := peek(raw)
	if err != nil {
		return verified{}, err
	}
	marked, err := accessTokenForm(header, claims)
	if err != nil {
		return verified{}, err
	}
	d, err := rp.discover(ctx)
	if err != nil {
		return verified{}, &unjudged{err}
	}
	token, err := d.access.Verify(rp.clientContext(ctx), raw)
	if err != nil && d.keys.away() {
		return verified{}, &unjudged{err}
	}
	if err != nil {
		return verified{}, err
	}
	accepted := append([]string{rp.config.Site.String()}, rp.config.BearerAudience...)
	if marked {
		// An ID token has the client for its audience.
		accepted = append(accepted, rp.config.Provider.ClientID)
	}
	if !slices.ContainsFunc(token.Audience, func(a string) bool {
		return slices.Contains(accepted, a) || slices.Contains(accepted, strings.TrimSuffix(a, "/"))
	}) {
		return verified{}, errors.New("token is meant for another audience")
	}
	if token.Subject == "" {
		return verified{}, errors.New("token has no sub")
	}
	provider := rp.config.Provider.Name
	id := session.FromClaims(provider, claims)
	v := verified{id: &id, issued: token.IssuedAt, expires: token.Expiry}
	if ms, ok := claims["iat_ms"].(float64); ok {
		v.issued = time.UnixMilli(int64(ms))
	}
	// Its age tells what may have ended since: without it no end could be heard of.
	switch now := rp.config.Now(); {
	case token.IssuedAt.IsZero() || v.issued.After(now.Add(maxAhead)):
		return verified{}, errors.New("token has no iat, or one in the future")
	case v.issued.Add(rp.config.BearerMax).Before(v.expires):
		v.expires = v.issued.Add(rp.config.BearerMax)
		if !now.Before(v.expires) {
			return verified{}, errTooOld
		}
	}
	client := clientOf(claims)
	v.behind = []string{session.OfProvider(provider), session.OfClient(provider, client), session.OfSubject(provider, token.Subject)}
	if jti, _ := claims["jti"].(string); jti != "" {
		v.behind = append(v.behind, session.OfToken(provider, jti))
	}
	// The browser session that an offline token was born in may end without it.
	if offline, _ := claims["offline_session"].(string); offline != "" {
		v.behind = append(v.behind, session.OfOffline(provider, client), session.OfProviderSession(provider, offline))
		v.id.Offline = true
		return v, nil
	}
	// A login, and what one client got in it: either may end.
	for _, name := range []string{"sid", "client_session"} {
		if sid, _ := claims[name].(string); sid != "" {
			v.behind = append(v.behind, session.OfProviderSession(provider, sid))
		}
	}
	return v, nil
}

// clientOf is whom a token was issued to (RFC 9068 §2.2, or Keycloak's azp).
func clientOf(claims map[string]any) string {
	for _, name := range []string{"client_id", "azp"} {
		if s, _ := claims[name].(string); s != "" {
			return s
		}
	}
	return ""
}

// peek reads a JWT without trusting it: only its form is judged by what it says.
func peek(raw string) (header, claims map[string]any, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("token is no compact JWS")
	}
	for i, into := range []*map[string]any{&header, &claims} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(part, into)
		}
		if err != nil {
			return nil, nil, errors.New("token is no compact JWS")
		}
	}
	return header, claims, nil
}

// accessTokenForm refuses ID, refresh, offline and logout tokens, which the same
// keys sign. marked tells that the token says itself what it is, by RFC 9068's
// header or Keycloak's claim.
func accessTokenForm(header, claims map[string]any) (marked bool, err error) {
	typ, _ := header["typ"].(string)
	kind, kinded := claims["typ"].(string)
	for _, name := range []string{"nonce", "at_hash", "c_hash", "events"} {
		if _, has := claims[name]; has {
			return false, errors.New("token is no access token")
		}
	}
	switch typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); {
	case kinded && kind != "Bearer", typ != "" && typ != "jwt" && typ != "at+jwt":
		return false, errors.New("token is no access token")
	case typ == "at+jwt", kinded:
		return true, nil
	}
	// Without a mark it must at least say what it gives access to.
	if scope, _ := claims["scope"].(string); scope != "" {
		return false, nil
	}
	if scp := claims["scp"]; scp != nil && scp != "" {
		return false, nil
	}
	return false, errors.New("token is no access token")
}

func (b *bearers) get(key [32]byte, now time.Time) (verified, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.known[key]
	if ok && !now.Before(v.expires) {
		delete(b.known, key)
		return verified{}, false
	}
	return v, ok
}

func (b *bearers) put(key [32]byte, v verified) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = map[[32]byte]verified{}
	}
	if len(b.known) >= maxBearers {
		for k := range b.known {
			delete(b.known, k)
			break
		}
	}
	b.known[key] = v
}

func (b *bearers) sweep(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, v := range b.known {
		if !now.Before(v.expires) {
			delete(b.known, key)
		}
	}
}
