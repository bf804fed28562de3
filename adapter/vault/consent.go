package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nightlatch/nightlatch/storage"
)

// Jobs are what a person allows: scopes by the name of the job that may ask for
// them. The right of a job is the grant ∩ this ∩ the operator's rule.
type Jobs map[string][]string

// Missing are those of want that the person has not allowed, or not with all of
// their scopes.
func (j Jobs) Missing(want Jobs) Jobs {
	out := Jobs{}
	for name, scopes := range want {
		have, ok := j[name]
		if !ok || slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(have, s) }) {
			out[name] = scopes
		}
	}
	return out
}

// Within are the jobs with those of their scopes that are among the given.
func (j Jobs) Within(scopes []string) Jobs {
	out := Jobs{}
	for name, all := range j {
		out[name] = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !slices.Contains(scopes, s) })
	}
	return out
}

// with is what a person allows who allows more.
func (j Jobs) with(more Jobs) Jobs {
	out := Jobs{}
	maps.Copy(out, j)
	for name, scopes := range more {
		all := slices.Concat(out[name], scopes)
		slices.Sort(all)
		out[name] = slices.Compact(all)
	}
	return out
}

// AllowJobs notes that a person allowed jobs by name. ErrNoGrant: there is no grant
// that they could use.
func (v *Vault) AllowJobs(ctx context.Context, provider, client, sub string, jobs Jobs) error {
	now := v.c.Now()
	err := v.write(ctx, func(tx storage.Tx, put func(*record) error) error {
		row, err := v.grants.GetBy(tx, scope, byIdentity, identity(provider, client, sub))
		if errors.Is(err, storage.ErrNotFound) || err == nil && row.Record.State == Ended {
			return ErrNoGrant
		}
		if err != nil {
			return err
		}
		r := row.Record
		if err := v.caughtUp(tx, r); err != nil {
			return err
		}
		r.Jobs = r.Jobs.with(jobs)
		r.tell(Notice{Kind: EventJobsAllowed, At: now})
		return put(r)
	})
	if err != nil && !errors.Is(err, ErrNoGrant) {
		return fmt.Errorf("allowing jobs: %w", err)
	}
	return err
}

// RemoveJob takes back what a person allowed one job; the grant, and what the
// others may do, stay. The provider is told first, where it keeps such consents.
func (v *Vault) RemoveJob(ctx context.Context, grantID, job string) error {
	r, err := v.read(ctx, grantID)
	if err != nil {
		return err
	}
	if p := v.provider(r.Provider, r.Client); p != nil && p.WithdrawJob != nil {
		if err := p.WithdrawJob(ctx, r.Sub, job); err != nil {
			return fmt.Errorf("withdrawing consent: %w", err)
		}
	}
	return v.withoutJob(ctx, grantID, job)
}

// JobRemoved hears from a realm of this process that a person took back one job.
func (v *Vault) JobRemoved(ctx context.Context, provider, client, sub, job string) error {
	found, err := v.Find(ctx, Query{Provider: provider, Client: client, Sub: sub})
	if err != nil {
		return err
	}
	for _, g := range found {
		if err := v.withoutJob(ctx, g.ID, job); err != nil && !errors.Is(err, ErrNoGrant) {
			return err
		}
	}
	return nil
}

func (v *Vault) withoutJob(ctx context.Context, grantID, job string) error {
	now := v.c.Now()
	_, err := v.change(ctx, grantID, func(r *record) error {
		if _, ok := r.Jobs[job]; !ok {
			return errServed
		}
		r.Jobs = maps.Clone(r.Jobs)
		delete(r.Jobs, job)
		r.tell(Notice{Kind: EventJobRemoved, Reason: job, At: now})
		return nil
	})
	if err != nil && !errors.Is(err, errServed) {
		return fmt.Errorf("removing job: %w", err)
	}
	return nil
}
