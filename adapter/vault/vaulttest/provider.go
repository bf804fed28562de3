// Package vaulttest has a provider whose refresh tokens are as strict, and whose
// answers as unreliable, as a test wants them. It speaks HTTP.
package vaulttest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Credentials of the one client.
const (
	ClientID     = "portal"
	ClientSecret = "portal secret:%+/ü"
)

// Provider is a token endpoint and a revocation endpoint. Its exported switches
// are set before it is used; what it counts is read by methods.
type Provider struct {
	URL string
	// Rotates: each refresh token works once, and a replay ends the session.
	Rotates bool
	// KnowsKey: the same token with the same Idempotency-Key gets the same
	// successor until that is used.
	KnowsKey bool
	// TellsStatus: errors carry grant_status, as our own realm's do.
	TellsStatus bool
	// Lifetime of access tokens.
	Lifetime time.Duration

	mu        sync.Mutex
	sessions  map[string]*session
	issued    int
	refreshes int
	replays   int
	keys      []string
	revoked   []string
	forms     []map[string]string
	next      []Fault
	down      bool
	gate      chan struct{}
	arrived   chan struct{}
}

type session struct {
	id, sub, user, scope, status string
	groups                       []string
	generation                   int
	usedKey                      string // that consumed the generation before
}

// Fault happens to one request to the token endpoint.
type Fault struct {
	// Lose the answer after the request was carried out.
	Lose bool
	// Status and Body of an answer in place of the real one; the request is not
	// carried out. Body is sent as JSON if it begins with a brace.
	Status int
	Body   string
	Header map[string]string
}

// New starts a provider that ends with the test. It rotates and knows keys.
func New(t testing.TB) *Provider {
	p := &Provider{
		Rotates: true, KnowsKey: true, TellsStatus: true, Lifetime: 5 * time.Minute,
		sessions: map[string]*session{}, arrived: make(chan struct{}, 100000),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("POST /revoke", p.revoke)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// Login opens a session and returns its first refresh token.
func (p *Provider) Login(sub, user, scope string, groups ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &session{id: fmt.Sprintf("session-%d", len(p.sessions)+1), sub: sub, user: user, scope: scope, groups: groups}
	p.sessions[s.id] = s
	return s.token()
}

// SetStatus makes every session of a sub fail with a grant_status, or work again
// if it is empty.
func (p *Provider) SetStatus(sub, status string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sessions {
		if s.sub == sub {
			s.status = status
		}
	}
}

// SetGroups changes what the ID tokens of a sub say.
func (p *Provider) SetGroups(sub string, groups ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sessions {
		if s.sub == sub {
			s.groups = groups
		}
	}
}

// Fail lets faults happen to the next requests, one each.
func (p *Provider) Fail(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, faults...)
}

// Down makes every request fail, not carried out, until it is up again.
func (p *Provider) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Hold stops answers until the returned function is called. Arrived tells of
// each request that was carried out and waits.
func (p *Provider) Hold() (release func()) {
	gate := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = gate
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.gate = nil
		close(gate)
	}
}

// Arrived receives once for each request to the token endpoint.
func (p *Provider) Arrived() <-chan struct{} { return p.arrived }

// Counts of the token endpoint so far.
func (p *Provider) Counts() (requests, refreshes, replays int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.keys), p.refreshes, p.replays
}

// Keys are the Idempotency-Keys of all requests, in order.
func (p *Provider) Keys() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.keys)
}

// Revoked are the ids of the sessions that were revoked by request.
func (p *Provider) Revoked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.revoked)
}

