package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

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
// does not exist yet; fs.ErrExist if it does.
func Create(path string) (*Keyset, error) {
	k, err := New()
	if err != nil {
		return nil, err
	}
	if err := k.Save(path, false); err != nil {
		return nil, err
	}
	return k, nil
}

// Save writes the key file, whole or not at all, and on disk when it returns.
// With replace it takes the place, owner and mode of the file that is there;
// without, a file that is there stays and the error is fs.ErrExist.
func (k *Keyset) Save(path string, replace bool) error {
	raw, err := k.Marshal()
	if err != nil {
		return fmt.Errorf("writing sealing key: %w", err)
	}
	return writeKeyFile(path, append(raw, '\n'), replace)
}

func writeKeyFile(path string, raw []byte, replace bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing sealing key: %w", err)
		}
	}()
	if path, err = target(path); err != nil {
		return err
	}
	old, err := os.Lstat(path)
	switch {
	case err == nil && !replace:
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	// One name, so that what a killed process left is overwritten by the next:
	// keys do not pile up.
	draft := path + ".tmp"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeSynced(draft, raw, old); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	if replace {
		err = os.Rename(draft, path)
	} else if err = os.Link(draft, path); err == nil || errors.Is(err, fs.ErrExist) { // unlike Rename it replaces nothing
		err = errors.Join(err, os.Remove(draft))
	} else { // a file system without links
		err = os.Rename(draft, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// target follows the links of a path that exists, so that the file behind them
// is replaced and not the link.
func target(path string) (string, error) {
	behind, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return behind, err
}

// writeSynced makes a file that only its owner may read, or whoever could read
// the one that it will replace.
func writeSynced(path string, raw []byte, like fs.FileInfo) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil && like != nil {
		err = giveTo(f, like)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir puts the names in a folder on disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
