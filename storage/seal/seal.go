package seal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/core/cryptofmt"
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

// KeyID names one sealing key of a keyset; every sealed value begins with it.
type KeyID uint32

func (id KeyID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// Keyset seals and opens values and derives subkeys. It may hold several sealing
// keys: the newest seals, all of them open. It never changes. It implements
// storage.Sealer; while others may exchange the key, Live stands before it.
type Keyset struct {
	file    file
	handle  *keyset.Handle
	newest  KeyID
	holds   []KeyID // ascending
	aead    tink.AEAD
	derives *prf.Set
}

// file is the JSON form of a keyset: an AEAD keyset, which changes when it is
// rekeyed, and a key for derivation, which stays.
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
	derive, err := clear(d)
	if err != nil {
		return nil, err
	}
	return assemble(a, derive)
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

// Marshal returns the content of a key file.
func (k *Keyset) Marshal() ([]byte, error) { return json.Marshal(k.file) }

// Seal encrypts plaintext for a storage key.
func (k *Keyset) Seal(key, plaintext []byte) ([]byte, error) { return k.aead.Encrypt(plaintext, key) }

// Open decrypts what was sealed for the same storage key.
func (k *Keyset) Open(key, sealed []byte) ([]byte, error) { return k.aead.Decrypt(sealed, key) }

// Derive returns a 32 byte subkey that is the same as long as the keyset lives,
// also when its sealing keys are replaced.
func (k *Keyset) Derive(purpose string) []byte {
	out, err := k.derives.ComputePrimaryPRF([]byte("nightlatch/"+purpose), 32)
	if err != nil {
		// HKDF-SHA-256 yields up to 8160 bytes: 32 cannot fail.
		panic(fmt.Sprintf("deriving subkey: %v", err))
	}
	return out
}

// Fingerprint names the keyset without telling anything about it. It stays when
// the sealing keys are replaced.
func (k *Keyset) Fingerprint() string { return hex.EncodeToString(k.Derive("fingerprint")[:16]) }

// Keys lists the sealing keys, ascending.
func (k *Keyset) Keys() []KeyID { return slices.Clone(k.holds) }

// Same tells whether both keysets seal and open the same.
func (k *Keyset) Same(other *Keyset) bool {
	return k.Fingerprint() == other.Fingerprint() && k.newest == other.newest && slices.Equal(k.holds, other.holds)
}

// WithNewKey returns the keyset with a fresh key, which seals from now on.
func (k *Keyset) WithNewKey() (*Keyset, error) {
	m := keyset.NewManagerFromHandle(k.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	return k.changed(m, err)
}

// sealingWith returns the keyset with another one of its keys to seal; 0: as it is.
func (k *Keyset) sealingWith(id KeyID) (*Keyset, error) {
	if id == k.newest || id == 0 {
		return k, nil
	}
	m := keyset.NewManagerFromHandle(k.handle)
	return k.changed(m, m.SetPrimary(uint32(id)))
}

// NewestOnly returns the keyset without any key but the one that seals.
func (k *Keyset) NewestOnly() (*Keyset, error) {
	m := keyset.NewManagerFromHandle(k.handle)
	var err error
	for _, id := range k.holds {
		if id != k.newest && err == nil {
			err = m.Delete(uint32(id))
		}
	}
	return k.changed(m, err)
}

func (k *Keyset) changed(m *keyset.Manager, err error) (*Keyset, error) {
	var h *keyset.Handle
	if err == nil {
		h, err = m.Handle()
	}
	if err != nil {
		return nil, fmt.Errorf("changing keyset: %w", err)
	}
	return assemble(h, k.file.Derive)
}

// opens tells whether the keyset opens all that another one opens.
func (k *Keyset) opens(other *Keyset) bool {
	return k.Fingerprint() == other.Fingerprint() && !slices.ContainsFunc(other.holds, func(id KeyID) bool { return !slices.Contains(k.holds, id) })
}

// SealedWith tells which key sealed the value of an item; ok is false for one
// that is not sealed. Records are JSON or begin with Tink's first byte, which no
// JSON does.
func SealedWith(it storage.Item) (id KeyID, ok bool) {
	if _, record := storage.TableOf(it.Key); !record {
		return 0, false
	}
	return sealedWith(it.Value)
}

func sealedWith(value []byte) (id KeyID, ok bool) {
	if len(value) < cryptofmt.NonRawPrefixSize || value[0] != cryptofmt.TinkStartByte {
		return 0, false
	}
	return KeyID(binary.BigEndian.Uint32(value[1:])), true
}

func assemble(a *keyset.Handle, derive json.RawMessage) (*Keyset, error) {
	raw, err := clear(a)
	if err != nil {
		return nil, err
	}
	return open(file{AEAD: raw, Derive: derive})
}

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
	k := &Keyset{file: f, handle: a, newest: KeyID(a.KeysetInfo().GetPrimaryKeyId())}
	for _, info := range a.KeysetInfo().GetKeyInfo() {
		k.holds = append(k.holds, KeyID(info.GetKeyId()))
	}
	slices.Sort(k.holds)
	if k.aead, err = aead.New(a); err != nil {
		return nil, fmt.Errorf("reading aead keyset: %w", err)
	}
	if k.derives, err = prf.NewPRFSet(d); err != nil {
		return nil, fmt.Errorf("reading derivation keyset: %w", err)
	}
	return k, nil
}

func clear(h *keyset.Handle) (json.RawMessage, error) {
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&buf)); err != nil {
		return nil, fmt.Errorf("writing keyset: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

var _ storage.Sealer = (*Keyset)(nil)
