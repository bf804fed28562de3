// Package endpoint is the plumbing that every endpoint of the provider shares:
// reading parameters within limits, and the three writers of errors — JSON, page
// and redirect. There is no fourth.
//
// It owns: limits and form rules, status codes and headers of answers, what of
// an error reaches the client and what only the log.
//
// It does not own any endpoint, nor how a page looks (Pages is what it needs of
// provider/web).
package endpoint
