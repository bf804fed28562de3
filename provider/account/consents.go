package account

import (
	"errors"
	"slices"
	"strings"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/storage"
)

// consented tells whether a person allowed an application anything.
func (h *Handler) consented(tx storage.Tx, v *visit, c *client.Client) (bool, error) {
	given, err := consent.Get(tx, h.Realm, v.user.ID, c.ID)
	return given != nil, err
}

// applications shows what a person was asked and allowed, background access or
// not.
func (h *Handler) applications(v *visit) error {
	view := Applications{Notice: v.notice()}
	err := h.Store.View(v.r.Context(), func(tx storage.Tx) error {
		view.Consents = nil
		scopes, err := client.ScopeSet(tx, h.Realm)
		if err != nil {
			return err
		}
		rows, err := consent.Table.ListBy(tx, h.Realm, "user", v.user.ID, "", 10*most)
		if err != nil {
			return err
		}
		for _, row := range rows {
			c, err := client.Clients.Shared(tx, h.Realm, row.Record.Client)
			if err = ignoreNotFound(err); err != nil {
				return err
			}
			if c == nil {
				continue
			}
			given := Consent{
				Name: clientName(c), Description: c.Description, URL: link(c.BaseURL),
				Scopes: scopeNames(v.words, scopes, row.Record.Scopes), Background: slices.Contains(row.Record.Scopes, oidc.ScopeOfflineAccess),
				Given: v.moment(row.Record.CreatedAt), Remove: v.at("/remove", "application", c.ID, "from", fromApplications),
			}
			if row.Record.UpdatedAt.After(row.Record.CreatedAt) {
				at := v.moment(row.Record.UpdatedAt)
				given.Changed = &at
			}
			view.Consents = append(view.Consents, given)
		}
		return nil
	})
	slices.SortFunc(view.Consents, func(a, b Consent) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	if err == nil {
		h.Pages.applications(v, view)
	}
	return err
}

// fromApplications in the parameter from of a removal leads back to the page of
// applications.
const fromApplications = "applications"

// origin is the page that a removal began on.
func (v *visit) origin() string {
	if v.params.Get("from") == fromApplications {
		return "/applications"
	}
	return ""
}

func ignoreNotFound(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}
