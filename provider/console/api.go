package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/provider/oidc"
)

// object is a JSON object.
type object = map[string]any

// Refused is what the REST answers to a request that it does not carry out.
type Refused struct {
	Status int
	// Message says why, Field the member that it is about, by its path; "" for
	// none.
	Message, Field string
}

func (e *Refused) Error() string { return e.Message }

// get reads what is at a path of the REST below the realm into out. Parameters
// come in pairs; one without a value is left out.
func (v *visit) get(out any, path string, params ...string) error {
	return v.do(http.MethodGet, path, nil, out, params...)
}

// send changes something; body is nil for none.
func (v *visit) send(method, path string, body any, params ...string) error {
	return v.do(method, path, body, nil, params...)
}

// path of the REST: parts are escaped.
func path(parts ...string) string {
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// do makes one request of the REST in this process. Its refusals are *Refused,
// but for those of the person (401, 403) and of what is not there (404), which are
// the page's own.
func (v *visit) do(method, path string, body, out any, params ...string) error {
	query := url.Values{}
	for i := 0; i < len(params); i += 2 {
		if params[i+1] != "" {
			query.Add(params[i], params[i+1])
		}
	}
	target := strings.TrimSuffix(v.Settings.Path(), "/realms/"+v.Settings.Name) + "/admin/realms/" + url.PathEscape(v.Settings.Name)
	if path != "" {
		// A name that somebody left out, or that leads elsewhere, names nothing.
		if slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return part == "" || part == "." || part == ".." }) {
			return errGone
		}
		target += "/" + path
	}
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return fmt.Errorf("writing request: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(v.R.Context(), method, endpoint.WithQuery(target, query), bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	r.RemoteAddr = v.R.RemoteAddr
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a := answer{header: http.Header{}}
	v.rest.ServeHTTP(&a, r)
	if at := a.header.Get("Location"); at != "" {
		v.made = at[strings.LastIndexByte(at, '/')+1:]
	}
	if a.status < 300 {
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(a.body.Bytes(), out); err != nil {
			return fmt.Errorf("reading answer of %s: %w", path, err)
		}
		return nil
	}
	return a.refusal()
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// refusal reads the error that the REST answered.
func (a *answer) refusal() error {
	var said struct {
		Error        string `json:"error"`
		ErrorMessage string `json:"errorMessage"`
		Description  string `json:"error_description"`
		Field        string `json:"field"`
	}
	if err := json.Unmarshal(a.body.Bytes(), &said); err != nil {
		return fmt.Errorf("reading refusal %d: %w", a.status, err)
	}
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return errNoAdministrator
	case a.status == http.StatusNotFound:
		return errGone
	case a.status >= 500:
		// The cause is in the log already, under its id.
		return oidc.Errorf(said.Error, "%s", said.Description).WithStatus(a.status)
	}
	message := said.ErrorMessage
	if message == "" {
		message = said.Description
	}
	if message == "" {
		message = said.Error
	}
	return &Refused{Status: a.status, Message: strings.TrimPrefix(message, said.Field+": "), Field: said.Field}
}

// errGone: it has ended or was deleted, or has never been.
var errGone = oidc.Errorf(oidc.CodeInvalidRequest, "there is nothing under this address any more").WithStatus(http.StatusNotFound)

var errNoAdministrator = oidc.Errorf(oidc.CodeAccessDenied, "this account is no administrator of this realm: it lacks the role realm-admin").WithStatus(http.StatusForbidden)
