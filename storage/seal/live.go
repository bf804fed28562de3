package seal

import (
	"slices"
	"sync/atomic"
)

// Live is a keyset that is exchanged while it is in use (see Rekey). It seals as the
// keyset of now, and opens what any of before could open: bytes that were read
// before the exchange, and cookies, still come. It implements storage.Sealer.
type Live struct{ is atomic.Pointer[generations] }

type generations struct {
	now    *Keyset
	former []*Keyset // the latest first
}

// NewLive begins with a keyset.
func NewLive(k *Keyset) *Live {
	l := new(Live)
	l.is.Store(&generations{now: k})
	return l
}

// Keyset as of now.
func (l *Live) Keyset() *Keyset { return l.is.Load().now }

// exchange makes another keyset the one of now. One Rekey at a time calls it.
func (l *Live) exchange(k *Keyset) {
	was := l.is.Load()
	l.is.Store(&generations{k, slices.Insert(slices.Clone(was.former), 0, was.now)})
}

// Seal encrypts plaintext for a storage key.
func (l *Live) Seal(key, plaintext []byte) ([]byte, error) { return l.Keyset().Seal(key, plaintext) }

// Open decrypts what was sealed for the same storage key.
func (l *Live) Open(key, sealed []byte) ([]byte, error) {
	is := l.is.Load()
	plain, err := is.now.Open(key, sealed)
	for i := 0; err != nil && i < len(is.former); i++ {
		if plain, ferr := is.former[i].Open(key, sealed); ferr == nil {
			return plain, nil
		}
	}
	return plain, err
}

// Derive returns a subkey, which no exchange changes.
func (l *Live) Derive(purpose string) []byte { return l.Keyset().Derive(purpose) }

// opens tells whether the keyset opens all that another one opens.
func (k *Keyset) opens(other *Keyset) bool {
	return k.Fingerprint() == other.Fingerprint() && !slices.ContainsFunc(other.holds, func(id KeyID) bool { return !slices.Contains(k.holds, id) })
}
