package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/nightlatch/nightlatch/adapter/notify"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

var update = flag.Bool("update", false, "write what the mails say into the golden files")

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func news(kind, reason string) vault.News {
	n := vault.News{
		ID: "n_1", Notice: vault.Notice{Kind: kind, Reason: reason, At: noon}, ReconsentURI: "https://app.example.com/backup",
		Grant: vault.Grant{
			ID: "g_1", Provider: "home", Client: "portal", Site: "https://app.example.com", Sub: "s-1", Username: "alice",
			Email: "alice@example.com", EmailVerified: true,
		},
	}
	if kind == vault.EventLapsing {
		n.LapseAt = noon.Add(14 * 24 * time.Hour)
	}
	return n
}

func TestWebhook(t *testing.T) {
	var status int
	var got *http.Request
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer s.Close()
	hook := notify.Webhook{URL: s.URL + "/hook?key=hidden", Secret: "sesame", Now: func() time.Time { return noon }}.Teller()
	for _, c := range []struct {
		status int
		ok     bool
	}{{200, true}, {204, true}, {302, false}, {400, false}, {410, false}, {503, false}} {
		status = c.status
		if err := hook.Tell(t.Context(), news(vault.EventLapsing, "unused")); (err == nil) != c.ok {
			t.Errorf("%d: %v", c.status, err)
		}
		if got.URL.Path != "/hook" || got.Method != http.MethodPost {
			t.Errorf("%d: asked %s %s", c.status, got.Method, got.URL)
		}
	}
	m := hmac.New(sha256.New, []byte("sesame"))
	m.Write([]byte("n_1." + fmt.Sprint(noon.Unix()) + "." + string(body)))
	if want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)); got.Header.Get("webhook-signature") != want || got.Header.Get("webhook-id") != "n_1" {
		t.Errorf("headers %v", got.Header)
	}
	var p notify.Payload
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	want := notify.Payload{Type: "grant_lapsing", Timestamp: noon, Data: notify.PayloadData{
		GrantID: "g_1", Provider: "home", Client: "portal", Site: "https://app.example.com", Sub: "s-1", User: "alice",
		Reason: "unused", LapseAt: noon.Add(14 * 24 * time.Hour), ReconsentURI: "https://app.example.com/backup",
	}}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if strings.Contains(hook.Name, "hidden") {
		t.Errorf("name %s", hook.Name)
	}
	s.Close()
	if err := hook.Tell(t.Context(), news(vault.EventLapsing, "")); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("a server that is down: %v", err)
	}
}

func TestKindsAreChosen(t *testing.T) {
	hook := notify.Webhook{URL: "http://127.0.0.1:1", Kinds: []string{vault.EventReplayed}}.Teller()
	if err := hook.Tell(t.Context(), news(vault.EventLapsing, "")); err != nil {
		t.Error(err)
	}
	if err := hook.Tell(t.Context(), news(vault.EventReplayed, "")); err == nil {
		t.Error("not sent")
	}
}

// postbox is a mail server.
type postbox struct {
	mu     sync.Mutex
	mails  []string
	to     []string
	refuse error
	auth   string
}

func (p *postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &postman{p}, nil }

type postman struct{ *postbox }

func (p *postman) AuthMechanisms() []string { return []string{sasl.Plain} }
func (p *postman) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.auth = username + ":" + password
		return nil
	}), nil
}
func (p *postman) Reset()                               {}
func (p *postman) Logout() error                        { return nil }
func (p *postman) Mail(string, *smtp.MailOptions) error { return p.refuse }
func (p *postman) Rcpt(to string, _ *smtp.RcptOptions) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = append(p.to, to)
	return nil
}
func (p *postman) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, strings.ReplaceAll(string(raw), "\r\n", "\n"))
	return err
}

func serve(t *testing.T) (*postbox, string) {
	t.Helper()
	p := &postbox{}
	s := smtp.NewServer(p)
	s.Domain, s.AllowInsecureAuth = "localhost", true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return p, "smtp://" + l.Addr().String()
}

