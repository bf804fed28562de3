// Package console is the admin console of a realm: server-rendered pages for its
// administrators, below /admin/{realm}/console.
//
// It owns the pages, their addresses (routes.go is the one list), and how a form
// becomes a request of the administrators' REST (field.go) and its refusal a
// message beside the field. A page is a table of fields (editor), a list (list.go),
// or a question before something ends (ask.go): what it will touch, and how much.
//
// It does not own any record, nor any rule about one: each page is a client of the
// REST in the same process (api.go), in the name of who is logged in. So what may
// be changed, who may do so, and what the audit trail says of it stand in one
// place, provider/admin; and what the console can do, a program can.
//
// A page that changes something asks by GET what it will touch, and does it by
// POST with a proof that the form was this person's. GET changes nothing.
package console
