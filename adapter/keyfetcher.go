package adapter

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// keyFetcher is the way to the provider's keys. go-oidc asks for them whenever a
// token names a key that it does not know: a flood of forged tokens would make
// one request each. Here an answer stands for a moment.
type keyFetcher struct {
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	at     time.Time
	status int
	body   []byte
	err    error
}

// How long keys, and a failure to get them, stand; and how large they may be.
const (
	keysStand    = 10 * time.Second
	failureStand = 2 * time.Second
	maxKeys      = 1 << 20
)

// RoundTrip implements http.RoundTripper.
func (k *keyFetcher) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stands := keysStand
	if k.failed() {
		stands = failureStand
	}
	if now := k.now(); k.at.IsZero() || now.Sub(k.at) >= stands {
		k.at = now
		k.status, k.body, k.err = k.fetch(r)
	}
	if k.err != nil {
		return nil, k.err
	}
	return &http.Response{
		Status: http.StatusText(k.status), StatusCode: k.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(k.body)),
		ContentLength: int64(len(k.body)), Request: r,
	}, nil
}

func (k *keyFetcher) fetch(r *http.Request) (status int, body []byte, err error) {
	resp, err := k.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxKeys+1))
	if err == nil && len(body) > maxKeys {
		err = fmt.Errorf("fetching keys: more than %d bytes", maxKeys)
	}
	return resp.StatusCode, body, err
}

func (k *keyFetcher) failed() bool { return k.err != nil || k.status != http.StatusOK }

// away tells that the last attempt to get keys failed: a token that does not
// verify may then be a good one.
func (k *keyFetcher) away() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.at.IsZero() && k.failed()
}
