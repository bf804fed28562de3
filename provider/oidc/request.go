package oidc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

// Prompts of an authorization request (OpenID Connect Core §3.1.2.1).
type Prompts []string

// Prompt values.
const (
	PromptNone          = "none"
	PromptLogin         = "login"
	PromptConsent       = "consent"
	PromptSelectAccount = "select_account"
)

// ParsePrompt reads a prompt parameter. none together with another value, or an
// unknown value, is invalid_request.
func ParsePrompt(s string) (Prompts, error) {
	p := Prompts(strings.Fields(s))
	for _, v := range p {
		switch v {
		case PromptNone, PromptLogin, PromptConsent, PromptSelectAccount:
		default:
			return nil, Errorf(CodeInvalidRequest, "prompt %s is not supported", v)
		}
	}
	if p.Has(PromptNone) && len(p) > 1 {
		return nil, Errorf(CodeInvalidRequest, "prompt none stands alone")
	}
	return p, nil
}

// Has tells whether the request has a prompt value.
func (p Prompts) Has(v string) bool { return slices.Contains(p, v) }

// ResponseMode is how the parameters of an authorization response reach the
// client.
type ResponseMode string

// Response modes.
const (
	ModeQuery    ResponseMode = "query"
	ModeFragment ResponseMode = "fragment"
	ModeFormPost ResponseMode = "form_post" // OAuth 2.0 Form Post Response Mode
)

// ParseResponseMode reads a response_mode parameter; "" is query, the default of
// the code flow.
func ParseResponseMode(s string) (ResponseMode, error) {
	switch m := ResponseMode(s); m {
	case "":
		return ModeQuery, nil
	case ModeQuery, ModeFragment, ModeFormPost:
		return m, nil
	}
	return "", Errorf(CodeInvalidRequest, "response_mode %s is not supported", s)
}

// maxResources bounds the resource parameters of a request: they are kept with
// the grant and make up the audience of its tokens.
const maxResources = 4 << 10 // bytes

// CheckResources judges the resource parameters of a request (RFC 8707 §2).
func CheckResources(given []string) error {
	size := 0
	for _, raw := range given {
		if size += len(raw); size > maxResources {
			return Errorf(CodeInvalidTarget, "resource parameters are longer than %d bytes in all", maxResources)
		}
		if u, err := url.Parse(raw); err != nil || !u.IsAbs() || u.Fragment != "" {
			return Errorf(CodeInvalidTarget, "resource must be an absolute URI without a fragment")
		}
	}
	return nil
}

// NewID returns 128 random bits in 22 characters of base64url. random defaults
// to crypto/rand; a source that fails ends the process, since nothing that
// follows would be safe.
func NewID(random io.Reader) string {
	if random == nil {
		random = rand.Reader
	}
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		panic(fmt.Sprintf("reading random bytes: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// NamedID returns an id of the same form for a thing that has a name, such as a
// role of a realm: the same at every start and on every node. It is no secret.
func NamedID(kind, realm, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + realm + "\x00" + name))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
