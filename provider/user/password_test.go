package user_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nightlatch/nightlatch/provider/user"
)

func TestHasher(t *testing.T) {
	var h user.Hasher
	hash, err := h.Hash(t.Context(), "alice-demo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(hash, "alice") {
		t.Errorf("got %s", hash)
	}
	if err := user.ValidHash(hash); err != nil {
		t.Error(err)
	}
	for password, want := range map[string]bool{"alice-demo": true, "alice-demO": false, "": false, strings.Repeat("x", user.MaxPassword+1): false} {
		if got, err := h.Verify(t.Context(), hash, password); err != nil || got != want {
			t.Errorf("%.12q: %v, %v", password, got, err)
		}
	}
	if again, _ := h.Hash(t.Context(), "alice-demo"); again == hash {
		t.Error("two hashes have the same salt")
	}
	if _, err := h.Hash(t.Context(), strings.Repeat("x", user.MaxPassword+1)); !errors.Is(err, user.ErrPasswordTooLong) {
		t.Errorf("got %v", err)
	}
	for _, password := range []string{"", "x"} {
		if err := h.VerifyNobody(t.Context(), password); err != nil {
			t.Error(err)
		}
	}
}

// The hash of the reference implementation: echo -n password | argon2 somesalt
// -id -t 2 -m 16 -p 1 -l 24.
func TestVerifyForeignHash(t *testing.T) {
	var h user.Hasher
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := h.Verify(t.Context(), hash, "password"); err != nil || !ok {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestValidHash(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, bad := range []string{
		"", "alice-demo", "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1,x=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4000000000,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=99,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=0$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=300$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=65536,t=2,p=1$$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$!!!!!!!!!!!$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + strings.Repeat("A", 200),
	} {
		if err := user.ValidHash(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
		if ok, err := new(user.Hasher).Verify(t.Context(), bad, "password"); ok || err == nil {
			t.Errorf("%q verifies: %v, %v", bad, ok, err)
		}
	}
}

// No more hashes at a time than processors; who waits gives up with its context.
func TestHasherWaitsInLine(t *testing.T) {
	var h user.Hasher
	// Expensive, so that it is still running below.
	const slow = "$argon2id$v=19$m=65536,t=10,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	done := make(chan error)
	n := runtime.GOMAXPROCS(0)
	for range n {
		go func() {
			_, err := h.Verify(context.Background(), slow, "password")
			done <- err
		}()
	}
	cause := errors.New("the browser has gone")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, cause)
	defer cancel()
	var err error
	for range 20 { // until the others have all begun
		if _, err = h.Hash(ctx, "x"); err != nil {
			break
		}
	}
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
