package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime/debug"
)

// inProcess is the way from the adapter and the vault to a realm of this
// process: the same HTTP requests that go to a foreign provider, handed to the
// realm's handler without a network. It reaches the realm and nothing else.
type inProcess struct {
	serves func(path string) bool
	realm  http.Handler
	host   string // of the realm's url
}

// RoundTrip implements http.RoundTripper. The answer is complete when it
// returns; a request whose context ends gets its error at once, while the
// realm's handler finishes by itself.
func (t *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != t.host || !t.serves(r.URL.Path) {
		closeBody(r)
		return nil, fmt.Errorf("reaching %s://%s: not an address of the realm", r.URL.Scheme, r.URL.Host)
	}
	in := r.Clone(r.Context())
	in.Host, in.RequestURI, in.RemoteAddr = r.URL.Host, r.URL.RequestURI(), "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := &recorder{header: http.Header{}}
	done := make(chan error, 1)
	go func() {
		defer closeBody(r)
		defer func() {
			var err error
			if p := recover(); p != nil {
				err = fmt.Errorf("realm panicked: %v\n%s", p, debug.Stack())
			}
			done <- err
		}()
		t.realm.ServeHTTP(rec, in)
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return rec.response(r), nil
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// recorder is the response of one in-process request.
type recorder struct {
	header http.Header
	sent   http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status, r.sent = status, maps.Clone(r.header)
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.body.Len()+len(p) > maxAnswer {
		return 0, errors.New("answer is too large")
	}
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// maxAnswer bounds an answer of a realm to its own process, in bytes.
const maxAnswer = 8 << 20

func (r *recorder) response(req *http.Request) *http.Response {
	r.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.sent, Body: io.NopCloser(&r.body), ContentLength: int64(r.body.Len()), Request: req,
	}
}
