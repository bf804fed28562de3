package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer of a token endpoint to a refresh.
type answer struct {
	AccessToken  string
	RefreshToken string // empty: unchanged
	Scope        string
	SentAt       time.Time     // our clock, before the request left
	Lifetime     time.Duration // of the access token
	// IdleExpiresIn and RefreshExpiresIn are 0 if not told.
	IdleExpiresIn, RefreshExpiresIn time.Duration
	Identity                        *identityClaims
	// Jobs that the consent names (RFC 9396 §7); nil: the answer says nothing.
	Jobs Jobs
}

// OfflineJob is an authorization detail (RFC 9396 §2) of type JobDetail: a job may
// act for the person who consents, while he is away.
type OfflineJob struct {
	Type  string `json:"type"`
	Job   string `json:"job"`
	Scope string `json:"scope"`
}

// JobDetail is the type of an OfflineJob.
const JobDetail = "offline_job"

// Details are the jobs as authorization details, in the order of their names.
func (j Jobs) Details() []OfflineJob {
	out := make([]OfflineJob, 0, len(j))
	for _, name := range slices.Sorted(maps.Keys(j)) {
		out = append(out, OfflineJob{Type: JobDetail, Job: name, Scope: strings.Join(slices.Sorted(slices.Values(j[name])), " ")})
	}
	return out
}

// JobsOf reads the jobs of authorization details. Other types, which may have
// members of any kind, are left out; nil if there are no details.
func JobsOf(details json.RawMessage) Jobs {
	var list []json.RawMessage
	if json.Unmarshal(details, &list) != nil || list == nil {
		return nil
	}
	out := Jobs{}
	for _, raw := range list {
		var d OfflineJob
		if json.Unmarshal(raw, &d) == nil && d.Type == JobDetail && d.Job != "" {
			out[d.Job] = strings.Fields(d.Scope)
		}
	}
	return out
}

type identityClaims struct {
	Issuer        string          `json:"iss"`
	Subject       string          `json:"sub"`
	Audience      json.RawMessage `json:"aud"`
	Username      string          `json:"preferred_username"`
	Email         string          `json:"email"`
	EmailVerified bool            `json:"email_verified"`
	Groups        []string        `json:"groups"`
}

// maxAnswer bounds what is read of a provider's answer, in bytes.
const maxAnswer = 1 << 20

// refresh sends one refresh request (RFC 6749 §6). It names the scopes only
// where they are fewer than granted: not every provider takes the parameter.
func (p *Provider) refresh(ctx context.Context, r *record, a Ask, key string, now func() time.Time) (answer, *Error) {
	endpoint, err := p.TokenEndpoint(ctx)
	if err != nil {
		return answer{}, transient(fmt.Errorf("finding token endpoint: %w", err))
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.RefreshToken}}
	if !a.all(r.Scopes) {
		form.Set("scope", strings.Join(a.Scopes, " "))
	}
	if a.Resource != "" {
		form.Set("resource", a.Resource)
	}
	sent := now()
	status, header, body, err := p.post(ctx, endpoint, form, key)
	if err != nil {
		return answer{}, unreachable(err)
	}
	if status != http.StatusOK {
		failed := classify(status, header, body, now())
		if failed.Class == ClassRequest && !form.Has("scope") && !form.Has("resource") {
			failed.Class = ClassSuspended // nothing was asked for but the grant itself (Keycloak, when consent was withdrawn)
		}
		return answer{}, failed
	}
	ans, err := parse(body, a, sent)
	if err != nil {
		return answer{}, transient(err)
	}
	if id := ans.Identity; id != nil && !id.proves(p, r.Sub) {
		// OpenID Connect Core §12.2: not this person, or not for us.
		return answer{}, &Error{Class: ClassOperator, Code: "id_token_mismatch", RetryAfter: time.Minute}
	}
	return ans, nil
}

// revoke sends one revocation request (RFC 7009).
func (p *Provider) revoke(ctx context.Context, token string) *Error {
	endpoint, err := p.RevocationEndpoint(ctx)
	if err != nil {
		return transient(fmt.Errorf("finding revocation endpoint: %w", err))
	}
	form := url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}
	status, header, body, err := p.post(ctx, endpoint, form, "")
	if err != nil {
		return unreachable(err)
	}
	if status != http.StatusOK {
		return classify(status, header, body, time.Time{})
	}
	return nil
}

