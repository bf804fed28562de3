package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/nightlatch/nightlatch/storage"
)

// Errors that an operator has to act on.
var (
	// ErrForeignKey: the store was sealed with another key.
	ErrForeignKey = errors.New("store was sealed with another key")
	// ErrBadKey: the key file is not one of ours.
	ErrBadKey = errors.New("not a sealing key")
)

// Keyset seals and opens values and derives subkeys. It implements
// storage.Sealer.
type Keyset struct {
	file   file
	aead   tink.AEAD
	derive *prf.Set
}

// file is the JSON form of a keyset: an AEAD keyset, which grows when it is
// rotated, and a key for derivation, which stays.
type file struct {
	AEAD   json.RawMessage `json:"aead"`
	Derive json.RawMessage `json:"derive"`
}

// New makes a keyset of fresh keys.
func New() (*Keyset, error) {
	a, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making sealing key: %w", err)
	}
	d, err := keyset.NewHandle(prf.HKDFSHA256PRFKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making sealing key: %w", err)
	}
	var f file
	if f.AEAD, err = clear(a); err != nil {
		return nil, err
	}
	if f.Derive, err = clear(d); err != nil {
		return nil, err
	}
	return open(f)
}

// Parse reads the content of a key file. The error wraps ErrBadKey.
func Parse(raw []byte) (*Keyset, error) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil || len(f.AEAD) == 0 || len(f.Derive) == 0 {
		return nil, ErrBadKey
	}
	k, err := open(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	return k, nil
}

// Load reads a key file.
func Load(path string) (*Keyset, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading sealing key: %w", err)
	}
	k, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading sealing key %s: %w", path, err)
	}
	return k, nil
}

// Create makes a keyset and writes it, mode 0600 and synced, to a file that
// does not exist yet.
func Create(path string) (*Keyset, error) {
	k, err := New()
	if err != nil {
		return nil, err
	}
	raw, err := k.Marshal()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("writing sealing key: %w", err)
	}
	_, err = f.Write(append(raw, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
		return nil, fmt.Errorf("writing sealing key: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // the name is on disk before anything is sealed
		_ = dir.Close()
	}
	return k, nil
}

// LoadOrCreate reads the key file, or makes it if there is none. Whoever calls
// it has made sure that the store is empty, or Check will refuse.
func LoadOrCreate(path string) (*Keyset, error) {
	k, err := Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Create(path)
	}
	return k, err
}

// Marshal returns the content of a key file.
func (k *Keyset) Marshal() ([]byte, error) { return json.Marshal(k.file) }

// Seal encrypts plaintext for a storage key.
func (k *Keyset) Seal(key, plaintext []byte) ([]byte, error) { return k.aead.Encrypt(plaintext, key) }

// Open decrypts what was sealed for the same storage key.
func (k *Keyset) Open(key, sealed []byte) ([]byte, error) { return k.aead.Decrypt(sealed, key) }

// Derive returns a 32 byte subkey that is the same as long as the keyset lives,
// also when its sealing keys are rotated.
func (k *Keyset) Derive(purpose string) []byte {
	out, err := k.derive.ComputePrimaryPRF([]byte("nightlatch/"+purpose), 32)
	if err != nil {
		// HKDF-SHA-256 yields up to 8160 bytes: 32 cannot fail.
		panic(fmt.Sprintf("deriving subkey: %v", err))
	}
	return out
}

// Fingerprint names the keyset without telling anything about it.
func (k *Keyset) Fingerprint() string { return hex.EncodeToString(k.Derive("fingerprint")[:16]) }

func open(f file) (*Keyset, error) {
	read := func(raw json.RawMessage) (*keyset.Handle, error) {
		return insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(raw)))
	}
	a, err := read(f.AEAD)
	if err != nil {
		return nil, fmt.Errorf("reading aead keyset: %w", err)
	}
	d, err := read(f.Derive)
	if err != nil {
		return nil, fmt.Errorf("reading derivation keyset: %w", err)
	}
	k := &Keyset{file: f}
	if k.aead, err = aead.New(a); err != nil {
		return nil, fmt.Errorf("reading aead keyset: %w", err)
	}
	if k.derive, err = prf.NewPRFSet(d); err != nil {
		return nil, fmt.Errorf("reading derivation keyset: %w", err)
	}
	return k, nil
}

func clear(h *keyset.Handle) (json.RawMessage, error) {
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&buf)); err != nil {
		return nil, fmt.Errorf("making sealing key: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// fingerprintKey is the storage key of the fingerprint.
var fingerprintKey = storage.Key("seal", "fingerprint")

// Check compares the keyset with the fingerprint in the store and writes it
// into an empty one. ErrForeignKey: the store belongs to another key; nothing
// was written.
func Check(ctx context.Context, s *storage.Store, k *Keyset) error {
	want := k.Fingerprint()
	have := ""
	err := s.View(ctx, func(tx storage.Tx) error {
		var err error
		have, err = fingerprint(tx)
		return err
	})
	if err == nil && have == "" {
		err = s.Update(ctx, func(tx storage.Tx) error {
			var err error
			if have, err = fingerprint(tx); err != nil || have != "" {
				return err
			}
			have = want
			return tx.Put(storage.Item{Key: fingerprintKey, Value: []byte(want)})
		})
	}
	switch {
	case err != nil:
		return fmt.Errorf("checking sealing key: %w", err)
	case have != want:
		return fmt.Errorf("checking sealing key: the store has fingerprint %s, the key %s; give the key that the store was made with, or choose another store: %w", have, want, ErrForeignKey)
	}
	return nil
}

// Empty tells whether nothing was ever stored, so that a new key may be made.
func Empty(ctx context.Context, s *storage.Store) (bool, error) {
	empty := false
	err := s.View(ctx, func(tx storage.Tx) error {
		items, err := tx.Scan(nil, nil, 1)
		empty = len(items) == 0
		return err
	})
	return empty, err
}

// fingerprint returns "" for an empty store. A store with records but without a
// fingerprint is not ours.
func fingerprint(tx storage.Tx) (string, error) {
	it, err := tx.Get(fingerprintKey)
	if err == nil {
		return string(it.Value), nil
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	items, err := tx.Scan(nil, nil, 1)
	if err != nil {
		return "", err
	}
	if len(items) > 0 {
		return "none", nil
	}
	return "", nil
}

var _ storage.Sealer = (*Keyset)(nil)
