package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
)

// Browser is what the provider keeps in a browser, and the proofs bound to it.
// Three cookies: one logs in (single sign-on), one ties the steps of a login to
// the browser that began it, one proves that somebody has logged in with it before
// (provider/guess). Their names carry a hash of the issuer, because
// cookies know neither ports nor paths that are worth trusting.
type Browser struct {
	Issuer string
	Key    []byte // 32 bytes, for the proofs
}

func (b Browser) cookie(kind string) string {
	sum := sha256.Sum256([]byte(b.Issuer))
	name := "nightlatch_" + kind + "_" + hex.EncodeToString(sum[:4])
	if b.secure() {
		return "__Host-" + name
	}
	return name
}

func (b Browser) secure() bool { return strings.HasPrefix(b.Issuer, "https://") }

func (b Browser) set(w http.ResponseWriter, kind, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: b.cookie(kind), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: b.secure(), SameSite: http.SameSiteLaxMode,
	})
}

func (b Browser) get(r *http.Request, kind string) string {
	c, err := r.Cookie(b.cookie(kind))
	if err != nil {
		return ""
	}
	return c.Value
}

// Login returns the value of the single sign-on cookie, "" without one.
func (b Browser) Login(r *http.Request) string { return b.get(r, "sso") }

// SetLogin gives the browser the cookie of a user session: until the browser
// ends, or of a remembered login for a time.
func (b Browser) SetLogin(w http.ResponseWriter, value string, remember time.Duration) {
	b.set(w, "sso", value, int(remember/time.Second))
}

// ClearLogin takes it away, with the attributes that it was set with.
func (b Browser) ClearLogin(w http.ResponseWriter) { b.set(w, "sso", "", -1) }

// Known returns what tells this browser from others if the user has logged in with
// it before, else "".
func (b Browser) Known(r *http.Request, user string) string {
	id, mac, _ := strings.Cut(b.get(r, "known"), ".")
	if len(id) != 22 || user == "" || subtle.ConstantTimeCompare([]byte(b.proof(id, "known", user, "")), []byte(mac)) != 1 {
		return ""
	}
	return id
}

// SetKnown makes the browser known as one of the user's, of the last one who has
// logged in with it. It proves that and logs nobody in.
func (b Browser) SetKnown(w http.ResponseWriter, r *http.Request, user string, random io.Reader) {
	if b.Known(r, user) == "" {
		id := oidc.NewID(random)
		b.set(w, "known", id+"."+b.proof(id, "known", user, ""), int(knownFor/time.Second))
	}
}

// knownFor is the longest that browsers keep a cookie.
const knownFor = 400 * 24 * time.Hour

// Flow returns the browser's flow cookie and gives it one if it has none.
func (b Browser) Flow(w http.ResponseWriter, r *http.Request, random io.Reader) string {
	if v := b.get(r, "flow"); len(v) == 22 {
		return v
	}
	v := oidc.NewID(random)
	b.set(w, "flow", v, 0)
	// A page in this very answer makes its proof with it.
	r.AddCookie(&http.Cookie{Name: b.cookie("flow"), Value: v})
	return v
}

// HashFlow is how a flow cookie is kept.
func HashFlow(flow string) []byte {
	sum := sha256.Sum256([]byte(flow))
	return sum[:]
}

// Began tells whether the request comes from the browser that a waiting
// authorization request began in.
func (b Browser) Began(r *http.Request, ar *AuthorizationRequest) bool {
	flow := b.get(r, "flow")
	return flow != "" && subtle.ConstantTimeCompare(HashFlow(flow), ar.Browser) == 1
}

// Proof is the CSRF token of a form: it is valid for one step of one request in
// one browser, and tells when the page was made.
func (b Browser) Proof(r *http.Request, step, id string, now time.Time) string {
	made := strconv.FormatInt(now.Unix(), 36)
	return made + "." + b.proof(b.get(r, "flow"), step, id, made)
}

func (b Browser) proof(flow, step, id, made string) string {
	m := hmac.New(sha256.New, b.Key)
	for _, part := range []string{flow, step, id, made} {
		m.Write([]byte(part))
		m.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// Proves checks the CSRF token of a form, and that no other site sent it. late
// tells that the page is older than it may be (0: as old as it likes): it is shown
// anew then.
func (b Browser) Proves(r *http.Request, step, id, proof string, now time.Time, within time.Duration) (late bool, err error) {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "null" && !strings.HasPrefix(b.Issuer+"/", origin+"/") {
		return false, oidc.Errorf(oidc.CodeAccessDenied, "this form came from another site").WithStatus(http.StatusForbidden)
	}
	flow := b.get(r, "flow")
	made, mac, _ := strings.Cut(proof, ".")
	if flow == "" || subtle.ConstantTimeCompare([]byte(b.proof(flow, step, id, made)), []byte(mac)) != 1 {
		return false, oidc.Errorf(oidc.CodeAccessDenied, "this form is not valid in this browser any more; go back to the application and begin again").WithStatus(http.StatusForbidden)
	}
	at, _ := strconv.ParseInt(made, 36, 64) // the MAC is ours
	return within > 0 && now.Sub(time.Unix(at, 0)) > within, nil
}
