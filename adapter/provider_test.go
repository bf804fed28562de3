package adapter_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	clientID     = "portal"
	clientSecret = "portal secret:%+/ü"
)

// signingKey is shared: making one takes longer than most tests.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// foreign is an OpenID Provider that somebody else could have written. It logs
// in whoever is set as user, without a page.
type foreign struct {
	t      testing.TB
	now    func() time.Time
	server *httptest.Server

	mu    sync.Mutex
	user  map[string]any // claims of who is at the browser; nil: nobody
	codes map[string]url.Values
	again map[string]map[string]any // answers to codes by code and Idempotency-Key
	// What tests change.
	metadata    map[string]any                      // of the discovery document
	refuse      func(q url.Values) (string, string) // error at the authorization endpoint
	tokenError  func(form url.Values) (int, string) // error at the token endpoint
	lose        func(form url.Values) bool          // the token endpoint's answer, after all is done
	wait        string                              // Retry-After of the token endpoint's errors
	grants      func(scopes []string) []string      // scopes granted of those asked for
	forge       func(claims map[string]any) string  // the ID token, made otherwise
	claims      map[string]any                      // of every ID token, over the user's
	offlineOnly string                              // prompt that offline tokens need
	answer      map[string]any                      // members of token answers
	info        any                                 // of UserInfo; nil: the user's claims
	noIss       bool
	down        bool
	keysDown    bool
	keyID       string
	// What it saw.
	requests  []url.Values // authorization requests
	forms     []url.Values // token requests
	keys      []string     // Idempotency-Keys
	fetches   map[string]int
	refreshes int
}

func newForeign(t testing.TB, now func() time.Time) *foreign {
	p := &foreign{
		t: t, now: now, codes: map[string]url.Values{}, again: map[string]map[string]any{}, fetches: map[string]int{}, keyID: "k1",
		user: map[string]any{"sub": "sub-alice", "preferred_username": "alice", "email": "alice@example.com", "email_verified": true, "groups": []string{"staff"}, "realm_access": map[string]any{"roles": []string{"editor"}}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /certs", p.certs)
	mux.HandleFunc("GET /auth", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", p.userinfo)
	mux.HandleFunc("GET /logout", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("post_logout_redirect_uri"), http.StatusFound)
	})
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.fetches[r.URL.Path]++
		down := p.down || p.keysDown && r.URL.Path == "/certs"
		p.mu.Unlock()
		if down {
			http.Error(w, "<h1>Bad gateway", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	p.metadata = map[string]any{
		"issuer": p.server.URL, "authorization_endpoint": p.server.URL + "/auth", "token_endpoint": p.server.URL + "/token",
		"jwks_uri": p.server.URL + "/certs", "userinfo_endpoint": p.server.URL + "/userinfo", "end_session_endpoint": p.server.URL + "/logout",
		"scopes_supported": []string{"openid", "profile", "email", "offline_access", "reports.read", "files"},
		// A careless list: the adapter takes asymmetric ones only.
		"id_token_signing_alg_values_supported":          []string{"none", "HS256", "RS256"},
		"authorization_response_iss_parameter_supported": true,
	}
	return p
}

// set changes what the provider does.
func (p *foreign) set(fn func(p *foreign)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(p)
}

// is makes somebody else sit at the browser.
func (p *foreign) is(sub, name string) {
	p.set(func(p *foreign) { p.user = map[string]any{"sub": sub, "preferred_username": name} })
}

// asked returns the last authorization request, and how many there were.
func (p *foreign) asked() (url.Values, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == 0 {
		return nil, 0
	}
	return p.requests[len(p.requests)-1], len(p.requests)
}

func (p *foreign) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches[path]
}

func (p *foreign) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *foreign) discovery(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.json(w, http.StatusOK, p.metadata)
}

func (p *foreign) certs(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.json(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &signingKey().PublicKey, KeyID: p.keyID, Algorithm: "RS256", Use: "sig"}}})
}