// LastForm of the token endpoint.
func (p *Provider) LastForm() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forms[len(p.forms)-1]
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	status, body, fault, gate := p.answer(r)
	p.arrived <- struct{}{}
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	if fault.Lose {
		panic(http.ErrAbortHandler)
	}
	for k, v := range fault.Header {
		w.Header().Set(k, v)
	}
	if strings.HasPrefix(body, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (p *Provider) answer(r *http.Request) (int, string, Fault, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	p.keys = append(p.keys, key)
	var fault Fault
	switch {
	case p.down:
		fault = Fault{Status: http.StatusBadGateway}
	case len(p.next) > 0:
		fault, p.next = p.next[0], p.next[1:]
	}
	form := map[string]string{}
	_ = r.ParseForm()
	for k := range r.PostForm {
		form[k] = r.PostForm.Get(k)
	}
	p.forms = append(p.forms, form)
	if fault.Status != 0 {
		return fault.Status, fault.Body, fault, p.gate
	}
	status, members := p.refresh(r, form, key)
	body, _ := json.Marshal(members)
	return status, string(body), fault, p.gate
}

func (p *Provider) refresh(r *http.Request, form map[string]string, key string) (int, map[string]any) {
	if !authenticated(r) {
		return 401, map[string]any{"error": "invalid_client"}
	}
	var c struct {
		Session    string `json:"offline_session"`
		Generation int    `json:"gen"`
	}
	s := (*session)(nil)
	if parts := strings.Split(form["refresh_token"], "."); len(parts) == 3 {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(raw, &c)
		s = p.sessions[c.Session]
	}
	if form["grant_type"] != "refresh_token" || s == nil {
		return 400, map[string]any{"error": "invalid_grant"}
	}
	if s.status != "" {
		return 400, p.refused(s.status)
	}
	scope := s.scope
	if form["scope"] != "" {
		scope = form["scope"]
		for _, one := range strings.Fields(scope) {
			if !slices.Contains(strings.Fields(s.scope), one) {
				return 400, map[string]any{"error": "invalid_scope"}
			}
		}
	}
	if p.Rotates {
		switch {
		case c.Generation == s.generation:
			s.generation++
			s.usedKey = key
			p.refreshes++
		case p.KnowsKey && key != "" && c.Generation == s.generation-1 && key == s.usedKey:
		default:
			p.replays++
			s.status = "reuse_detected"
			return 400, p.refused(s.status)
		}
	} else {
		p.refreshes++
	}
	p.issued++
	answer := map[string]any{
		"access_token": fmt.Sprintf("at-%s-%d", s.id, p.issued), "token_type": "bearer", "scope": scope,
		"expires_in": int(p.Lifetime.Seconds()), "refresh_idle_expires_in": 30 * 24 * 3600, "refresh_expires_in": 0,
		"id_token": jws(map[string]any{
			"iss": p.URL, "sub": s.sub, "aud": ClientID, "preferred_username": s.user, "groups": s.groups,
		}),
	}
	if p.Rotates {
		answer["refresh_token"] = s.token()
	}
	return 200, answer
}

func (p *Provider) refused(status string) map[string]any {
	m := map[string]any{"error": "invalid_grant"}
	if p.TellsStatus {
		m["grant_status"] = status
	}
	return m
}

func (p *Provider) revoke(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !authenticated(r) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(401)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		return
	}
	var c struct {
		Session string `json:"offline_session"`
	}
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(r.PostFormValue("token"), ".")[1])
	_ = json.Unmarshal(raw, &c)
	if s := p.sessions[c.Session]; s != nil {
		s.status = "revoked"
		p.revoked = append(p.revoked, s.id)
	}
}

func (s *session) token() string {
	return jws(map[string]any{"typ": "Offline", "offline_session": s.id, "gen": s.generation})
}

// jws looks like one: nobody here verifies signatures.
func jws(claims map[string]any) string {
	b, _ := json.Marshal(claims)
	return "e30." + base64.RawURLEncoding.EncodeToString(b) + ".c2ln"
}

// authenticated wants the form-encoded Basic credentials of RFC 6749 §2.3.1.
func authenticated(r *http.Request) bool {
	id, secret, ok := r.BasicAuth()
	if !ok {
		return r.PostFormValue("client_id") == ClientID && r.PostFormValue("client_secret") == ClientSecret
	}
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	return err1 == nil && err2 == nil && id == ClientID && secret == ClientSecret
}
