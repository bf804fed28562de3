package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
)

// Parameters of new hashes: OWASP's and RFC 9106's low-memory choice.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// MaxPassword is the length of the longest password, in bytes.
const MaxPassword = 4 << 10

// ErrPasswordTooLong: the password exceeds MaxPassword.
var ErrPasswordTooLong = errors.New("password is too long")

// Hasher hashes passwords by argon2id, as many at a time as there are
// processors: each takes 19 MiB and some 40 ms, and a flood of logins must
// wait in line rather than take the memory. The zero value works.
type Hasher struct {
	Random io.Reader // default crypto/rand.Reader

	once  sync.Once
	slots chan struct{}
}

// enter waits for a slot until ctx ends.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	h.once.Do(func() { h.slots = make(chan struct{}, runtime.GOMAXPROCS(0)) })
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to hash a password: %w", context.Cause(ctx))
	}
}

// Hash returns the PHC string of a new hash.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > MaxPassword {
		return "", ErrPasswordTooLong
	}
	random := h.Random
	if random == nil {
		random = rand.Reader
	}
	salt := make([]byte, argonSalt)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("making a salt: %w", err)
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	p := phc{memory: argonMemory, time: argonTime, threads: argonThreads, salt: salt}
	p.key = argon2.IDKey([]byte(password), salt, p.time, p.memory, p.threads, argonKey)
	return p.String(), nil
}

// Verify tells whether a password belongs to a hash. A password that is too
// long belongs to none.
func (h *Hasher) Verify(ctx context.Context, hash, password string) (bool, error) {
	p, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	if len(password) > MaxPassword {
		return false, nil
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	key := argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1, nil
}

// nobody is what VerifyNobody compares with; it belongs to no password.
var nobody = phc{memory: argonMemory, time: argonTime, threads: argonThreads,
	salt: make([]byte, argonSalt), key: make([]byte, argonKey)}.String()

// VerifyNobody costs what Verify costs, so that an unknown name cannot be told
// from a wrong password by the time it takes.
func (h *Hasher) VerifyNobody(ctx context.Context, password string) error {
	_, err := h.Verify(ctx, nobody, password)
	return err
}

// ValidHash reports why a password hash from outside cannot be used.
func ValidHash(hash string) error {
	_, err := parsePHC(hash)
	return err
}

// phc is an argon2id hash in the string format of the password hashing
// competition: $argon2id$v=19$m=19456,t=2,p=1$salt$key.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

var phcBase64 = base64.RawStdEncoding.Strict()

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		phcBase64.EncodeToString(p.salt), phcBase64.EncodeToString(p.key))
}

// parsePHC bounds what a hash from outside may cost.
func parsePHC(s string) (phc, error) {
	var p phc
	bad := errors.New("want $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, bad
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || n != 3 {
		return p, bad
	}
	if fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.time, p.threads) != parts[3] {
		return p, bad // Sscanf stops before what follows
	}
	if p.memory < 8*uint32(p.threads) || p.memory > 256*1024 || p.time < 1 || p.time > 16 || p.threads < 1 || p.threads > 16 {
		return p, errors.New("the parameters are out of range: want 8 p ≤ m ≤ 262144, 1 ≤ t ≤ 16 and 1 ≤ p ≤ 16")
	}
	var err error
	if p.salt, err = phcBase64.DecodeString(parts[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return p, bad
	}
	if p.key, err = phcBase64.DecodeString(parts[5]); err != nil || len(p.key) < 16 || len(p.key) > 64 {
		return p, bad
	}
	return p, nil
}
