package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"github.com/nightlatch/nightlatch/storage"
)

// compactions sees to it that no compaction takes effect with a table missing.
//
// The engine (4.9.6) drops the error of a table that it cannot make, for want of
// a descriptor or whatever else: `defer inflightBuilders.Done(err)` takes err
// while it is still nil. It goes on without the table, deletes those that it was
// made from, and the rows in it are gone. docs/badger-compaction.patch mends it
// where that belongs; until a release has it, this does from outside.
//
// The engine tells its logger, on the goroutine that works: how many rows the
// next table is going to have (making); that a share of the compaction has no
// further one (made); how the compaction ended (over). Until made returns,
// nothing is in the manifest and no input is deleted. So made waits for the files
// of all announced tables with all announced rows. If they do not come, it makes
// the compaction fail in a way that the engine heeds: what it does next is to
// sync its folder, by the name "…/store/door-1/..", while the files are made
// under that name's clean form "…/store". With door-1 away, that one sync fails
// and nothing else. The engine removes what it has made, keeps what it had, and
// tries again later. (Not on Windows, where it syncs no folder; nor are
// descriptors scarce there.)
//
// Compactions take turns, so that a new file is somebody's without doubt. It
// keeps the memory low that they build their tables in, too.
//
// What cannot be seen in time is a file that is whole but was refused by the
// disk when it was synced (EIO). That is told afterwards.
type compactions struct {
	dir  string
	door string
	log  *slog.Logger
	// patience is how long nothing may change before a table counts as lost.
	patience time.Duration

	mu     sync.Mutex
	turn   *sync.Cond
	engine *badger.DB // nil until it is open
	busy   bool
	owner  int // the compactor whose turn it is

	// Of that compaction:
	announced tally
	floor     uint64           // the numbers of its tables are greater,
	newest    uint64           // and their rows no newer
	whole     map[uint64]whole // tables seen so far, by number
	refused   bool
	spent     func() // ends its thrift

	failing error // the last one did, and level 0 fills up behind it
	lost    error // rows are missing
}

// tally of tables.
type tally struct{ tables, rows int }

// whole is a table that is completely in its file.
type whole struct {
	rows   int
	newest uint64 // version of its newest row
}

const (
	tablePatience = 10 * time.Second
	crowdedTables = 10 // of 15 in level 0
	tablePoll     = 2 * time.Millisecond
)

// newCompactions makes the door in a folder that exists.
func newCompactions(dir string, patience time.Duration, log *slog.Logger) (*compactions, error) {
	door, err := os.MkdirTemp(dir, doorPrefix)
	if err != nil {
		return nil, err
	}
	c := &compactions{dir: dir, door: door, log: log, patience: patience}
	c.turn = sync.NewCond(&c.mu)
	return c, nil
}

const doorPrefix = "door-"

// path names the folder for the engine. It is not clean on purpose.
func (c *compactions) path() string { return c.door + string(filepath.Separator) + ".." }

// opened is told of the engine, once it is open. It removes the doors of
// processes that were killed: the folder's lock is ours.
func (c *compactions) opened(db *badger.DB) {
	c.mu.Lock()
	c.engine = db
	c.mu.Unlock()
	files, _ := os.ReadDir(c.dir) // what is left there does no harm
	for _, f := range files {
		if g := filepath.Join(c.dir, f.Name()); strings.HasPrefix(f.Name(), doorPrefix) && g != c.door {
			_ = os.Remove(g)
		}
	}
}

// closed is told when the engine is not used any more.
func (c *compactions) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = os.Remove(c.door)
	_ = os.Remove(c.away())
}

// making: compactor id is about to make a table of that many rows, or none if
// there are none.
func (c *compactions) making(id, rows int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.busy && c.owner != id {
		c.turn.Wait()
	}
	if !c.busy {
		c.begin(id)
	}
	if rows > 0 {
		c.announced.tables++
		c.announced.rows += rows
	}
}

func (c *compactions) begin(id int) {
	c.busy, c.owner, c.spent = true, id, beThrifty()
	c.announced, c.whole, c.refused = tally{}, map[uint64]whole{}, false
	// A table of a flush may be made at the same time. It holds newer rows than
	// all that are in the levels, out of which a compaction makes its own.
	c.newest = math.MaxUint64
	if c.engine != nil {
		c.newest = 0
		for _, t := range c.engine.Tables() {
			c.newest = max(c.newest, t.MaxVersion)
		}
	}
	numbers, err := c.numbers(0)
	if err != nil {
		c.refuse(fmt.Errorf("listing tables: %w", err))
		return
	}
	c.floor = 0
	if len(numbers) > 0 {
		c.floor = slices.Max(numbers)
	}
}

