package caddymodule

import (
	"context"
	"testing"
	"time"
)

// TestARequestDoesNotWaitForAFailedStart: one that a server of a configuration took
// which then did not start is given up at once.
func TestARequestDoesNotWaitForAFailedStart(t *testing.T) {
	a := &App{ready: make(chan struct{})}
	a.failed, a.giveUp = context.WithCancel(t.Context())
	entered := make(chan bool, 1)
	begun := time.Now()
	go func() { entered <- a.enter(t.Context()) }()
	if err := a.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if <-entered {
		t.Error("it was let in")
	}
	if d := time.Since(begun); d > readyWithin/2 {
		t.Errorf("it waited for %v", d)
	}
}