func teller(t *testing.T, m notify.Mail) vault.Teller {
	t.Helper()
	out, err := m.Teller()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMail holds each mail in a golden file, as it goes over the wire.
func TestMail(t *testing.T) {
	p, server := serve(t)
	post := teller(t, notify.Mail{Server: server, From: "Nightlatch <nightlatch@example.com>", Username: "u", Password: "pw", Copy: []string{"ops@example.com"}})
	for _, c := range [][2]string{
		{vault.EventLapsing, "unused"}, {vault.EventLapsing, "max_expired"}, {vault.EventLapsing, "unreachable"},
		{vault.EventSuspended, "user_disabled"}, {vault.EventSuspended, "invalid_grant"}, {vault.EventLapsed, "idle_expired"},
		{vault.EventRevoked, "revoked"}, {vault.EventReplayed, "reuse_detected"}, {vault.EventEnded, "user_deleted"},
	} {
		p.mails, p.to = nil, nil
		if err := post.Tell(t.Context(), news(c[0], c[1])); err != nil {
			t.Fatal(err)
		}
		if len(p.mails) != 1 || fmt.Sprint(p.to) != "[alice@example.com ops@example.com]" || p.auth != "u:pw" {
			t.Fatalf("%v: %d mails to %v as %s", c, len(p.mails), p.to, p.auth)
		}
		if !strings.Contains(p.mails[0], "https://app.example.com/backup") || strings.Contains(p.mails[0], "ops@") {
			t.Errorf("%v: no link, or the copy is seen:\n%s", c, p.mails[0])
		}
		golden := filepath.Join("testdata", c[0]+"."+c[1]+".eml")
		if *update {
			if err := os.WriteFile(golden, []byte(p.mails[0]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), p.mails[0]); d != "" {
			t.Errorf("%v: %s", c, d)
		}
	}
	p.refuse = errors.New("mailbox is full")
	if err := post.Tell(t.Context(), news(vault.EventRevoked, "revoked")); err == nil {
		t.Error("a refused mail counts as sent")
	}
}

func TestMailGoesToVerifiedAddressesOnly(t *testing.T) {
	p, server := serve(t)
	post := teller(t, notify.Mail{Server: server, From: "nightlatch@example.com"})
	n := news(vault.EventRevoked, "revoked")
	n.Grant.EmailVerified = false
	if err := post.Tell(t.Context(), n); err != nil || len(p.mails) > 0 {
		t.Errorf("%v, %d mails to an address that anybody could claim", err, len(p.mails))
	}
	n.Grant.EmailVerified, n.Grant.Email = true, "not an address\r\nBcc: all@example.com"
	if err := post.Tell(t.Context(), n); err == nil || len(p.mails) > 0 {
		t.Errorf("%v, %d mails", err, len(p.mails))
	}
	n.Grant.Email, n.Grant.Username = "alice@example.com", "alice\r\nBcc: all@example.com"
	if err := post.Tell(t.Context(), n); err != nil || len(p.to) != 1 {
		t.Errorf("%v, to %v", err, p.to)
	}
}

func TestMailWithoutTLSStaysOnThisMachine(t *testing.T) {
	_, server := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	// The same server by a name that is not loopback: STARTTLS is demanded.
	m := notify.Mail{Server: strings.Replace(server, "127.0.0.1", "127.0.0.1.", 1), From: "nightlatch@example.com"}
	post, err := m.Teller()
	if err == nil {
		err = post.Tell(ctx, news(vault.EventRevoked, "revoked"))
	}
	if err == nil {
		t.Error("a mail was sent in the clear")
	}
}

func TestMailOptions(t *testing.T) {
	for name, m := range map[string]notify.Mail{
		"no server":        {From: "a@example.com"},
		"a web address":    {Server: "https://mail.example.com", From: "a@example.com"},
		"a path":           {Server: "smtps://mail.example.com/inbox", From: "a@example.com"},
		"a password in it": {Server: "smtps://u:p@mail.example.com", From: "a@example.com"},
		"no sender":        {Server: "smtps://mail.example.com"},
		"a broken copy":    {Server: "smtps://mail.example.com", From: "a@example.com", Copy: []string{"x"}},
		"username alone":   {Server: "smtps://mail.example.com", From: "a@example.com", Username: "u"},
	} {
		if _, err := m.Teller(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
