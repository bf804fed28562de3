package vault

import (
	"crypto/sha256"
	"encoding/base64"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// State of a grant.
type State string

// States of a grant. A suspended grant keeps its token and is tried again; an
// ended one is a tombstone that only a new login brings back.
const (
	Active    State = "active"
	Suspended State = "suspended"
	Ended     State = "ended"
)

// Grant is what others may know of a person's background access: one for each
// provider, client and sub.
type Grant struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	Client   string `json:"client"`
	Site     string `json:"site"` // public URL of the site where the person logged in last
	Local    bool   `json:"local,omitempty"`

	Sub           string   `json:"sub"`
	Username      string   `json:"username,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
	Groups        []string `json:"groups,omitempty"` // as of the last refresh
	Scopes        []string `json:"scopes,omitempty"` // granted, in the provider's order
	// Jobs that the person allowed by name, each with the scopes that were named
	// with it. No other may use the grant.
	Jobs Jobs `json:"jobs,omitempty"`
	// JobsAtProvider: its consent page names them, and asks for more.
	JobsAtProvider bool `json:"jobs_at_provider,omitempty"`

	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is not active: a grant_status of the realm, or an OAuth code

	CreatedAt   time.Time            `json:"created_at,omitzero"`
	GrantedAt   time.Time            `json:"granted_at,omitzero"`   // last login that gave a token
	RefreshedAt time.Time            `json:"refreshed_at,omitzero"` // last login or refresh
	LastUsedAt  time.Time            `json:"last_used_at,omitzero"` // last hand-out, to a minute
	Uses        map[string]time.Time `json:"uses,omitempty"`        // last hand-out by job, to a minute
	IdleLimit   time.Duration        `json:"idle_limit,omitempty"`  // how long the provider lets it rest; 0: not told
	MaxAt       time.Time            `json:"max_at,omitzero"`       // when the provider ends it at the latest; zero: never, or not told
}

// IdleAt is when the provider would end the grant if nothing used it; zero if
// it has not told.
func (g *Grant) IdleAt() time.Time {
	if g.IdleLimit <= 0 {
		return time.Time{}
	}
	return g.RefreshedAt.Add(g.IdleLimit)
}

// Covers tells whether all scopes were granted.
func (g *Grant) Covers(scopes []string) bool {
	for _, s := range scopes {
		if !slices.Contains(g.Scopes, s) {
			return false
		}
	}
	return true
}

// Status is the grant_status that jobs are told (docs/jobs.md); "active" for one
// that works.
func (g *Grant) Status() string {
	switch {
	case g.State == Active:
		return string(Active)
	case slices.Contains(jobStatuses, g.Reason):
		return g.Reason
	case g.State == Suspended:
		return string(Suspended)
	}
	return "unknown"
}

var jobStatuses = []string{
	"revoked", "idle_expired", "max_expired", "reuse_detected", "user_disabled", "user_deleted", "role_missing",
}

// handout is the part of a record that a hand-out needs while an access token is
// good. It holds no refresh token.
type handout struct {
	Grant

	// Access tokens that are still good, one for each set of scopes and
	// resource.
	Access []access `json:"access,omitempty"`
	// Epoch moves whenever cached tokens are dropped, so that an answer that was
	// on its way at that moment is neither kept nor handed out.
	Epoch uint64 `json:"epoch,omitempty"`
	// Drops is the last drop of all that the grant has caught up with.
	Drops uint64 `json:"drops,omitempty"`
}

// record is the whole grant as it is sealed.
type record struct {
	handout

	// MaxFixed: MaxAt did not move with the last refresh, so it is the end.
	MaxFixed bool `json:"max_fixed,omitempty"`

	RefreshToken   string `json:"refresh_token,omitempty"`
	OfflineSession string `json:"offline_session,omitempty"` // of a local realm, from the token
	// Replaced tokens of a local realm are still to be revoked there.
	Replaced []string `json:"replaced,omitempty"`

	Lease  storage.Lease `json:"lease,omitzero"` // of the node that works on the grant
	Intent *intent       `json:"intent,omitempty"`

	SuspendedAt time.Time `json:"suspended_at,omitzero"`
	ProbedAt    time.Time `json:"probed_at,omitzero"` // last refusal while suspended; zero: try at once
	Probes      int       `json:"probes,omitempty"`   // refusals while suspended
	Lapsed      bool      `json:"lapsed,omitempty"`   // suspended because nobody used it: tried again only when a job asks
	ForcedAt    time.Time `json:"forced_at,omitzero"` // last access token forgotten on a job's word

	// DoubtedAt is when a local realm said that something of the person has changed:
	// what that means for the grant is still to be asked.
	DoubtedAt time.Time `json:"doubted_at,omitzero"`

	Misses  int       `json:"misses,omitempty"`  // times in a row that the background had no answer
	RetryAt time.Time `json:"retry_at,omitzero"` // when it tries again after a miss
	Warned  warned    `json:"warned,omitzero"`   // of a lapse that is near
	// DueAt is when the background should look at the grant (see plan.go), as of
	// the last write. Zero: never.
	DueAt time.Time `json:"due_at,omitzero"`

	Outbox outbox `json:"outbox,omitzero"`

	news []Notice // of this change, not written
}

// access is a cached access token. Times are ours: when the request was sent,
// and that plus expires_in.
type access struct {
	Scopes    []string  `json:"scopes"` // as asked for, sorted
	Resource  string    `json:"resource,omitempty"`
	Granted   string    `json:"granted"` // as answered
	Token     string    `json:"token"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// intent is the promise to send one refresh token with one Idempotency-Key,
// written before it is sent: whoever finds it repeats the same request.
type intent struct {
	TokenHash string    `json:"token_hash"`
	Key       string    `json:"key"`
	At        time.Time `json:"at"`
}

// scope of all grants in their table: a job's look-up knows the provider by a
// field, an id alone is enough to find a grant.
const scope = "vault"

// Indexes of the table; values are hashes, so that a backup tells nobody's name.
const (
	byIdentity = "identity"
	bySub      = "sub"
	byUser     = "user"
	byEmail    = "email"
	byClient   = "client"
	bySession  = "session"
	byAccess   = "access"
	byDue      = "due"
	byNotice   = "notice"
	byState    = "state"
)

// Indexed is the table of grants, for Store.Index.
func Indexed(sealer storage.Sealer) storage.Indexed { return table(sealer) }

func table(sealer storage.Sealer) *storage.Table[record] {
	return &storage.Table[record]{
		Name:   "grant",
		Sealer: sealer,
		Indexes: map[string]storage.Index[record]{
			byIdentity: {Unique: true, Values: func(r *record) []string { return []string{r.identity()} }},
			bySub:      {Values: func(r *record) []string { return []string{hash(r.Provider, r.Sub)} }},
			// A foreign account could pick any name, so only names of our own realm count.
			byUser: {Values: func(r *record) []string {
				if !r.Local || r.Username == "" {
					return nil
				}
				return []string{hash(r.Provider, strings.ToLower(r.Username))}
			}},
			byEmail: {Values: func(r *record) []string {
				if !r.EmailVerified || r.Email == "" {
					return nil
				}
				return []string{hash(r.Provider, strings.ToLower(r.Email))}
			}},
			byState: {Counted: true, Values: func(r *record) []string { return []string{hash(r.Provider, r.Client, string(r.State))} }},
			byNotice: {Values: func(r *record) []string {
				if r.Outbox.At.IsZero() {
					return nil
				}
				return []string{instant(r.Outbox.At)}
			}},
			byClient: {Values: func(r *record) []string { return []string{hash(r.Provider, r.Client)} }},
			bySession: {Values: func(r *record) []string {
				if r.OfflineSession == "" {
					return nil
				}
				return []string{hash(r.Provider, r.OfflineSession)}
			}},
			byAccess: {Values: func(r *record) []string {
				var out []string
				for _, a := range r.Access {
					out = append(out, hash(a.Token))
				}
				return out
			}},
			// For the background to walk through in order of time, each client of a
			// provider by itself.
			byDue: {Values: func(r *record) []string {
				if r.DueAt.IsZero() {
					return nil
				}
				return []string{dueKey(providerKey{r.Provider, r.Client}, r.DueAt)}
			}},
		},
	}
}

// dueKey orders the grants of a client by a time, to a second.
func dueKey(k providerKey, at time.Time) string {
	return dueKeys(k) + instant(at)
}

// instant in the order of time, to a second.
func instant(at time.Time) string { return at.UTC().Format(instants) }

const instants = "20060102150405"

// dueKeys begins all of a client.
func dueKeys(k providerKey) string { return hash(k.name, k.client) + " " }

// identity of a grant: at most one for each.
func (g *Grant) identity() string { return identity(g.Provider, g.Client, g.Sub) }

func identity(provider, client, sub string) string { return hash(provider, client, sub) }

// hash of parts that cannot be mistaken for other parts.
func hash(parts ...string) string {
	sum := sha256.Sum256(storage.Key(parts...))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// spread is a fixed fraction in [0,1) of a grant: jitter that needs no dice.
func spread(id string) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return float64(h.Sum32()) / (1 << 32)
}
