package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/nightlatch/nightlatch/storage/seal"
)

// running is a gateway that answers on a unix socket.
type running struct{ client *http.Client }

// running finds the gateway that runs with the configuration, if its admin
// endpoint is a unix socket on which somebody listens.
func (s *setup) running(d *declared) (*running, error) {
	at, err := caddycmd.DetermineAdminAPIAddress(s.address, d.raw, s.config, s.adapter)
	if err == nil && d.adminOff() && s.address == "" {
		return nil, nil
	}
	var addr caddy.NetworkAddress
	if err == nil {
		addr, err = caddy.ParseNetworkAddress(at)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: finding the admin endpoint: %w", errConfig, err)
	}
	if !addr.IsUnixNetwork() {
		if s.address != "" {
			return nil, usage("--address %s: only over a unix socket, unix//path", s.address)
		}
		return nil, nil
	}
	path, _, _ := strings.Cut(addr.Host, "|") // behind it stands the mode of the socket
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) }
	conn, err := dial(context.Background())
	if err != nil {
		if s.address != "" {
			return nil, fmt.Errorf("the gateway is away: %w", err)
		}
		return nil, nil // stopped
	}
	_ = conn.Close()
	return &running{client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}}, nil
}

// adminOff tells whether the configuration has no admin endpoint.
func (d *declared) adminOff() bool {
	var config struct {
		Admin struct {
			Disabled bool `json:"disabled"`
		} `json:"admin"`
	}
	return json.Unmarshal(d.raw, &config) == nil && config.Admin.Disabled
}

// ask sends a request and returns the answer of a gateway that has this store.
func (g *running) ask(method, path string, e engine) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://127.0.0.1/nightlatch/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the gateway: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		var answer struct {
			Error string `json:"error"`
		}
		raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if json.Unmarshal(raw, &answer) != nil || answer.Error == "" {
			answer.Error = resp.Status
		}
		if resp.StatusCode == http.StatusConflict {
			return nil, fmt.Errorf("%w: a gateway uses it, and answers: %s", errInUse, answer.Error)
		}
		return nil, fmt.Errorf("the gateway answers: %s", answer.Error)
	}
	if name := resp.Header.Get(storeHeader); name != e.name() {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: the gateway that runs has the store %s, the configuration %s", errConfig, name, e.name())
	}
	return resp, nil
}

// rekey lets the gateway exchange the sealing key in a file.
func (g *running) rekey(file string, lazily bool, e engine) (done seal.Rekeyed, err error) {
	if file, err = filepath.Abs(file); err != nil {
		return done, fmt.Errorf("finding sealing key %s: %w", file, err)
	}
	how := url.Values{"file": {file}}
	if lazily {
		how.Set("lazily", "true")
	}
	resp, err := g.ask(http.MethodPost, "store/rekey?"+how.Encode(), e)
	if err != nil {
		return done, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
		return done, fmt.Errorf("reading the answer of the gateway: %w", err)
	}
	return done, nil
}

func (g *running) backup(w io.Writer, e engine) error {
	resp, err := g.ask(http.MethodGet, "store/backup", e)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return errors.Join(errors.New("reading the backup of the gateway"), err)
	}
	return nil
}
