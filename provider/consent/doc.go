// Package consent owns what users allowed clients: the records, what a consent
// page has still to ask for, giving and withdrawing.
//
// It does not own the page (provider/web) nor the sessions that end with a
// consent (provider/session): the endpoint that withdraws ends both in one
// transaction.
package consent
