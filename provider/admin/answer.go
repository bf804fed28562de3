package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nightlatch/nightlatch/provider/endpoint"
	"github.com/nightlatch/nightlatch/storage"
)

// created answers 201; at is the path of the new thing below the realm.
type created struct{ at string }

// refusal is an error in one of Keycloak's two shapes: {"error"} for what is not
// there or not allowed, {"errorMessage", "field"} for what is wrong in a request.
type refusal struct {
	status int
	body   map[string]string
}

func (e *refusal) Error() string { return e.body["error"] + e.body["errorMessage"] }

// fail is a refusal by {"error"}.
func fail(status int, format string, args ...any) error {
	return &refusal{status, map[string]string{"error": fmt.Sprintf(format, args...)}}
}

// plain is what Keycloak answers where there is nothing more to say.
func plain(status int) error { return fail(status, "HTTP %d %s", status, http.StatusText(status)) }

func missing(what string) error { return fail(http.StatusNotFound, "%s", what) }

// taken is the refusal of a name that belongs to another.
func taken(format string, args ...any) error {
	return &refusal{http.StatusConflict, map[string]string{"errorMessage": fmt.Sprintf(format, args...)}}
}

// bad is the refusal of a member or parameter, by its path; "" for the request
// as a whole.
func bad(path, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if path == "" {
		return &refusal{http.StatusBadRequest, map[string]string{"errorMessage": why}}
	}
	return &refusal{http.StatusBadRequest, map[string]string{"errorMessage": path + ": " + why, "field": path}}
}

// write answers a call.
func (c *call) write(answer any, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		if refused.status == http.StatusUnauthorized {
			c.w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", c.Realm)) // RFC 6750 §3
		}
		endpoint.JSON(c.w, refused.status, refused.body)
	case err != nil:
		endpoint.Error(c.w, c.r, c.Log, err)
	case answer == nil:
		c.w.Header().Set("Cache-Control", "no-store")
		c.w.WriteHeader(http.StatusNoContent)
	default:
		if made, ok := answer.(created); ok {
			c.w.Header().Set("Cache-Control", "no-store")
			c.w.Header().Set("Location", c.settings.URL+"/admin/realms/"+c.Realm+"/"+made.at)
			c.w.WriteHeader(http.StatusCreated)
			return
		}
		endpoint.JSON(c.w, http.StatusOK, answer)
	}
}

// found turns storage.ErrNotFound into a 404 that says what is missing.
func found[T any](v T, err error, what string) (T, error) {
	if errors.Is(err, storage.ErrNotFound) {
		err = missing(what)
	}
	return v, err
}
