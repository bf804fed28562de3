// Package admin is the administrators' REST of a realm, in Keycloak's paths and
// JSON, so that Keycloak's client libraries work: docs/admin.md is its manual.
//
// It owns the one table of its routes (routes.go), who may call it
// (administrator.go), how a record becomes a representation and back (member.go
// and one table of members for each kind: realm, client, user, role, client
// scope), the errors in Keycloak's shape, paging.
//
// It does not own any record: a handler reads, changes and writes by the domain
// packages, in one transaction, with the audit event of the change in it. What a
// configuration declares (provider/declared) it refuses to change.
//
// What a representation may hold. A member of Keycloak's that has an effect here
// is read and written. One that has none is listed with the values at which it
// has none in Keycloak either: any other value is refused, by its path. So is
// every member that is not listed. Members that Keycloak only answers (ids,
// times, access) are accepted and change nothing. What a GET answers a PUT takes
// and changes nothing by it.
package admin
