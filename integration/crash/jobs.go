package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// job asks the gateway for tokens, as a cron job would.
type job struct {
	addr   string
	client *http.Client
}

func newJob(addr string) *job {
	// Each ask on a connection of its own, so that none is lost with a
	// connection that another's kill has broken.
	return &job{addr, &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// refusedError is an answer that says that the grant is at fault.
type refusedError struct{ code, status string }

func (e *refusedError) Error() string { return e.code + " " + e.status }

const (
	// worksWithin is how long a job tries before the grant counts as lost; a
	// restart on a busy machine takes a part of it.
	worksWithin = 90 * time.Second
	askPause    = 20 * time.Millisecond
)

// token asks until there is a token or an answer that is about the grant. What
// is temporary is asked again at once: Retry-After is for people with patience.
func (j *job) token(ctx context.Context, grantID string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, worksWithin)
	defer cancel()
	form := url.Values{"grant_id": {grantID}, "min_ttl": {"5m"}}
	for {
		token, err := j.ask(ctx, form)
		var refused *refusedError
		if err == nil || errors.As(err, &refused) {
			return token, err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no token in time; at last: %w", err)
		case <-time.After(askPause):
		}
	}
}

func (j *job) ask(ctx context.Context, form url.Values) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+j.addr+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var a struct {
		Access string `json:"access_token"`
		Error  string `json:"error"`
		Status string `json:"grant_status"`
	}
	status, err := j.do(req, &a)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusOK && a.Access != "":
		return a.Access, nil
	case status == http.StatusServiceUnavailable:
		return "", errors.New("503 " + a.Error)
	}
	return "", &refusedError{fmt.Sprint(status, " ", a.Error), a.Status}
}

// grants returns the id of each user's grant by the user's sub.
func (j *job) grants(ctx context.Context) (map[string]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+j.addr+"/grants?limit=1000", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Grants []struct {
			ID  string `json:"grant_id"`
			Sub string `json:"sub"`
		} `json:"grants"`
	}
	status, err := j.do(req, &list)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("listing grants: status %d: %w", status, err)
	}
	out := map[string]string{}
	for _, g := range list.Grants {
		out[g.Sub] = g.ID
	}
	return out, nil
}

func (j *job) do(req *http.Request, into any) (int, error) {
	req.SetBasicAuth("nightly", "nightly-demo")
	resp, err := j.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(into)
}
