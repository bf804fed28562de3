package adapter

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/storage"
)

// flow is one login on its way, sealed in a cookie of its own: parallel tabs do
// not meet, and a link cannot bring a way back or a login of somebody else.
type flow struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	// Key says that two exchanges of the code are the same request, of the flow
	// and of no other.
	Key     string    `json:"k,omitempty"`
	Started time.Time `json:"t"`
	// Return is path and query of the page that was asked for, our parameter
	// included: where there is a grant, the guard takes it out. A long one is kept
	// in the store under ReturnID.
	Return   string `json:"r,omitempty"`
	ReturnID string `json:"i,omitempty"`
	// Scopes that were asked for; Offline: background access is among the aims.
	Scopes  []string `json:"c"`
	Offline bool     `json:"o,omitempty"`
	// Silent flows renew claims without a page, for the same Subject.
	Silent  bool   `json:"q,omitempty"`
	Subject string `json:"u,omitempty"`
	// Refused carries why an attempt for background access failed over to the
	// attempt without it.
	Refused page.Text `json:"x,omitempty"`
	// Consent is the second attempt, which asks for a consent page; Merged the one
	// that brings back scopes of an earlier grant.
	Consent bool `json:"p,omitempty"`
	Merged  bool `json:"m,omitempty"`
	// Provider that the login is at. Choice flows are at none yet: the person is
	// asked.
	Provider string `json:"w,omitempty"`
	Choice   bool   `json:"h,omitempty"`
}

const (
	flowLife    = 30 * time.Minute
	maxFlows    = 7
	maxReturn   = 2 << 10 // bytes in a cookie
	longestPath = 32 << 10
)

// budget bounds what strangers can put into the store by asking for long addresses:
// so many in each span of time, by this process. Who comes when it is spent logs in
// like anybody and ends at the start page.
type budget struct {
	mu    sync.Mutex
	spent int
	until time.Time
}

const (
	longReturnLife = 10 * time.Minute
	maxLongReturns = 1000
)

func (b *budget) room(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !now.Before(b.until) {
		b.spent, b.until = 0, now.Add(longReturnLife)
	}
	b.spent++
	return b.spent <= maxLongReturns
}

// longReturn keeps a way back that is too long for a cookie.
type longReturn struct {
	Return  string    `json:"return"`
	Expires time.Time `json:"expires"`
}

var longReturns = storage.Table[longReturn]{Name: "return_to", Expires: func(l *longReturn) time.Time { return l.Expires }}

// saveFlow seals a flow into its cookie, and drops the oldest of too many.
func (rp *RelyingParty) saveFlow(w http.ResponseWriter, r *http.Request, f flow) error {
	if len(f.Return) > maxReturn && (len(f.Return) > longestPath || !rp.longReturns.room(f.Started)) {
		f.Return = "/"
	}
	if len(f.Return) > maxReturn {
		f.ReturnID = rp.newID()
		kept := longReturn{Return: f.Return, Expires: f.Started.Add(longReturnLife)}
		f.Return = ""
		err := rp.config.Store.Update(r.Context(), func(tx storage.Tx) error {
			return longReturns.Put(tx, rp.config.Site.String(), f.ReturnID, &kept)
		})
		if err != nil {
			return fmt.Errorf("keeping the way back: %w", err)
		}
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encoding flow: %w", err)
	}
	kind := flowKind(f.State)
	sealed, err := rp.config.Sealer.Seal([]byte("flow "+rp.cookieName(kind)), raw)
	if err != nil {
		return fmt.Errorf("sealing flow: %w", err)
	}
	rp.dropOldFlows(w, r)
	rp.setCookie(w, kind, base64.RawURLEncoding.EncodeToString(sealed), int(flowLife/time.Second))
	return nil
}

// flowKind names the cookie of a flow by a part of its state.
func flowKind(state string) string { return "flow_" + state[:min(8, len(state))] }

// openFlow returns the flow with a state, if this browser began it.
func (rp *RelyingParty) openFlow(r *http.Request, state string) (flow, bool) {
	if len(state) != 22 {
		return flow{}, false
	}
	name := rp.cookieName(flowKind(state))
	for _, c := range r.CookiesNamed(name) {
		if f, ok := rp.unsealFlow(name, c.Value); ok && f.State == state && rp.config.Now().Before(f.Started.Add(flowLife)) {
			return f, true
		}
	}
	return flow{}, false
}

func (rp *RelyingParty) unsealFlow(name, value string) (flow, bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return flow{}, false
	}
	raw, err := rp.config.Sealer.Open([]byte("flow "+name), sealed)
	if err != nil {
		return flow{}, false
	}
	var f flow
	if err := json.Unmarshal(raw, &f); err != nil {
		return flow{}, false
	}
	return f, true
}

// dropOldFlows makes room for one more, so that abandoned logins never fill the
// browser's header.
func (rp *RelyingParty) dropOldFlows(w http.ResponseWriter, r *http.Request) {
	type open struct {
		kind    string
		started time.Time
	}
	var flows []open
	for _, c := range r.Cookies() {
		kind := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(c.Name, "__Host-"), "nightlatch_"), "_"+rp.suffix)
		if !strings.HasPrefix(kind, flowKind("")) || c.Name != rp.cookieName(kind) {
			continue
		}
		f, _ := rp.unsealFlow(c.Name, c.Value) // a broken one counts as the oldest
		flows = append(flows, open{kind, f.Started})
	}
	slices.SortFunc(flows, func(a, b open) int { return cmp.Compare(b.started.UnixNano(), a.started.UnixNano()) })
	for i := maxFlows - 1; i < len(flows); i++ {
		rp.setCookie(w, flows[i].kind, "", -1)
	}
}

// wayBack is the page that a flow leads to, on this site whatever it says.
func (rp *RelyingParty) wayBack(ctx context.Context, f flow) string {
	path := f.Return
	if f.ReturnID != "" {
		err := rp.config.Store.View(ctx, func(tx storage.Tx) error {
			kept, err := longReturns.Get(tx, rp.config.Site.String(), f.ReturnID)
			if err == nil {
				path = kept.Return
			}
			return err
		})
		if err != nil {
			path = "/"
		}
	}
	return rp.onSite(path)
}

// landing is the request that a flow ends with, to be judged before it comes.
func (rp *RelyingParty) landing(ctx context.Context, r *http.Request, f flow) *http.Request {
	to := r.Clone(r.Context())
	if u, err := url.Parse(rp.wayBack(ctx, f)); err == nil {
		to.URL = &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
		to.RequestURI = requestURI(to.URL)
	}
	return to
}

// onSite makes an absolute URL of this site of a path and query.
func (rp *RelyingParty) onSite(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	// The authority comes first, so that no path can bring another: //evil.test
	// stays a path.
	return rp.config.Site.Scheme + "://" + rp.config.Site.Host + path
}

// newID returns 128 random bits in 22 characters. Without randomness nothing
// that follows would be safe.
func (rp *RelyingParty) newID() string {
	var raw [16]byte
	if _, err := io.ReadFull(rp.config.Random, raw[:]); err != nil {
		panic(fmt.Sprintf("reading random bytes: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
