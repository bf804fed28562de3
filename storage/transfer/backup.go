package transfer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/engine"
)

// A backup is a line of text, then a gzip stream of frames. A frame is one byte,
// and behind it
//
//	frameItem  the item as it is summed up (appendItem)
//	frameEnd   the number of items (uvarint) and their checksum
//
// Keys ascend. Nothing follows the end. It holds no key: what is sealed in the
// store is sealed in the backup.
const (
	magic     = "nightlatch backup 1\n"
	frameEnd  = 0
	frameItem = 1
)

// ErrBadBackup: the file is no backup, or not all of one.
var ErrBadBackup = errors.New("not a whole backup")

// Backup writes what the store holds at one instant, also while others use it.
// created is the time that the file names.
func Backup(ctx context.Context, w io.Writer, from *storage.Store, created time.Time, progress func(items int)) (Sum, error) {
	if err := Whole(ctx, from); err != nil {
		return Sum{}, fmt.Errorf("reading source: %w", err)
	}
	if _, err := io.WriteString(w, magic); err != nil {
		return Sum{}, fmt.Errorf("writing backup: %w", err)
	}
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return Sum{}, err
	}
	zip.ModTime = created
	h, out := newSummer(), bufio.NewWriterSize(zip, 64<<10)
	begun := false
	err = from.View(ctx, func(tx storage.Tx) error {
		if begun {
			return errors.New("the store began the snapshot again")
		}
		begun = true
		return each(ctx, snapshot{tx}, nil, func(it storage.Item) error {
			h.add(it)
			if progress != nil && h.items%tellEvery == 0 {
				progress(h.items)
			}
			return errors.Join(out.WriteByte(frameItem), errOf(out.Write(h.buf)))
		})
	})
	if err != nil {
		return Sum{}, fmt.Errorf("writing backup: %w", err)
	}
	sum := h.sum()
	end := binary.AppendUvarint([]byte{frameEnd}, uint64(sum.Items))
	if err := errors.Join(errOf(out.Write(append(end, sum.SHA256[:]...))), out.Flush(), zip.Close()); err != nil {
		return Sum{}, fmt.Errorf("writing backup: %w", err)
	}
	return sum, nil
}

func errOf(_ int, err error) error { return err }

// snapshot is a transaction as a source.
type snapshot struct{ tx storage.Tx }

func (s snapshot) Each(ctx context.Context, after []byte, fn func(storage.Item) error) error {
	const page = 256
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		items, err := s.tx.Scan(nil, after, page)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := fn(it); err != nil {
				return err
			}
		}
		if len(items) < page {
			return nil
		}
		after = items[len(items)-1].Key
	}
}

// File is a backup as a source. Each reads all of it and fails with ErrBadBackup
// at the end if that is not what was written, so SumOf verifies it.
type File struct {
	Path string
	// At is the instant at which expired items are left out; zero: none.
	At time.Time
}

// Created tells when the backup was made, to the second.
func (f *File) Created() (time.Time, error) {
	var at time.Time
	err := f.read(func(zip *gzip.Reader) error {
		at = zip.ModTime
		return nil
	})
	return at, err
}

// Each implements Source.
func (f *File) Each(ctx context.Context, after []byte, fn func(storage.Item) error) error {
	return f.read(func(zip *gzip.Reader) error {
		r := frames{in: bufio.NewReaderSize(zip, 64<<10), sum: newSummer()}
		for {
			it, more, err := r.next()
			if err != nil || !more {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			expired := !f.At.IsZero() && !it.Expires.IsZero() && !it.Expires.After(f.At)
			if expired || bytes.Compare(it.Key, after) <= 0 {
				continue
			}
			if err := fn(it); err != nil {
				return err
			}
		}
	})
}

func (f *File) read(fn func(*gzip.Reader) error) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("reading backup: %w", err)
	}
	defer in.Close()
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != magic {
		return fmt.Errorf("reading backup %s: it does not begin with %q: %w", f.Path, magic, ErrBadBackup)
	}
	zip, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("reading backup %s: %w: %w", f.Path, ErrBadBackup, err)
	}
	if err := fn(zip); err != nil {
		return fmt.Errorf("reading backup %s: %w", f.Path, err)
	}
	return nil
}

// frames reads the body of a backup.
type frames struct {
	in   *bufio.Reader
	sum  *summer
	last []byte
}

func bad(what string, err error) error { return fmt.Errorf("%w: %s: %w", ErrBadBackup, what, err) }

// next returns more = false behind the last item, when the checksum is right.
func (r *frames) next() (it storage.Item, more bool, err error) {
	kind, err := r.in.ReadByte()
	switch {
	case err != nil:
		return it, false, bad("it is cut short", err)
	case kind == frameEnd:
		return it, false, r.end()
	case kind != frameItem:
		return it, false, bad("it is damaged", fmt.Errorf("frame of kind %d", kind))
	}
	if it.Key, err = r.bytes(storage.MaxKey); err != nil {
		return it, false, bad("it is damaged or cut short", err)
	}
	at, err := binary.ReadUvarint(r.in)
	if err != nil {
		return it, false, bad("it is damaged or cut short", err)
	}
	it.Expires = engine.Instant(int64(at))
	if it.Value, err = r.bytes(storage.MaxValue); err != nil {
		return it, false, bad("it is damaged or cut short", err)
	}
	if bytes.Compare(it.Key, r.last) <= 0 {
		return it, false, bad("it is damaged", errors.New("keys do not ascend"))
	}
	r.last = it.Key
	r.sum.add(it)
	return it, true, nil
}

func (r *frames) bytes(most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, fmt.Errorf("%d bytes where at most %d may be", n, most)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.in, b)
	return b, err
}

func (r *frames) end() error {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return bad("it is cut short", err)
	}
	want := Sum{Items: int(n)}
	if _, err := io.ReadFull(r.in, want.SHA256[:]); err != nil {
		return bad("it is cut short", err)
	}
	if got := r.sum.sum(); got != want {
		return bad("it is damaged", fmt.Errorf("%d items with checksum %s, want %d with %s", got.Items, got, want.Items, want))
	}
	// gzip has a checksum of its own, behind which nothing follows.
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return bad("it is damaged behind its end", errors.Join(err, errors.New("more follows")))
	}
	return nil
}

var (
	_ Source = (*File)(nil)
	_ Source = (*storage.Store)(nil)
)
