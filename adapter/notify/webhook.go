package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// Webhook posts each piece of news to an address, in the form of Standard
// Webhooks 1.0.0: the headers webhook-id (the same whenever the news is sent
// again), webhook-timestamp and webhook-signature, and a body of type, timestamp
// and data.
type Webhook struct {
	// URL that takes the POST; any 2xx answer means that it has been taken.
	URL string
	// Secret that the signature is made with: HMAC-SHA-256. Empty: none is sent.
	Secret string
	// Kinds that are told; none: all.
	Kinds []string
	// Client defaults to one with a timeout of 10 s. Redirects are not followed.
	Client *http.Client
	// Now defaults to time.Now.
	Now func() time.Time
}

// Payload is the body of a webhook.
type Payload struct {
	Type      string      `json:"type"` // the kind: grant_lapsing, …
	Timestamp time.Time   `json:"timestamp"`
	Data      PayloadData `json:"data"`
}

// PayloadData says which grant it is about.
type PayloadData struct {
	GrantID      string    `json:"grant_id"`
	Provider     string    `json:"provider"`
	Client       string    `json:"client"`
	Site         string    `json:"site"`
	Sub          string    `json:"sub"`
	User         string    `json:"user,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	LapseAt      time.Time `json:"lapse_at,omitzero"`
	ReconsentURI string    `json:"reconsent_uri"`
}

// Teller for the vault.
func (h Webhook) Teller() vault.Teller {
	if h.Now == nil {
		h.Now = time.Now
	}
	client := http.Client{Timeout: 10 * time.Second}
	if h.Client != nil {
		client = *h.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	name := "webhook"
	if u, err := url.Parse(h.URL); err == nil {
		name += " " + u.Host + u.Path
	}
	return vault.Teller{Name: name, Tell: func(ctx context.Context, n vault.News) error { return h.tell(ctx, &client, n) }}
}

func (h Webhook) tell(ctx context.Context, client *http.Client, n vault.News) error {
	if len(h.Kinds) > 0 && !slices.Contains(h.Kinds, n.Kind) {
		return nil
	}
	g := n.Grant
	body, err := json.Marshal(Payload{Type: n.Kind, Timestamp: n.At.UTC(), Data: PayloadData{
		GrantID: g.ID, Provider: g.Provider, Client: g.Client, Site: g.Site, Sub: g.Sub, User: g.Username,
		Reason: n.Reason, LapseAt: n.LapseAt, ReconsentURI: n.ReconsentURI,
	}})
	if err != nil {
		return fmt.Errorf("encoding webhook: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("making webhook: the address is malformed")
	}
	at := strconv.FormatInt(h.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Nightlatch")
	req.Header.Set("webhook-id", n.ID)
	req.Header.Set("webhook-timestamp", at)
	if h.Secret != "" {
		m := hmac.New(sha256.New, []byte(h.Secret))
		fmt.Fprintf(m, "%s.%s.%s", n.ID, at, body)
		req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	resp, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // its text would hold the address, and that perhaps a secret
		}
		return fmt.Errorf("sending webhook: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("sending webhook: answer %d", resp.StatusCode)
	}
	return nil
}
