package caddymodule

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/storagetest"
)

// gate is a gateway that comes to use a store.
func gate(t *testing.T, s *storage.Store, k *seal.Keyset) *attendant {
	t.Helper()
	live, err := seal.Open(t.Context(), s, k, sealsFor)
	if err != nil {
		t.Fatal(err)
	}
	return attend(s, "gateway", live)
}

// TestAlone: gateways and commands that share an engine never have a store at the
// same time.
func TestAlone(t *testing.T) {
	s, k := storagetest.New(t, nil), storagetest.Keyset(t)
	warn := func(err error) { t.Error(err) }
	var loops sync.WaitGroup
	running, stop := context.WithCancel(t.Context())
	for range 2 { // two nodes
		if err := gate(t, s, k).appear(running, warn, &loops); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := alone(t.Context(), s); !errors.Is(err, errInUse) || operatorExit(err) != exitTemporary {
		t.Errorf("beside gateways: %v", err)
	}
	stop()
	loops.Wait()
	ctx, done, err := alone(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := alone(t.Context(), s); !errors.Is(err, errInUse) {
		t.Errorf("a second command: %v", err)
	}
	if err := gate(t, s, k).appear(t.Context(), warn, &loops); !errors.Is(err, errInUse) {
		t.Errorf("a gateway beside a command: %v", err)
	}
	if present, err := s.Present(t.Context()); err != nil || len(present) > 0 {
		t.Errorf("the refused gateway counts as present: %v, %v", present, err)
	}
	done()
	if ctx.Err() == nil {
		t.Error("the command's context outlives its right")
	}
	running, stop = context.WithCancel(t.Context())
	defer loops.Wait()
	defer stop()
	if err := gate(t, s, k).appear(running, warn, &loops); err != nil {
		t.Errorf("after the command: %v", err)
	}
}

// TestAloneRaces: whoever comes at the same time, one of the two gives way.
func TestAloneRaces(t *testing.T) {
	for range 20 {
		s, k := storagetest.New(t, nil), storagetest.Keyset(t)
		ctx, stop := context.WithCancel(t.Context())
		var loops, both sync.WaitGroup
		var gateway, command error
		node := gate(t, s, k)
		done := func() {}
		both.Go(func() { gateway = node.appear(ctx, func(err error) { t.Error(err) }, &loops) })
		both.Go(func() {
			_, end, err := alone(ctx, s)
			if command = err; err == nil {
				done = end
			}
		})
		both.Wait()
		if gateway == nil && command == nil {
			t.Error("both have the store")
		}
		for _, err := range []error{gateway, command} {
			if err != nil && !errors.Is(err, errInUse) {
				t.Error(err)
			}
		}
		done()
		stop()
		loops.Wait()
	}
}
