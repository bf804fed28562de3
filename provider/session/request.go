package session

import (
	"encoding/json"
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
	Subject       string            `json:"subject,omitempty"` // of an id_token_hint
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
