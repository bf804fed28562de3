package caddymodule

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/seal"
	"github.com/nightlatch/nightlatch/storage/transfer"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "store",
		Usage: "new-key|rekey|copy|backup|restore",
		Short: "Looks after the gateway's data and the key that seals it",
		Long: `Works on the store that the configuration names, while the gateway is stopped;
backup and rekey also beside a running one. Each command can be killed at any instant and
run again: it goes on where it was.

Run it as the user that runs the gateway.
` + operatorExits,
		CobraFunc: func(cmd *cobra.Command) {
			s := new(setup)
			s.flags(cmd)
			cmd.AddCommand(newKeyCommand(), rekeyCommand(s), copyCommand(s), backupCommand(s), restoreCommand(s))
			parentCommand(cmd)
		},
	})
}

// parentCommand only has subcommands.
func parentCommand(cmd *cobra.Command) {
	asCommand(cmd, func(args []string) int {
		if len(args) > 0 {
			return misused(cmd, fmt.Sprintf("unknown command %q", args[0]))
		}
		_ = cmd.Help()
		return exitUsage
	})
}

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new-key [--out <file>]",
		Short: "Makes a sealing key, for the option key",
		Long: `Prints a fresh sealing key, or writes it to a file that only you may read. A file
that exists is not overwritten.

Name it in the Caddyfile as key {file./path/to/nightlatch.key}, and keep a copy
apart from the backups: without the key no backup is of any use.
` + operatorExits,
	}
	out := cmd.Flags().StringP("out", "o", "", "file to write the key to")
	return operatorCommand(cmd, 0, 0, func(context.Context, []string) error {
		if *out != "" {
			_, err := seal.Create(*out)
			return err
		}
		k, err := seal.New()
		if err != nil {
			return err
		}
		raw, err := k.Marshal()
		if err != nil {
			return err
		}
		return written(fmt.Fprintln(cmd.OutOrStdout(), string(raw)))
	})
}

// written is the error of a write to stdout: a full disk or a closed pipe is no
// success.
func written(_ int, err error) error {
	if err != nil {
		return fmt.Errorf("writing to stdout: %w", err)
	}
	return nil
}

func rekeyCommand(s *setup) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rekey [--lazily] [--config <file>] [--key-file <file>] [--address <admin endpoint>]",
		Short: "Exchanges the sealing key for a new one",
		Long: `Seals everything in the store anew with a fresh key, verifies it, and drops the
old key from the key file. Client secrets, job secrets, sessions and grants stay.
Nobody waits for it: what is written is sealed with the new key from the first
moment on, and the rest is sealed anew meanwhile; with --lazily only when it is
written, until the command runs again without it.

Beside a gateway with a store of its own it goes through Caddy's admin endpoint, if
that is a unix socket.

Beside nodes that share a database it works on that. The first time it puts the new
key into the key file and names the nodes that lack it (exit code 75): put the file
in the place of theirs, reload them with --force, and run it again. Nothing is
sealed with the new key before all of them open it.

The key file as it was stands beside it, as <file>.old, until the end. Backups
made before need the old key: keep a copy of it with them, or make a new backup.
` + operatorExits,
	}
	elsewhere := cmd.Flags().String("key-file", "", "where to write the new key, if the option key does not name a {file.…}, or one that cannot be written on any node")
	lazily := cmd.Flags().Bool("lazily", false, "seal anew what is written from now on, and leave the rest")
	return operatorCommand(cmd, 0, 0, func(ctx context.Context, _ []string) error {
		d, err := s.read()
		if err != nil {
			return err
		}
		r := rekeying{file: *elsewhere, copied: *elsewhere != "", lazily: *lazily, progress: progress{out: cmd.ErrOrStderr()}}
		switch {
		case d.keyFile == "" && !r.copied:
			return usage("the option key is not the content of a file, {file.…}: name one to write the new key to by --key-file")
		case !r.copied:
			r.file = d.keyFile
		case d.keyFile != "" && !d.engine.shared():
			return usage("--key-file: the key is in %s, which is written", d.keyFile)
		}
		live, err := s.running(d)
		if err != nil {
			return err
		}
		var done seal.Rekeyed
		switch {
		case live == nil || d.engine.shared():
			done, err = d.rekey(ctx, r)
		case d.keyFile == "":
			return usage("the gateway runs, and the option key is not the content of a file: stop the gateway first")
		default:
			done, err = live.rekey(r.file, r.lazily, d.engine)
		}
		if err != nil {
			return fmt.Errorf("store %s: %w", d.engine.name(), err)
		}
		switch {
		case r.lazily:
			fmt.Fprintf(cmd.ErrOrStderr(), "What the key before has sealed stays until it is written anew; the same without --lazily seals it now.\n")
		case d.engine.shared():
			fmt.Fprintf(cmd.ErrOrStderr(), "No value is sealed with another key any more. Put %s in the place of every node's key when no login under way is older; until then both open.\n", r.file)
		case r.copied:
			fmt.Fprintf(cmd.ErrOrStderr(), "Put the content of %s where the option key takes it from, before you start the gateway.\n", r.file)
		}
		if r.lazily {
			return written(fmt.Fprintf(cmd.OutOrStdout(), "%s is sealed with key %s from now on, in %s\n", d.engine.name(), done.Newest, r.file))
		}
		return written(fmt.Fprintf(cmd.OutOrStdout(), "rekeyed %s: %d values sealed anew, %d verified, key %s in %s\n",
			d.engine.name(), done.Resealed, done.Verified, done.Newest, r.file))
	})
}

