package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const defaultURL = "http://127.0.0.1:8082"

// Exit codes of commands that talk to the token endpoint (docs/jobs.md).
const (
	exitUsage       = 2
	exitReconsent   = 3
	exitNoGrant     = 4
	exitTemporary   = 75 // EX_TEMPFAIL of sysexits.h
	exitDenied      = 77 // EX_NOPERM
	exitCredentials = 78 // EX_CONFIG
)

// jobClient is a job at the token endpoint.
type jobClient struct{ url, job, secretFile string }

// jobError is an error answer of the token endpoint.
type jobError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	GrantStatus string `json:"grant_status"`
	Reconsent   string `json:"reconsent_uri"`
	Consent     string `json:"consent_uri"`
	Rule        string `json:"rule"`
}

// exitCode of an answer.
func exitCode(status int, e jobError) int {
	switch {
	case status == http.StatusOK:
		return 0
	case status == http.StatusUnauthorized:
		return exitCredentials
	case status == http.StatusForbidden:
		return exitDenied
	case status == http.StatusNotFound && e.Code == "no_grant":
		return exitNoGrant
	case status == http.StatusBadRequest && e.Code == "invalid_grant":
		return exitReconsent
	case status == http.StatusBadRequest:
		return exitUsage
	}
	return exitTemporary
}

// message of an error answer, for people; it holds no token and no secret.
func (e jobError) message(status int) string {
	var out strings.Builder
	switch {
	case e.Description != "":
		out.WriteString(plain(e.Description))
	case e.Code != "":
		out.WriteString(plain(e.Code))
	default:
		fmt.Fprintf(&out, "the gateway answers %d %s", status, http.StatusText(status))
	}
	for _, more := range []struct{ what, value string }{
		{"status", e.GrantStatus}, {"rule", e.Rule}, {"link", e.Reconsent + e.Consent},
	} {
		if more.value != "" {
			fmt.Fprintf(&out, "\n  %s: %s", more.what, plain(more.value))
		}
	}
	return out.String()
}

// do sends one request; a code other than 0 has been explained on stderr.
func (c *jobClient) do(stderr io.Writer, method, path string, params url.Values) (body []byte, code int) {
	fail := func(code int, format string, args ...any) ([]byte, int) {
		fmt.Fprintf(stderr, "nightlatch: "+format+"\n", args...)
		return nil, code
	}
	base, job := first(c.url, os.Getenv("NIGHTLATCH_URL"), defaultURL), first(c.job, os.Getenv("NIGHTLATCH_JOB"))
	secret := os.Getenv("NIGHTLATCH_SECRET")
	if c.secretFile != "" {
		raw, err := os.ReadFile(c.secretFile)
		if err != nil {
			return fail(exitCredentials, "reading --secret-file: %v", err)
		}
		secret = strings.TrimRight(string(raw), "\r\n")
	}
	if job == "" || secret == "" {
		return fail(exitCredentials, "no credentials: want NIGHTLATCH_JOB and NIGHTLATCH_SECRET, or --job and --secret-file")
	}
	client, base, err := httpClient(base)
	if err != nil {
		return fail(exitUsage, "%v", err)
	}
	var send io.Reader
	target := base + path
	if method == http.MethodGet {
		target += "?" + params.Encode()
	} else {
		send = strings.NewReader(params.Encode())
	}
	req, err := http.NewRequest(method, target, send)
	if err != nil {
		return fail(exitUsage, "address %s: want http://host:port or unix:/path", plain(base))
	}
	req.SetBasicAuth(url.QueryEscape(job), url.QueryEscape(secret))
	req.Header.Set("Accept", "application/json")
	if send != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(exitTemporary, "the gateway is away: %v", err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fail(exitTemporary, "reading the answer: %v", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e jobError
		_ = json.Unmarshal(body, &e) // somebody else's page has none of it
		return fail(exitCode(resp.StatusCode, e), "%s", e.message(resp.StatusCode))
	}
	return body, 0
}

// httpClient for an address of the form http://… or unix:/path.
func httpClient(address string) (*http.Client, string, error) {
	client := &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		return client, "http://localhost", nil
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, "", fmt.Errorf("address %s: want http://host:port or unix:/path", plain(address))
	}
	// The secret must not go to a proxy of the environment.
	client.Transport = &http.Transport{Proxy: nil, TLSHandshakeTimeout: 10 * time.Second}
	return client, strings.TrimRight(address, "/"), nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
