package grant

import (
	"encoding/json"
	"time"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
	"github.com/nightlatch/nightlatch/provider/token"
	"github.com/nightlatch/nightlatch/provider/user"
	"github.com/nightlatch/nightlatch/storage"
)

// issue is what a grant decided and committed; mint makes the tokens of it.
type issue struct {
	standing *standing.Standing
	granted  client.Granted // what the access token gets
	audience []string       // of the access token; empty: the client itself
	nonce    string         // of an authorization request
	acr      string

	refresh   bool           // a session stands behind it
	started   bool           // and began with this request
	forward   bool           // its record was rolled forward (O55)
	presented *token.Refresh // with which it was asked for
	evicted   []session.ClientSession
	told      bool // in the transaction that wrote it

	// Of a token exchange: the type of the issued token (RFC 8693 §2.2.1), and the
	// end of the session that is somebody else's; zero: none.
	exchanged string
	end       time.Time
}

// begin writes the new session in st.Session, whose ID, resource, address and
// login the caller has set.
func (h *Handler) begin(tx storage.Tx, req *request, st *standing.Standing, granted client.Granted) (*issue, error) {
	cs := st.Session
	cs.Offline = granted.Scopes.Has(oidc.ScopeOfflineAccess)
	cs.User, cs.Client, cs.GrantType = st.User.ID, st.Client.ID, req.grant
	cs.Scopes = granted.Scopes
	cs.Created, cs.LastUsed, cs.RotatedAt, cs.Generation = req.now, req.now, req.now, 1
	if st.UserSession != nil {
		cs.UserSession = st.UserSession.ID
	}
	evicted, err := session.Start(tx, h.Realm, st.Policy(), *cs)
	if err != nil {
		return nil, err
	}
	return &issue{
		standing: st, granted: granted, audience: cs.Resource, refresh: !st.Client.NoRefreshTokens, started: true, evicted: evicted, told: true,
	}, nil
}

// answer of the token endpoint (RFC 6749 §5.1), with Keycloak's members.
type answer struct {
	AccessToken      string `json:"access_token"`
	ExpiresIn        int64  `json:"expires_in"` // seconds, like the others
	RefreshExpiresIn int64  `json:"refresh_expires_in"`
	// RefreshIdleExpiresIn is when the refresh token ends unless it is used.
	RefreshIdleExpiresIn int64  `json:"refresh_idle_expires_in,omitempty"`
	RefreshToken         string `json:"refresh_token,omitempty"`
	TokenType            string `json:"token_type"`
	IDToken              string `json:"id_token,omitempty"`
	NotBeforePolicy      int64  `json:"not-before-policy"`
	SessionState         string `json:"session_state,omitempty"`
	Scope                string `json:"scope"`
	IssuedTokenType      string `json:"issued_token_type,omitempty"` // RFC 8693 §2.2.1
	// AuthorizationDetails that were consented to (RFC 9396 §7), as of now.
	AuthorizationDetails []json.RawMessage `json:"authorization_details,omitzero"`
}

// mint signs the tokens, after everything is on disk.
func (h *Handler) mint(req *request, out *issue) (*answer, error) {
	st := out.standing
	policy := st.Policy()
	visible := client.Visible(st.Scopes, out.granted.Scopes).String()
	expires := req.now.Add(policy.AccessLifespan)
	switch {
	case out.exchanged != "" && !out.started:
		if !out.end.IsZero() && out.end.Before(expires) {
			expires = out.end
		}
	case st.Session != nil:
		expires = policy.AccessExpiry(st.Session, st.UserSession, req.now)
	}
	alg := st.Client.SigningAlgorithm
	if alg == "" {
		alg = st.Settings.SigningAlgorithm
	}
	claims := user.Claims(st.User, out.granted.Roles, out.granted.Scopes)

	access := token.Access{
		Issuer: st.Settings.Issuer(), Subject: st.User.ID, ClientID: st.Client.ClientID, Audience: out.audience,
		Scope: visible, JTI: req.jti, IssuedAt: req.now, ExpiresAt: expires, Claims: claims,
	}
	if len(access.Audience) == 0 {
		access.Audience = []string{st.Client.ClientID}
	}
	if cs := st.Session; cs != nil {
		access.Session, access.AuthTime = cs.SID(), cs.AuthTime
		if cs.Offline {
			access.OfflineSession = cs.ID
		} else {
			access.ClientSession = cs.ID
		}
	}
	raw, err := access.Sign(h.Ring, alg)
	if err != nil {
		return nil, oidc.Errorf(oidc.CodeServerError, "").WithCause(err)
	}
	body := &answer{
		AccessToken: raw, ExpiresIn: seconds(expires.Sub(req.now)), TokenType: "Bearer", Scope: visible,
		SessionState: access.Session, NotBeforePolicy: policy.NotBefore / 1000, IssuedTokenType: out.exchanged,
	}
	if st.Session == nil {
		return body, nil
	}

	// O05: whenever openid was granted, also if this refresh asked for less. An
	// exchange is for whoever asks for it.
	openID := oidc.Scopes(st.Session.Scopes).Has(oidc.ScopeOpenID)
	if out.exchanged != "" {
		openID = req.scopes.Has(oidc.ScopeOpenID) && out.granted.Scopes.Has(oidc.ScopeOpenID)
	}
	if openID {
		atHash, err := token.AtHash(alg, raw)
		if err != nil {
			return nil, oidc.Errorf(oidc.CodeServerError, "").WithCause(err)
		}
		id := token.ID{
			Issuer: access.Issuer, Subject: access.Subject, ClientID: access.ClientID, Session: access.Session,
			Nonce: out.nonce, ACR: out.acr, AtHash: atHash, AuthTime: st.Session.AuthTime, JTI: oidc.NewID(h.Random),
			IssuedAt: req.now, ExpiresAt: expires, Claims: claims,
		}
		if body.IDToken, err = id.Sign(h.Ring, alg); err != nil {
			return nil, oidc.Errorf(oidc.CodeServerError, "").WithCause(err)
		}
	}
	if out.refresh {
		body.AuthorizationDetails = st.Session.AuthorizationDetails
		if err := h.mintRefresh(req, st, body); err != nil {
			return nil, oidc.Errorf(oidc.CodeServerError, "").WithCause(err)
		}
	}
	return body, nil
}

// mintRefresh derives the newest refresh token from the record, so that the same
// request gets the same bytes again (O55). It keeps the full granted scope (O06).
func (h *Handler) mintRefresh(req *request, st *standing.Standing, body *answer) error {
	cs, policy := st.Session, st.Policy()
	issued := req.now
	if policy.SingleUse {
		issued = cs.RotatedAt
	}
	refresh := token.Refresh{
		ID: cs.ID, Generation: cs.Generation, Offline: cs.Offline,
		Issuer: st.Settings.Issuer(), ClientID: st.Client.ClientID, Subject: st.User.ID, Session: cs.SID(),
		Scope: oidc.Scopes(cs.Scopes).String(), JTI: session.TokenID(cs), IssuedAt: cs.RotatedAt,
		ExpiresAt: policy.RefreshExpiry(cs, st.UserSession, issued),
	}
	var err error
	if body.RefreshToken, err = refresh.Sign(h.Ring); err != nil {
		return err
	}
	if !refresh.ExpiresAt.IsZero() {
		body.RefreshExpiresIn = seconds(refresh.ExpiresAt.Sub(req.now))
	}
	body.RefreshIdleExpiresIn = seconds(policy.IdleEnd(cs, st.UserSession).Sub(req.now))
	return nil
}

func seconds(d time.Duration) int64 { return max(0, int64(d/time.Second)) }