// rekeying is how the command rekey was asked.
type rekeying struct {
	file string // that the new key is written to
	// copied: the key is taken from elsewhere, and put into the file first, unless an
	// earlier attempt has done that.
	copied, lazily bool
	progress       progress
}

// rekey exchanges the key in a file by working on the store itself: one that has no
// gateway running, or nodes that share it.
func (d *declared) rekey(ctx context.Context, r rekeying) (done seal.Rekeyed, err error) {
	k, err := d.keyset()
	if err != nil {
		return done, err
	}
	o, err := openStore(ctx, d.engine, time.Now(), beside)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	store := o.clocked() // nodes come and go
	if err := transfer.Whole(ctx, store); err != nil {
		return done, err
	}
	ctx, err = o.attend(ctx, "nightlatch store rekey", nil)
	if err != nil {
		return done, err
	}
	if _, err := os.Lstat(r.file); r.copied && errors.Is(err, fs.ErrNotExist) {
		if err := seal.Check(ctx, store, k); err != nil {
			return done, err
		}
		if err := k.Save(r.file, false); err != nil {
			return done, err
		}
	}
	return seal.Rekey(ctx, seal.RekeyConfig{Store: store, File: r.file, Lazily: r.lazily, Progress: r.progress.tell})
}

func copyCommand(s *setup) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy --to <engine> [--from <engine> | --config <file>]",
		Short: "Moves everything to another engine or place",
		Long: `Copies the store of the configuration, or of --from, to another engine or place,
and verifies count and checksum. Both are written as behind the option store:

	nightlatch store copy --config Caddyfile --to "badger /srv/nightlatch"

The target is empty, or a copy of the same source that was interrupted. The
source stays as it is: do not start a gateway on both.
` + operatorExits,
	}
	from, to := cmd.Flags().String("from", "", "engine to copy from; default: what the configuration says"), cmd.Flags().String("to", "", "engine to copy to")
	return operatorCommand(cmd, 0, 0, func(ctx context.Context, _ []string) error {
		if *to == "" {
			return usage("want --to")
		}
		into, err := parseEngine("--to", *to)
		if err != nil {
			return err
		}
		d := new(declared)
		if *from == "" {
			d, err = s.read()
		} else if s.config != "" {
			return usage("--from and --config: want one of them")
		} else if d.engine, err = parseEngine("--from", *from); err == nil {
			d.keyFile = d.engine.keyFile()
		}
		if err != nil {
			return err
		}
		if d.engine.name() == into.name() {
			return usage("--to is the store that is copied: %s", into.name())
		}
		sum, err := d.copyTo(ctx, into, progress{out: cmd.ErrOrStderr()})
		if err != nil {
			return err
		}
		fmt.Fprint(cmd.ErrOrStderr(), d.advice(into, *to))
		return written(fmt.Fprintf(cmd.OutOrStdout(), "copied %s to %s: %d items, checksum %s\n", d.engine.name(), into.name(), sum.Items, sum))
	})
}