// made: a share of the compaction has no further table. It returns when all that
// were announced are in the folder, or the compaction is going to fail.
func (c *compactions) made() {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, since := tally{-1, -1}, time.Now()
	for c.busy && !c.refused {
		found, err := c.count()
		if err == nil && found == c.announced {
			// What follows makes files too: the manifest, written anew.
			if err = spareDescriptors(); err == nil {
				return
			}
		}
		if found != last {
			last, since = found, time.Now()
		} else if time.Since(since) > c.patience {
			if err == nil {
				err = fmt.Errorf("%d tables with %d rows were to be made, %d with %d are there", c.announced.tables, c.announced.rows, found.tables, found.rows)
			}
			c.refuse(err)
			return
		}
		c.mu.Unlock()
		time.Sleep(tablePoll)
		c.mu.Lock()
	}
}

// over: the compaction of that compactor has ended.
func (c *compactions) over(id int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy || c.owner != id {
		return
	}
	c.failing = nil
	switch {
	case err == nil:
		c.confirm()
	case !c.refused: // that has been told
		c.log.Warn("badger: a compaction failed and will be tried again", "err", err)
	}
	if err != nil && c.crowded() {
		c.failing = fmt.Errorf("compactions fail: %w", storage.ErrFull)
	}
	if c.refused {
		if err := os.Rename(c.away(), c.door); err != nil {
			c.log.Error("badger: compactions cannot go on until the store is opened again", "err", err)
		}
	}
	c.busy = false
	c.spent()
	c.turn.Broadcast()
}

// refuse lets the compaction fail.
func (c *compactions) refuse(why error) {
	c.refused = true
	c.log.Warn("badger: a compaction could not make its tables and will be tried again; nothing is lost", "err", why)
	if err := os.Rename(c.door, c.away()); err != nil {
		c.log.Error("badger: a compaction cannot be stopped", "err", err)
	}
}

// away is where the door is while the engine must not sync its folder.
func (c *compactions) away() string { return c.door + "-away" }

// confirm looks whether the tables of a compaction that took effect are in it.
func (c *compactions) confirm() {
	if c.engine == nil {
		return
	}
	kept := map[uint64]bool{}
	for _, t := range c.engine.Tables() {
		kept[t.ID] = true
	}
	for number, w := range c.whole {
		if w.newest <= c.newest && !kept[number] {
			c.lost = fmt.Errorf("the disk refused table %s, its %d rows are missing: %w", table.IDToFilename(number), w.rows, storage.ErrFull)
		}
	}
	if c.refused {
		c.lost = fmt.Errorf("a compaction took effect without all of its tables: %w", storage.ErrFull)
	}
	if c.lost != nil {
		c.log.Error("badger: records are lost; stop the server, keep a copy of the folder, and restore a backup", "err", c.lost)
	}
}

// crowded tells whether level 0 is close to where the engine lets writers wait
// until a compaction succeeds.
func (c *compactions) crowded() bool {
	n := 0
	if c.engine != nil {
		for _, t := range c.engine.Tables() {
			if t.Level == 0 {
				n++
			}
		}
	}
	return n >= crowdedTables
}

// trouble tells why nothing should be written for now; nil if it may be.
func (c *compactions) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		return c.lost
	}
	return c.failing
}

// count tallies the tables of the compaction that are whole.
func (c *compactions) count() (found tally, err error) {
	numbers, err := c.numbers(c.floor)
	if err != nil {
		return found, fmt.Errorf("listing tables: %w", err)
	}
	for _, number := range numbers {
		w, ok := c.whole[number]
		if !ok {
			if w, ok, err = readTable(table.NewFilename(number, c.dir)); err != nil {
				return found, fmt.Errorf("reading table: %w", err)
			}
			if !ok {
				continue
			}
			c.whole[number] = w
		}
		if w.newest <= c.newest {
			found.tables++
			found.rows += w.rows
		}
	}
	return found, nil
}

// numbers lists those of the table files that are greater than floor.
func (c *compactions) numbers(floor uint64) ([]uint64, error) {
	dir, err := os.Open(c.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	var numbers []uint64
	for _, name := range names {
		if n, ok := table.ParseFileID(name); ok && n > floor {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// readTable reads the index at the end of a table's file: blocks, index, its
// length, checksum, its length. The engine copies it there in this order, so the
// rest is there if the index is. ok is false for a file that is not whole yet.
func readTable(name string) (w whole, ok bool, err error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return whole{}, false, nil // a flush that failed has removed it
	}
	if err != nil {
		return whole{}, false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return whole{}, false, err
	}
	end := info.Size()
	// part reads what stands before end, then its own length.
	part := func(most int64) []byte {
		var length [4]byte
		if _, err := f.ReadAt(length[:], end-4); err != nil {
			return nil
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if end -= 4 + n; n == 0 || n > most || end < 0 {
			return nil
		}
		b := make([]byte, n)
		if _, err := f.ReadAt(b, end); err != nil {
			return nil
		}
		return b
	}
	sum := part(64)
	if sum == nil {
		return whole{}, false, nil
	}
	index := part(info.Size())
	var want pb.Checksum
	if index == nil || proto.Unmarshal(sum, &want) != nil || y.VerifyChecksum(index, &want) != nil {
		return whole{}, false, nil
	}
	i := fb.GetRootAsTableIndex(index, 0)
	return whole{rows: int(i.KeyCount()), newest: i.MaxVersion()}, true, nil
}
