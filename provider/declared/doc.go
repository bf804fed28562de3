// Package declared tells apart what of a record comes from the configuration and
// what administrators made of it.
//
// A record that a configuration declares keeps the names of its declared fields
// in a field of its own, "declared", in the names of its JSON. Merge writes a
// declaration over a record and leaves the rest as it is; Changed finds the
// declared fields that a change would touch, so that it can be refused: the next
// start would undo it.
//
// It owns no record. provider (at a start) and provider/admin (at a change) call
// it.
package declared
