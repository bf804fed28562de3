package jobs

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// Job is one program that may ask, and its rule. What a rule does not name is
// denied.
type Job struct {
	Name string
	// Secret in plain, of which the Handler keeps only the HMAC; or SecretHash,
	// made by HashSecret with the same key.
	Secret     string
	SecretHash []byte
	// Site is the public URL of the site whose grants it may use; may be left
	// empty where there is only one.
	Site string
	// Provider, if not empty, must be the site's.
	Provider string
	// Users: names of a local realm, "sub=…", "email=…" (verified), "group=…" (as
	// of the last refresh), or "*".
	Users []string
	// Scopes that it may ask for.
	Scopes []string
	// MayRevoke lets it end grants.
	MayRevoke bool
}

// Site is one site whose visitors can allow background access.
type Site struct {
	URL      string // public URL
	Provider string // name of its provider
	Client   string // its client_id there
	Local    bool   // the provider is a realm of this process
	// ConsentURI is where a person goes to allow background access: an offline
	// path of the site. Default: URL.
	ConsentURI string
}

// Config of a Handler.
type Config struct {
	Vault *vault.Vault
	Jobs  []Job
	Sites []Site
	// SecretKey for the HMAC of job secrets, 32 bytes. Default: random, which
	// suits secrets that are given in plain.
	SecretKey []byte
	// Now defaults to time.Now, Logger to one that discards, Events to nobody.
	Now    func() time.Time
	Logger *slog.Logger
	Events func(name string, data map[string]any)
}

// Handler serves the endpoints for jobs. It is made anew for each configuration
// and holds no state of its own.
type Handler struct {
	vault  *vault.Vault
	rules  map[string]*rule
	nobody []byte // what the secret of an unknown job is compared with
	key    []byte
	now    func() time.Time
	log    *slog.Logger
	events func(name string, data map[string]any)
	mux    *http.ServeMux
}

// HashSecret is how a job's secret is kept: HMAC-SHA-256.
func HashSecret(key []byte, secret string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(secret))
	return m.Sum(nil)
}

// New checks the rules; it does no I/O. Errors name the job and what is wrong
// with it.
func New(c Config) (*Handler, error) {
	if c.Vault == nil {
		return nil, errors.New("making jobs: vault is required")
	}
	h := &Handler{
		vault: c.Vault, key: c.SecretKey,
		now: c.Now, log: c.Logger, events: c.Events, mux: http.NewServeMux(),
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.events == nil {
		h.events = func(string, map[string]any) {}
	}
	if len(h.key) == 0 {
		h.key = make([]byte, 32)
		_, _ = rand.Read(h.key)
	}
	h.nobody = HashSecret(h.key, rand.Text())
	var err error
	if h.rules, err = c.rules(h.key); err != nil {
		return nil, err
	}
	h.mux.HandleFunc("/token", h.endpoint(http.MethodPost, h.token))
	h.mux.HandleFunc("/grants", h.endpoint(http.MethodGet, h.grants))
	h.mux.HandleFunc("/reject", h.endpoint(http.MethodPost, h.reject))
	h.mux.HandleFunc("/revoke", h.endpoint(http.MethodPost, h.revoke))
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		(&failure{status: http.StatusNotFound, Code: "not_found", Description: "no such endpoint"}).write(w)
	})
	return h, nil
}

// Check tells what New would say of the jobs and sites of a config, which needs
// nothing else for it.
func Check(c Config) error {
	_, err := c.rules(nil)
	return err
}

// rules of the jobs by their names.
func (c Config) rules(key []byte) (map[string]*rule, error) {
	rules := map[string]*rule{}
	for _, j := range c.Jobs {
		r, err := newRule(j, c.Sites, key)
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", j.Name, err)
		}
		if rules[j.Name] != nil {
			return nil, fmt.Errorf("job %s: named twice", j.Name)
		}
		rules[j.Name] = r
	}
	return rules, nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// endpoint is what all endpoints do first, in this order: refuse browsers and
// other methods, authenticate the job, read the form. Nothing is looked up
// before fn.
func (h *Handler) endpoint(method string, fn func(http.ResponseWriter, *http.Request, *rule, url.Values) *failure) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rule, f := h.admit(w, r, method)
		if f == nil {
			var form url.Values
			if form, f = readForm(w, r); f == nil {
				f = fn(w, r, rule, form)
			}
		}
		if f == nil {
			return
		}
		if f.cause != nil {
			h.log.Warn("answering job", "path", r.URL.Path, "error", f.Code, "cause", f.cause)
		}
		data := map[string]any{"error": f.Code, "path": r.URL.Path}
		if rule != nil {
			data["job"] = rule.Name
		}
		if f.Rule != "" {
			data["rule"] = f.Rule
		}
		h.events("job_refused", data)
		f.write(w)
	}
}

func (h *Handler) admit(w http.ResponseWriter, r *http.Request, method string) (*rule, *failure) {
	if len(r.Header["Origin"]) > 0 || len(r.Header["Sec-Fetch-Site"]) > 0 {
		return nil, &failure{status: http.StatusForbidden, Code: "access_denied", Description: "requests from browsers are refused"}
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		return nil, &failure{status: http.StatusMethodNotAllowed, Code: "invalid_request", Description: "the method must be " + method}
	}
	return h.authenticate(r)
}

// authenticate reads the Basic credentials, as they are or form-encoded (RFC
// 6749 §2.3.1 wants the latter, curl sends the former). An unknown job costs as
// much as a wrong secret.
func (h *Handler) authenticate(r *http.Request) (*rule, *failure) {
	name, secret, ok := r.BasicAuth()
	denied := &failure{status: http.StatusUnauthorized, Code: "invalid_client", Description: "the job has to authenticate by name and secret"}
	if !ok {
		return nil, denied
	}
	rule := h.rules[name]
	if decoded, err := url.QueryUnescape(name); rule == nil && err == nil {
		rule = h.rules[decoded]
	}
	want := h.nobody
	if rule != nil {
		want = rule.secret
	}
	same := hmac.Equal(want, HashSecret(h.key, secret))
	if decoded, err := url.QueryUnescape(secret); decoded != secret { // told by what was sent alone
		same = hmac.Equal(want, HashSecret(h.key, decoded)) && err == nil || same
	}
	if rule == nil || !same {
		return nil, denied
	}
	return rule, nil
}
