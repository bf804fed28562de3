package grant

import (
	"maps"
	"strconv"
	"strings"

	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/standing"
)

// about completes the event with what is known of the grant.
func (req *request) about(st *standing.Standing) {
	if st.User != nil {
		req.event.Subject, req.event.Username = st.User.ID, st.User.Username
	}
	if cs := st.Session; cs != nil {
		req.event.Session, req.event.OfflineSession = cs.SID(), ""
		if cs.Offline {
			req.event.OfflineSession = cs.ID
		}
	}
}

// tell makes an event of the request. Details come in pairs.
func (req *request) tell(kind event.Type, reason string, details ...string) event.Event {
	e := req.event
	e.Type, e.Reason, e.Details = kind, reason, maps.Clone(e.Details)
	for i := 0; i < len(details); i += 2 {
		e.Details[details[i]] = details[i+1]
	}
	return e
}

// told are the events of a request that was granted: the same in every run of
// its transaction.
func (req *request) told(out *issue) []event.Event {
	st := out.standing
	req.about(st)
	details := []string{
		"scope", client.Visible(st.Scopes, out.granted.Scopes).String(), "token_id", req.jti,
	}
	if len(out.audience) > 0 {
		details = append(details, "audience", strings.Join(out.audience, " "))
	}
	if out.refresh {
		kind := "Refresh"
		if st.Session.Offline {
			kind = "Offline"
		}
		if p := out.presented; p != nil {
			details = append(details, "updated_refresh_token_id", session.TokenID(st.Session),
				"age_of_refresh_token", strconv.FormatInt(seconds(req.now.Sub(p.IssuedAt)), 10))
		} else {
			details = append(details, "refresh_token_id", session.TokenID(st.Session), "refresh_token_type", kind)
		}
	}
	events := []event.Event{req.tell(req.ok, "", details...)}
	if out.forward {
		events = append(events, req.tell(event.RefreshTokenForward, ""))
	}
	if out.started && st.Session.Offline {
		events = append(events, req.tell(event.OfflineSessionStart, ""))
	}
	for _, cs := range out.evicted {
		e := req.tell(event.OfflineSessionEnd, "evicted")
		e.Session, e.OfflineSession = cs.SID(), cs.ID
		events = append(events, e)
	}
	return events
}
