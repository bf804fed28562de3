package vault

import (
	"cmp"
	"time"
)

// Kinds of what happens to a grant, which are the names of the events too.
const (
	EventSaved     = "grant_saved"     // a login gave a token
	EventRefreshed = "grant_refreshed" // an access token was fetched
	EventRestored  = "grant_restored"  // a suspension is over

	EventJobsAllowed = "grant_jobs_allowed" // the person allowed jobs by name
	EventJobRemoved  = "grant_job_removed"  // the person took back one job: the reason

	EventLapsing   = "grant_lapsing"   // it ends at LapseAt unless somebody does something
	EventSuspended = "grant_suspended" // the provider refuses it for now
	EventLapsed    = "grant_lapsed"    // it was not used, or not renewed, in time
	EventRevoked   = "grant_revoked"   // the person, an administrator or a job ended it
	EventReplayed  = "grant_replayed"  // its token was used by two; the realm ended it
	EventEnded     = "grant_ended"     // it is over for another reason
)

// Notice is a piece of news about a grant.
type Notice struct {
	Kind    string    `json:"kind"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
	LapseAt time.Time `json:"lapse_at,omitzero"` // of EventLapsing
}

// endKind names the news of an end by its reason.
func endKind(reason string) string {
	switch reason {
	case "revoked":
		return EventRevoked
	case "reuse_detected":
		return EventReplayed
	case "idle_expired", "max_expired":
		return EventLapsed
	}
	return EventEnded
}

// tell notes a piece of news, to be announced once the record is on disk.
func (r *record) tell(n Notice) { r.news = append(r.news, n) }

// announce emits the news of a record that has been written.
func (v *Vault) announce(r *record) {
	for _, n := range r.news {
		v.emit(n.Kind, &r.Grant, n.Reason, n.LapseAt)
	}
	r.news = nil
}

// emit tells of a grant; no token is ever part of it.
func (v *Vault) emit(name string, g *Grant, reason string, lapse time.Time) {
	data := map[string]any{
		"grant_id": g.ID, "provider": g.Provider, "client": g.Client, "site": g.Site,
		"sub": g.Sub, "user": g.Username,
	}
	if reason != "" {
		data["reason"] = reason
	}
	if !lapse.IsZero() {
		data["lapse_at"] = lapse
	}
	switch name {
	case EventSaved, EventRefreshed, EventRestored, EventJobsAllowed, EventJobRemoved:
	default:
		data["reconsent_uri"] = v.consentURI(g)
	}
	v.c.Events(name, data)
}

// consentURI is where a person gives the grant anew.
func (v *Vault) consentURI(g *Grant) string {
	uri := ""
	if p := v.provider(g.Provider, g.Client); p != nil && p.ConsentURI != nil {
		uri = p.ConsentURI(g.Site)
	}
	return cmp.Or(uri, g.Site)
}
