package session

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// AuthorizationRequest is a request that waits for its user to log in or to
// consent. Every hop of the browser names it by ID and proves by the browser's
// flow cookie that it is the browser that began it, so that a link leads nobody
// into somebody else's login.
type AuthorizationRequest struct {
	Client        string            `json:"client"` // client.Client.ID
	RedirectURI   string            `json:"redirect_uri"`
	RedirectGiven bool              `json:"redirect_given,omitempty"`
	Mode          oidc.ResponseMode `json:"mode"`
	State         string            `json:"state,omitempty"`
	Scopes        []string          `json:"scopes"`
	Nonce         string            `json:"nonce,omitempty"`
	Challenge     string            `json:"challenge,omitempty"`
	Prompt        []string          `json:"prompt,omitempty"`
	MaxAge        *time.Duration    `json:"max_age,omitempty"`
	LoginHint     string            `json:"login_hint,omitempty"`
	UILocales     string            `json:"ui_locales,omitempty"` // of the pages, as many as fit
	Subject       string            `json:"subject,omitempty"`    // of an id_token_hint
	Resource      []string          `json:"resource,omitempty"`

	AuthorizationDetails []json.RawMessage `json:"authorization_details,omitempty"`
	// Device that the answer is for, the id of a DeviceAuthorization; "": the
	// answer is a code for RedirectURI.
	Device string `json:"device,omitempty"`
	// Page of the realm itself that the login is for, a path with its query; "":
	// the answer is a code. The client is that of the page.
	Page string `json:"page,omitempty"`

	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	// Browser is the hash of the flow cookie.
	Browser []byte `json:"browser"`
	// LoggedIn tells that this request itself asked for the password, so that
	// prompt=login and max_age are answered.
	LoggedIn bool `json:"logged_in,omitempty"`
}

// AuthorizationRequests by a random id.
var AuthorizationRequests = storage.Table[AuthorizationRequest]{
	Name:    "authorization_request",
	Expires: func(r *AuthorizationRequest) time.Time { return r.Expires },
}

// maxWaiting requests of one browser wait at a time. There is no limit for all
// browsers together, which strangers could exhaust.
const maxWaiting = 20

// waiting are the requests that a browser began, the oldest first.
type waiting struct {
	Requests []string  `json:"requests"`
	Expires  time.Time `json:"expires"`
}

// waitings by the hash of the flow cookie.
var waitings = storage.Table[waiting]{
	Name:    "waiting_requests",
	Expires: func(w *waiting) time.Time { return w.Expires },
}

// Await writes a request that begins to wait. Of too many in its browser the oldest
// ends: its page says so.
func Await(tx storage.Tx, realm, id string, ar *AuthorizationRequest) error {
	browser := base64.RawURLEncoding.EncodeToString(ar.Browser)
	w, err := waitings.Get(tx, realm, browser)
	if errors.Is(err, storage.ErrNotFound) {
		w, err = &waiting{}, nil
	}
	if err != nil {
		return fmt.Errorf("reading waiting requests: %w", err)
	}
	if w.Requests = append(w.Requests, id); len(w.Requests) > maxWaiting {
		if w.Requests, err = still(tx, realm, w.Requests); err != nil {
			return err
		}
	}
	if ar.Expires.After(w.Expires) {
		w.Expires = ar.Expires
	}
	if err := waitings.Put(tx, realm, browser, w); err != nil {
		return fmt.Errorf("writing waiting requests: %w", err)
	}
	if err := AuthorizationRequests.Put(tx, realm, id, ar); err != nil {
		return fmt.Errorf("writing authorization request: %w", err)
	}
	return nil
}

// still leaves out what was answered or has expired, and ends the oldest of those
// before the last one that are too many.
func still(tx storage.Tx, realm string, ids []string) ([]string, error) {
	var kept []string
	for _, id := range ids[:len(ids)-1] {
		_, err := AuthorizationRequests.Get(tx, realm, id)
		switch {
		case err == nil:
			kept = append(kept, id)
		case !errors.Is(err, storage.ErrNotFound):
			return nil, fmt.Errorf("reading authorization request: %w", err)
		}
	}
	for len(kept) >= maxWaiting {
		if err := AuthorizationRequests.Delete(tx, realm, kept[0]); err != nil {
			return nil, fmt.Errorf("ending authorization request: %w", err)
		}
		kept = slices.Delete(kept, 0, 1)
	}
	return append(kept, ids[len(ids)-1]), nil
}
