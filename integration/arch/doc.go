// Package arch checks what no compiler does: which package may import which,
// and that every test that the documentation names exists and is not skipped.
//
// It does not own behaviour; it only reads the tree. `make check` runs it.
package arch
