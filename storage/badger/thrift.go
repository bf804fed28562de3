package badger

import (
	"runtime/debug"
	"sync"
)

// thriftyPercent is how much garbage may be made beside what is in use while a
// compaction runs. What is in use then is mostly blocks of tables under
// construction, which the collector need not look into: to collect earlier costs
// little there.
const thriftyPercent = 25

// thrift counts the compactions of all stores of this process that run.
var thrift struct {
	mu      sync.Mutex
	running int
	usual   int // percent outside of compactions: GOGC, or what the program has set
}

// beThrifty lets the collector begin earlier until the returned function is
// called. Who has it begin earlier still, or never (GOGC=off), keeps that.
func beThrifty() (done func()) {
	thrift.mu.Lock()
	defer thrift.mu.Unlock()
	if thrift.running++; thrift.running == 1 {
		thrift.usual = debug.SetGCPercent(thriftyPercent)
		if thrift.usual < thriftyPercent {
			debug.SetGCPercent(thrift.usual)
		}
	}
	return func() {
		thrift.mu.Lock()
		defer thrift.mu.Unlock()
		if thrift.running--; thrift.running == 0 {
			debug.SetGCPercent(thrift.usual)
		}
	}
}
