package account

import (
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/consent"
	"github.com/nightlatch/nightlatch/storage"
)

// consented tells whether a person allowed an application anything.
func (h *Handler) consented(tx storage.Tx, v *visit, c *client.Client) (bool, error) {
	given, err := consent.Get(tx, h.Realm, v.user.ID, c.ID)
	return given != nil, err
}
