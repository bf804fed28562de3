package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// Source is what a store is filled from. *storage.Store and *File are sources.
type Source interface {
	// Each calls fn with the items behind after (nil: all) in the order of their
	// keys.
	Each(ctx context.Context, after []byte, fn func(storage.Item) error) error
}

// Sum tells what a store holds: how many items, and a checksum over their keys,
// values and expiry in order.
type Sum struct {
	Items  int
	SHA256 [sha256.Size]byte
}

func (s Sum) String() string { return hex.EncodeToString(s.SHA256[:]) }

// SumOf reads a whole source.
func SumOf(ctx context.Context, from Source, progress func(items int)) (Sum, error) {
	h := newSummer()
	err := each(ctx, from, nil, func(it storage.Item) error {
		h.add(it)
		if progress != nil && h.items%tellEvery == 0 {
			progress(h.items)
		}
		return nil
	})
	return h.sum(), err
}

// tellEvery is how many items pass between two words about progress.
const tellEvery = 1000

// each is a source without what stays.
func each(ctx context.Context, from Source, after []byte, fn func(storage.Item) error) error {
	return from.Each(ctx, after, func(it storage.Item) error {
		if stays(it.Key) {
			return nil
		}
		return fn(it)
	})
}

// summer adds items up.
type summer struct {
	hash  hash.Hash
	items int
	buf   []byte
}

func newSummer() *summer { return &summer{hash: sha256.New()} }

func (s *summer) add(it storage.Item) {
	s.items++
	s.buf = appendItem(s.buf[:0], it)
	s.hash.Write(s.buf)
}

func (s *summer) sum() Sum {
	out := Sum{Items: s.items}
	s.hash.Sum(out.SHA256[:0])
	return out
}

// appendItem writes an item such that no two items give the same bytes: lengths
// before key and value, between them the expiry.
func appendItem(b []byte, it storage.Item) []byte {
	b = binary.AppendUvarint(b, uint64(len(it.Key)))
	b = append(b, it.Key...)
	b = binary.AppendUvarint(b, uint64(engine.Nano(it.Expires)))
	b = binary.AppendUvarint(b, uint64(len(it.Value)))
	return append(b, it.Value...)
}