func (d *declared) copyTo(ctx context.Context, into engine, p progress) (sum transfer.Sum, err error) {
	now := time.Now()
	from, err := openStore(ctx, d.engine, now, source)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	key, err := d.keyAlong(ctx, from.Store)
	if err != nil {
		return sum, err
	}
	to, err := openStore(from.ctx, into, now, target)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	sum, err = transfer.Copy(to.ctx, transfer.Config{
		From: from.Store, To: to.Store, What: "copy of " + d.engine.name(), Progress: p.tell,
		Begun: func() error { return leaveKey(key, into) },
	})
	if err != nil {
		return sum, fmt.Errorf("copying %s to %s: %w", d.engine.name(), into.name(), err)
	}
	return sum, nil
}

// keyAlong returns the sealing key that lies with the store and has to go along;
// nil where the configuration names one, which stays.
func (d *declared) keyAlong(ctx context.Context, from *storage.Store) (*seal.Keyset, error) {
	if d.key != "" || d.keyFile == "" {
		return nil, nil
	}
	k, err := seal.Load(d.keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // given by the option key of a configuration that was not asked for
	}
	if err != nil {
		return nil, err
	}
	note, err := noteOf(ctx, from)
	if err == nil {
		err = k.Fits(note)
	}
	if err != nil {
		return nil, fmt.Errorf("sealing key %s: %w", d.keyFile, err)
	}
	return k, nil
}

// leaveKey writes a sealing key to where the target looks for one.
func leaveKey(k *seal.Keyset, into engine) error {
	file := into.keyFile()
	if k == nil || file == "" {
		return nil
	}
	err := k.Save(file, false)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, err := seal.Load(file)
	if err == nil && !there.Same(k) {
		err = fmt.Errorf("%s is there already and holds another key: move it away: %w", file, seal.ErrForeignKey)
	}
	return err
}

// advice says what the operator does next.
func (d *declared) advice(into engine, as string) string {
	next := fmt.Sprintf("Next: write `store %s` into the Caddyfile", as)
	if d.key == "" && into.keyFile() == "" && d.keyFile != "" {
		next += fmt.Sprintf(", and `key {file.%s}`", d.keyFile)
	}
	return next + ". The source is unchanged: never start a gateway on both.\n"
}

var errFound = errors.New("found")

// noteOf finds what a source says of its sealing key.
func noteOf(ctx context.Context, from transfer.Source) (storage.Item, error) {
	var note storage.Item
	err := from.Each(ctx, nil, func(it storage.Item) error {
		if string(it.Key) == string(seal.NoteKey) {
			note = it
			return errFound
		}
		return nil
	})
	switch {
	case errors.Is(err, errFound):
		return note, nil
	case err == nil:
		err = errors.New("it does not say which key sealed it: no gateway has used it")
	}
	return note, err
}

