package admin

import (
	"net/http"
	"strings"

	"github.com/nightlatch/nightlatch/provider/declared"
)

// undeclared refuses a change of what the configuration declares: the next start
// would undo it. names are the fields that are read-only, what is the thing.
func (c *call) undeclared(what string, before, after any, names []string) error {
	changed, err := declared.Changed(before, after, names)
	if err != nil || len(changed) == 0 {
		return err
	}
	return &refusal{http.StatusBadRequest, map[string]string{
		"errorMessage": strings.Join(changed, ", ") + " of " + what + " is declared in the Caddyfile (realm " + c.Realm + "): change it there",
	}}
}

// notDeclared refuses to delete what the configuration declares.
func (c *call) notDeclared(what string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return &refusal{http.StatusBadRequest, map[string]string{
		"errorMessage": what + " is declared in the Caddyfile (realm " + c.Realm + "): take it out there; meanwhile it can be disabled",
	}}
}
