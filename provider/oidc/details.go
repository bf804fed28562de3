package oidc

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// DetailOfflineJob is the authorization details type (RFC 9396 §2) by which a
// person's consent names a job: {"type":"offline_job","job":"nightly-backup",
// "scope":"openid profile"}. The job may act for the person while he is away, with
// these scopes and no others.
const DetailOfflineJob = "offline_job"

// OfflineJob is an authorization detail of that type. Scope is sorted, so that the
// same detail has the same bytes.
type OfflineJob struct {
	Type  string `json:"type"`
	Job   string `json:"job"`
	Scope string `json:"scope"`
}

// Scopes of the job.
func (j OfflineJob) Scopes() Scopes { return strings.Fields(j.Scope) }

// Raw is the detail as it is kept and answered.
func (j OfflineJob) Raw() json.RawMessage {
	j.Type = DetailOfflineJob
	j.Scope = strings.Join(slices.Compact(slices.Sorted(slices.Values(j.Scopes()))), " ")
	raw, _ := json.Marshal(j) // of texts: cannot fail
	return raw
}

// Limits of a request.
const (
	maxDetails   = 16 << 10 // bytes
	maxJobs      = 32
	maxJobLength = 64 // bytes of a name
)

// ParseDetails reads the parameter authorization_details. Only offline_job is
// known; each job comes once, and wants only scopes of the request, which must
// ask for offline access. Errors are invalid_authorization_details (RFC 9396 §5).
func ParseDetails(raw string, asked Scopes) ([]json.RawMessage, error) {
	if raw == "" {
		return nil, nil
	}
	bad := func(format string, args ...any) ([]json.RawMessage, error) {
		return nil, Errorf(CodeInvalidAuthorizationDetails, format, args...)
	}
	if len(raw) > maxDetails {
		return bad("authorization_details is longer than %d bytes", maxDetails)
	}
	var jobs []OfflineJob
	dec := json.NewDecoder(bytes.NewReader([]byte(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&jobs); err != nil {
		return bad("authorization_details must be an array of objects with type, job and scope")
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("authorization_details must be one array")
	}
	switch {
	case len(jobs) == 0 || len(jobs) > maxJobs:
		return bad("authorization_details must have 1 to %d objects", maxJobs)
	case !asked.Has(ScopeOfflineAccess):
		return bad("a job acts while the user is away: scope must have offline_access")
	}
	var out []json.RawMessage
	seen := map[string]bool{}
	for _, j := range jobs {
		scopes, err := ParseScopes(j.Scope)
		switch {
		case j.Type != DetailOfflineJob:
			return bad("the only type of authorization_details is %s", DetailOfflineJob)
		case j.Job == "" || len(j.Job) > maxJobLength || strings.ContainsFunc(j.Job, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }):
			return bad("job must be a name of 1 to %d printable characters", maxJobLength)
		case seen[j.Job]:
			return bad("a job is named twice")
		case err != nil:
			return bad("the scope of a job has a character that is not allowed")
		case len(asked.Missing(scopes)) > 0:
			return bad("the scope of a job must be among those that are asked for")
		}
		seen[j.Job] = true
		out = append(out, j.Raw())
	}
	return out, nil
}

// Jobs of authorization details; other types are left out.
func Jobs(details []json.RawMessage) []OfflineJob {
	var out []OfflineJob
	for _, d := range details {
		var j OfflineJob
		if json.Unmarshal(d, &j) == nil && j.Type == DetailOfflineJob && j.Job != "" {
			out = append(out, j)
		}
	}
	return out
}
