package caddymodule

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStreamsPass: what an app sends piece by piece, takes in large, or makes of the
// connection, goes through a guarded site as it goes through Caddy.
func TestStreamsPass(t *testing.T) {
	more := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: "+r.Header.Get("X-User")+"\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-more: // the first event has arrived
				_, _ = io.WriteString(w, "data: two\n\n")
			case <-r.Context().Done():
			}
		case "/upload":
			sum := sha256.New()
			n, err := io.Copy(sum, r.Body)
			_, _ = fmt.Fprintf(w, "%d %s %v", n, hex.EncodeToString(sum.Sum(nil)), err)
		case "/socket":
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			line, _ := rw.ReadString('\n')
			_, _ = io.WriteString(conn, r.Header.Get("X-User")+" said "+line)
		}
	}))
	defer app.Close()
	g := newGateway(t)
	if err := g.load("user alice {\n\tpassword alice-demo\n}",
		"nightlatch http://"+g.site+" {\n\theader_up X-User {http.auth.user.name}\n}\nreverse_proxy "+strings.TrimPrefix(app.URL, "http://")); err != nil {
		t.Fatal(err)
	}
	cookie := g.login("alice", "/")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // what is held back never comes
	defer cancel()
	ask := func(method, path string, body io.Reader) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, "http://"+g.site+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookie)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	t.Run("events", func(t *testing.T) {
		resp := ask(http.MethodGet, "/events", nil)
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		first, err := in.ReadString('\n')
		if err != nil || first != "data: alice\n" {
			t.Fatalf("%q, %v", first, err)
		}
		close(more)
		if rest, err := io.ReadAll(in); err != nil || string(rest) != "\ndata: two\n\n" {
			t.Errorf("%q, %v", rest, err)
		}
	})
	t.Run("upload", func(t *testing.T) {
		const size = 64 << 20
		sum := sha256.New()
		resp := ask(http.MethodPut, "/upload", io.TeeReader(io.LimitReader(endless{}, size), sum)) // chunked
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("%d %x <nil>", size, sum.Sum(nil)); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	})
	for name, c := range map[string]struct{ cookie, want string }{"socket": {cookie, "alice said hello"}, "socket of nobody": {"a=b", "401 Unauthorized"}} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", g.site)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\nCookie: %s\r\n\r\nhello\n", g.site, c.cookie)
			var all strings.Builder
			for in := bufio.NewReader(conn); !strings.Contains(all.String(), c.want); {
				line, err := in.ReadString('\n')
				all.WriteString(line)
				if err != nil {
					t.Fatalf("%q, %v", all.String(), err)
				}
			}
		})
	}
}

// endless gives bytes.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}
