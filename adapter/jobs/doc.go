// Package jobs is what a backend job talks to: it authenticates the job, judges
// the rules, and hands out what the vault gives (docs/jobs.md).
//
// It owns: the rules (site, users, scopes), the forms and JSON answers of the
// token endpoint for jobs, the audit event of each hand-out.
//
// It does not own: grants and their refresh (adapter/vault), the address that
// it is served on (the gateway). It is the only way to a token of a grant.
//
// Called by the gateway, which mounts the Handler.
package jobs
