package engine

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
)

// Run calls the closure of an Update; a panic in it becomes an error.
func Run(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("updating store: panic in a closure: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// Goroutine tells goroutines apart, so that an Update inside the closure of an
// Update is an error instead of a wait for itself. It is the number in the first
// line of the stack, "goroutine 7 [". The runtime walks all of the stack for it: some
// 50 µs below an HTTP server, a tenth of a refresh.
func Goroutine() uint64 {
	var buf [32]byte
	s := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(s, ' '); i > 0 {
		s = s[:i]
	}
	n, _ := strconv.ParseUint(string(s), 10, 64)
	return n
}