// post sends a form with the client's authentication (RFC 6749 §2.3.1).
func (p *Provider) post(ctx context.Context, endpoint string, form url.Values, key string) (int, http.Header, []byte, error) {
	basic := p.ClientSecret != "" && p.AuthMethod != "client_secret_post"
	if !basic {
		form.Set("client_id", p.ClientID)
		if p.ClientSecret != "" {
			form.Set("client_secret", p.ClientSecret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("making request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		req.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.ClientSecret))
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	client := http.Client{}
	if p.HTTPClient != nil {
		client = *p.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("reading answer: %w", err)
	}
	return resp.StatusCode, resp.Header, body, nil
}

// parse reads a successful answer (RFC 6749 §5.1).
func parse(body []byte, a Ask, sent time.Time) (answer, error) {
	var m struct {
		AccessToken  string  `json:"access_token"`
		TokenType    string  `json:"token_type"`
		ExpiresIn    seconds `json:"expires_in"`
		RefreshToken string  `json:"refresh_token"`
		Scope        string  `json:"scope"`
		IDToken      string  `json:"id_token"`
		Idle         seconds `json:"refresh_idle_expires_in"`
		Max          seconds `json:"refresh_expires_in"`

		Details json.RawMessage `json:"authorization_details"`
	}
	// The cause would quote the body, and with it a token.
	if json.Unmarshal(body, &m) != nil || m.AccessToken == "" {
		return answer{}, errors.New("reading answer: no access token in it")
	}
	if !strings.EqualFold(m.TokenType, "Bearer") {
		return answer{}, errors.New("reading answer: not a bearer token")
	}
	ans := answer{
		AccessToken: m.AccessToken, RefreshToken: m.RefreshToken, Scope: m.Scope,
		SentAt: sent, Lifetime: m.ExpiresIn.duration(),
		IdleExpiresIn: m.Idle.duration(), RefreshExpiresIn: m.Max.duration(), Jobs: JobsOf(m.Details),
	}
	if ans.Scope == "" { // RFC 6749 §5.1: as asked for
		ans.Scope = strings.Join(a.Scopes, " ")
	}
	if ans.Lifetime <= 0 {
		ans.Lifetime = lifetimeUnknown
	}
	if m.IDToken != "" {
		// Straight from the token endpoint: OpenID Connect Core §3.1.3.7 (6).
		ans.Identity = new(identityClaims)
		if !payload(m.IDToken, ans.Identity) {
			return answer{}, errors.New("reading answer: malformed id token")
		}
	}
	return ans, nil
}

// seconds of an answer; some providers send them as a string.
type seconds float64

func (s *seconds) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err == nil && f > 0 {
		*s = seconds(min(f, 100*365*24*3600))
	}
	return nil
}

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// proves tells whether the ID token is about this person and for this client.
func (id *identityClaims) proves(p *Provider, sub string) bool {
	var one string
	var many []string
	if json.Unmarshal(id.Audience, &one) == nil {
		many = []string{one}
	} else if json.Unmarshal(id.Audience, &many) != nil {
		return false
	}
	return id.Issuer == p.Issuer && id.Subject == sub && slices.Contains(many, p.ClientID)
}

// offlineSession reads the id of the offline session from a token of our own
// realm; empty if it has none.
func offlineSession(token string) string {
	var c struct {
		Session string `json:"offline_session"`
	}
	payload(token, &c)
	return c.Session
}

// payload decodes the claims of a compact JWS without judging its signature.
func payload(token string, into any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && json.Unmarshal(raw, into) == nil
}

// unreachable classifies an error that came in the place of an answer. A
// certificate that does not hold is the operator's to mend.
func unreachable(err error) *Error {
	var cert *tls.CertificateVerificationError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	if errors.As(err, &cert) || errors.As(err, &name) || errors.As(err, &authority) {
		return &Error{Class: ClassOperator, Code: "tls", RetryAfter: time.Minute, cause: err}
	}
	return transient(err)
}

// oauthError is an error answer (RFC 6749 §5.2), with our realm's grant_status.
type oauthError struct {
	Error       string `json:"error"`
	GrantStatus string `json:"grant_status"`
}

// classify judges an error answer. Status then carries the realm's grant_status
// as it came; whether to believe it is the record's to judge.
func classify(status int, header http.Header, body []byte, now time.Time) *Error {
	var e oauthError
	oauth := isJSON(header) && json.Unmarshal(body, &e) == nil && e.Error != ""
	after := retryAfter(header, now)
	waiting := &Error{
		Class: ClassTransient, Code: "temporarily_unavailable", RetryAfter: after, later: header.Get("Retry-After") != "", cause: fmt.Errorf("status %d", status),
	}
	operator := &Error{Class: ClassOperator, Code: "temporarily_unavailable", RetryAfter: max(after, time.Minute), cause: fmt.Errorf("status %d", status)}
	switch {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return waiting
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status < 400:
		operator.Code = "wrong_address"
		return operator
	case !oauth: // somebody else's page, such as a firewall's
		return waiting
	}
	switch e.Error {
	case "invalid_grant", "interaction_required", "consent_required", "login_required":
		return &Error{Class: ClassSuspended, Code: e.Error, Status: e.GrantStatus}
	case "invalid_scope", "invalid_target":
		return &Error{Class: ClassRequest, Code: e.Error}
	case "temporarily_unavailable", "server_error", "slow_down", "use_dpop_nonce":
		return waiting
	}
	operator.Code = word(e.Error)
	return operator
}

// word keeps an error code of a stranger short enough for a log.
func word(code string) string { return code[:min(len(code), 64)] }

func isJSON(h http.Header) bool {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t == "application/json" || strings.HasSuffix(t, "+json")
}

// retryAfter is when to ask again: between a second and an hour, 5 s if the
// provider does not say.
func retryAfter(h http.Header, now time.Time) time.Duration {
	d, told := RetryAfter(h, now)
	if !told {
		d = 5 * time.Second
	}
	return min(max(d, time.Second), time.Hour)
}

// RetryAfter reads the header in either form (RFC 9110 §10.2.3): 0 or more, at most
// an hour. told is false without a valid one.
func RetryAfter(h http.Header, now time.Time) (d time.Duration, told bool) {
	s := h.Get("Retry-After")
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(min(max(n, 0), 3600)) * time.Second, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return min(max(t.Sub(now), 0), time.Hour), true
	}
	return 0, false
}