func backupCommand(s *setup) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup <file> [--config <file>] [--address <admin endpoint>]",
		Short: "Writes everything of one instant to a file (-: stdout)",
		Long: `Writes what the store holds at one instant to a file that only you may read, with
a checksum. It can be restored into any engine.

Beside a running gateway it goes through Caddy's admin endpoint, if that is a
unix socket (the global option admin unix//run/nightlatch/admin.sock).

What is sealed stays sealed, and the key is not in the backup: keep a copy of it
elsewhere.
` + operatorExits,
	}
	return operatorCommand(cmd, 1, 1, func(ctx context.Context, args []string) error {
		d, err := s.read()
		if err != nil {
			return err
		}
		write := func(w io.Writer) error { return s.backup(ctx, d, w, progress{out: cmd.ErrOrStderr()}) }
		if args[0] == "-" {
			return write(cmd.OutOrStdout())
		}
		if err := writeNew(args[0], write); err != nil {
			return err
		}
		// What was written is what can be read.
		sum, err := transfer.SumOf(ctx, &transfer.File{Path: args[0]}, nil)
		if err != nil {
			return err
		}
		return written(fmt.Fprintf(cmd.OutOrStdout(), "backed up %s to %s: %d items, checksum %s\n", d.engine.name(), args[0], sum.Items, sum))
	})
}

// backup writes a backup of a running gateway's store, or of one that is stopped.
func (s *setup) backup(ctx context.Context, d *declared, w io.Writer, p progress) error {
	live, err := s.running(d)
	if err != nil {
		return err
	}
	if live != nil {
		return live.backup(w, d.engine)
	}
	store, err := openStore(ctx, d.engine, time.Now(), beside)
	if err != nil {
		return err
	}
	_, err = transfer.Backup(ctx, w, store.Store, time.Now(), func(items int) { p.tell("writing", items) })
	return errors.Join(err, store.Close())
}

// writeNew makes a file, whole or not at all, where there is none.
func writeNew(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("writing backup: %w", &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist})
	}
	draft := path + ".part"
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing backup: %w", err)
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

func restoreCommand(s *setup) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore <file> [--config <file>]",
		Short: "Fills an empty store from a backup",
		Long: `Verifies the backup, fills the store of the configuration with it and verifies
that too. The store is empty, or was being filled from the same backup.

The sealing key has to be there: the backup holds none. Nobody loses a grant by a
restored store: a token that is ahead of it is taken as the newest.
` + operatorExits,
	}
	return operatorCommand(cmd, 1, 1, func(ctx context.Context, args []string) error {
		d, err := s.read()
		if err != nil {
			return err
		}
		now := time.Now()
		file := &transfer.File{Path: args[0], At: now}
		p := progress{out: cmd.ErrOrStderr()}
		whole, err := transfer.SumOf(ctx, &transfer.File{Path: args[0]}, func(items int) { p.tell("checking", items) })
		if err != nil {
			return err
		}
		made, err := file.Created()
		if err != nil {
			return err
		}
		k, err := readKey(d.engine, d.key)
		if err == nil && k == nil {
			err = fmt.Errorf("%w: the sealing key %s is missing: put it there first, a backup holds none", errConfig, d.keyFile)
		}
		if err != nil {
			return err
		}
		note, err := noteOf(ctx, file)
		if err == nil {
			err = k.Fits(note)
		}
		if err != nil {
			return fmt.Errorf("backup %s: %w", args[0], err)
		}
		store, err := openStore(ctx, d.engine, now, target)
		if err != nil {
			return err
		}
		// Another backup is another source, whatever its name.
		what := fmt.Sprintf("restore of backup %s of %s", hex.EncodeToString(whole.SHA256[:8]), made.UTC().Format(time.RFC3339))
		sum, err := transfer.Copy(store.ctx, transfer.Config{From: file, To: store.Store, What: what, Progress: p.tell})
		if err = errors.Join(err, store.Close()); err != nil {
			return fmt.Errorf("restoring %s to %s: %w", args[0], d.engine.name(), err)
		}
		return written(fmt.Fprintf(cmd.OutOrStdout(), "restored %s of %s to %s: %d items, checksum %s\n",
			args[0], made.UTC().Format(time.RFC3339), d.engine.name(), sum.Items, sum))
	})
}
