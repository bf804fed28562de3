package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

// disk is where a process keeps its store, and can be full: in truth where it is
// a small one of its own, else as the process is told.
type disk struct {
	store  string // the folder of the store
	told   string // the file that tells the process how much is free
	mu     sync.Mutex
	small  bool
	filled bool
}

// A full disk has too little left to commit, and enough to start and to read:
// storage/badger keeps 256 and 192 MiB.
const (
	fullDisk  = 224 << 20
	smallDisk = 448 << 20 // how large the small one is
)

func (d *disk) ballast() string { return filepath.Join(d.store, "ballast") }

func (d *disk) fill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.filled {
		return nil
	}
	d.filled = true
	if d.small {
		return takeAllBut(d.ballast(), fullDisk)
	}
	temp := d.told + ".new"
	if err := os.WriteFile(temp, []byte(strconv.Itoa(fullDisk)), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, d.told)
}

func (d *disk) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.filled = false
	if d.small {
		_ = os.Remove(d.ballast())
	} else {
		_ = os.Remove(d.told)
	}
}

// shrink puts the store on a small disk that is mounted in its place.
func (d *disk) shrink() error {
	kept := d.store + ".kept"
	err := errors.Join(os.Rename(d.store, kept), os.Mkdir(d.store, 0o700))
	if err != nil {
		return err
	}
	if err := mountSmall(d.store, smallDisk); err != nil {
		return errors.Join(err, os.Remove(d.store), os.Rename(kept, d.store))
	}
	d.mu.Lock()
	d.small = true
	d.mu.Unlock()
	return errors.Join(copyAll(kept, d.store), os.RemoveAll(kept))
}

// grow puts it back.
func (d *disk) grow() error {
	d.clear()
	d.mu.Lock()
	d.small = false
	d.mu.Unlock()
	kept := d.store + ".kept"
	err := errors.Join(os.Mkdir(kept, 0o700), copyAll(d.store, kept))
	return errors.Join(err, unmountSmall(d.store), os.Remove(d.store), os.Rename(kept, d.store))
}

func copyAll(from, to string) error {
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s: %w: %s", from, err, out)
	}
	return nil
}

// onSmallDisks does something while both stores are on small disks, where such
// disks can be mounted; else it does it all the same.
func (h *harness) onSmallDisks(do func() error) (err error) {
	for _, p := range []*process{h.realm, h.gateway} {
		switch err := p.whileDown(p.disk.shrink); {
		case errors.Is(err, errNoDisk), errors.Is(err, fs.ErrPermission):
			fmt.Println("no small disk can be mounted here; the processes are told that theirs are full")
		case err != nil:
			return fmt.Errorf("moving the store of the %s to a small disk: %w", p.name, err)
		default:
			h.tally.smallDisks = true
			defer func() {
				if back := p.whileDown(p.disk.grow); back != nil {
					err = errors.Join(err, fmt.Errorf("moving the store of the %s back: %w", p.name, back))
				}
			}()
		}
	}
	return do()
}

// errNoDisk: this system has none to mount.
var errNoDisk = errors.New("no small disk")
