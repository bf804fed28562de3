package account

import (
	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/storage"
)

// eventPage is how many events a page of the activity is made of.
const eventPage = 100

// activity shows what the audit trail has of a person, the newest first.
func (h *Handler) activity(v *visit) error {
	h.Audit.Flush(v.r.Context())
	var rows []audit.Record
	names := map[string]string{}
	err := h.Store.View(v.r.Context(), func(tx storage.Tx) (err error) {
		rows, err = audit.Find(tx, h.Realm, audit.Query{User: v.user.ID, After: v.params.Get("after"), Max: eventPage + 1})
		if err != nil {
			return err
		}
		for _, r := range rows {
			if _, known := names[r.Client]; known || r.Client == "" {
				continue
			}
			c, err := client.ByName(tx, h.Realm, r.Client)
			if err = ignoreNotFound(err); err != nil {
				return err
			}
			if names[r.Client] = r.Client; c != nil {
				names[r.Client] = clientName(c)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	view := Activity{First: v.params.Get("after") == ""}
	if len(rows) > eventPage {
		rows = rows[:eventPage]
		view.Older = v.at("/activity", "after", rows[eventPage-1].ID)
	}
	view.Newest = v.at("/activity")
	view.Entries = entries(rows, names, v)
	h.Pages.activity(v, view)
	return nil
}

// entries puts events in words. Uses of background access that follow each other
// become one: a job has many.
func entries(rows []audit.Record, names map[string]string, v *visit) []Entry {
	var out []Entry
	var last event.Event
	for _, r := range rows {
		e := r.Event
		if n := len(out); n > 0 && e.Type == event.RefreshToken && last.Type == e.Type && last.Client == e.Client && last.IP == e.IP {
			out[n-1].Times++
			out[n-1].Since = v.moment(e.Time)
			continue
		}
		last = e
		out = append(out, Entry{
			At: v.moment(e.Time), Text: eventName(v.words, e), Reason: reasonName(v.words, e), Application: names[e.Client], Address: e.IP,
			Refused: e.Type.Error() || e.Type == event.RefreshTokenReplay, Times: 1,
		})
	}
	return out
}