func (p *foreign) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	p.requests = append(p.requests, q)
	back := url.Values{"state": {q.Get("state")}}
	if !p.noIss {
		back.Set("iss", p.metadata["issuer"].(string))
	}
	switch {
	case q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || q.Get("nonce") == "":
		http.Error(w, "bad request: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	case p.user == nil && q.Get("prompt") == "none":
		back.Set("error", "login_required")
	case p.user == nil:
		_, _ = fmt.Fprint(w, "login page")
		return
	}
	if p.refuse != nil && !back.Has("error") {
		if code, text := p.refuse(q); code != "" {
			back.Set("error", code)
			if text != "" {
				back.Set("error_description", text)
			}
		}
	}
	if !back.Has("error") {
		code := fmt.Sprintf("code-%d", len(p.codes)+1)
		p.codes[code] = q
		back.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *foreign) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	defer p.mu.Unlock()
	form := r.PostForm
	p.forms = append(p.forms, form)
	p.keys = append(p.keys, r.Header.Get("Idempotency-Key"))
	user, pass, _ := r.BasicAuth()
	user, _ = url.QueryUnescape(user)
	pass, _ = url.QueryUnescape(pass)
	if user != clientID || pass != clientSecret || form.Has("client_secret") {
		p.json(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	if p.tokenError != nil {
		if status, code := p.tokenError(form); status != 0 {
			if p.wait != "" {
				w.Header().Set("Retry-After", p.wait)
			}
			p.json(w, status, map[string]any{"error": code, "error_description": "told by the token endpoint"})
			return
		}
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		same := form.Get("code") + " " + r.Header.Get("Idempotency-Key")
		answer := p.again[same]
		if p.metadata["nightlatch_code_idempotency"] == true && answer != nil {
			p.json(w, http.StatusOK, answer)
			return
		}
		q, ok := p.codes[form.Get("code")]
		delete(p.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") || form.Get("redirect_uri") != q.Get("redirect_uri") {
			p.json(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
			return
		}
		p.again[same] = p.tokens(q)
		if p.lose != nil && p.lose(form) {
			panic(http.ErrAbortHandler)
		}
		p.json(w, http.StatusOK, p.again[same])
	case "refresh_token":
		p.refreshes++
		p.json(w, http.StatusOK, p.tokens(url.Values{"scope": {"openid"}}))
	}
}

// tokens answers a token request; p.mu is held.
func (p *foreign) tokens(q url.Values) map[string]any {
	scopes := strings.Fields(q.Get("scope"))
	if p.grants != nil {
		scopes = p.grants(scopes)
	}
	if p.offlineOnly != "" && q.Get("prompt") != p.offlineOnly {
		scopes = slices.DeleteFunc(scopes, func(s string) bool { return s == "offline_access" })
	}
	access := p.jwt(map[string]any{"typ": "at+jwt"}, p.claimsOf(map[string]any{"aud": clientID, "scope": strings.Join(scopes, " "), "client_id": clientID}))
	id := p.claimsOf(map[string]any{"aud": clientID, "sid": "session-1"})
	if q.Has("nonce") {
		id["nonce"] = q.Get("nonce")
	}
	maps.Copy(id, p.claims)
	raw := ""
	if p.forge != nil {
		raw = p.forge(id)
	} else {
		raw = p.jwt(nil, id)
	}
	out := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": raw, "scope": strings.Join(scopes, " "),
		"refresh_token": fmt.Sprintf("refresh-%d", len(p.forms)),
	}
	if slices.Contains(scopes, "offline_access") {
		out["refresh_token"] = fmt.Sprintf("offline-%d", len(p.forms))
	}
	maps.Copy(out, p.answer)
	return out
}

func (p *foreign) claimsOf(more map[string]any) map[string]any {
	c := map[string]any{"iss": p.metadata["issuer"], "iat": p.now().Unix(), "exp": p.now().Add(5 * time.Minute).Unix()}
	maps.Copy(c, p.user)
	maps.Copy(c, more)
	return c
}

// jwt signs with the published key.
func (p *foreign) jwt(header, claims map[string]any) string {
	return p.sign(jose.RS256, signingKey(), p.keyID, header, claims)
}

func (p *foreign) sign(alg jose.SignatureAlgorithm, key any, kid string, header, claims map[string]any) string {
	opts := (&jose.SignerOptions{}).WithHeader("kid", kid)
	for k, v := range header {
		opts = opts.WithHeader(jose.HeaderKey(k), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	raw, _ := json.Marshal(claims)
	jws, err := s.Sign(raw)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	out, _ := jws.CompactSerialize()
	return out
}

// unsigned is a JWT of alg none.
func unsigned(claims map[string]any) string {
	raw, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(raw) + "."
}

func (p *foreign) userinfo(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.info != nil {
		p.json(w, http.StatusOK, p.info)
		return
	}
	p.json(w, http.StatusOK, p.user)
}
