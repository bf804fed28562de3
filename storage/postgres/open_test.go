package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nightlatch/nightlatch/storage"
	"github.com/nightlatch/nightlatch/storage/postgres"
	"github.com/nightlatch/nightlatch/storage/postgres/postgrestest"
)

func open(t *testing.T, o postgres.Options) *postgres.Backend {
	t.Helper()
	b, err := postgres.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func put(key, value string) func(storage.Tx) error {
	return func(tx storage.Tx) error { return tx.Put(storage.Item{Key: []byte(key), Value: []byte(value)}) }
}

// value is "-" for an absent key.
func value(t *testing.T, b storage.Backend, key string) (got string) {
	t.Helper()
	err := b.View(t.Context(), func(tx storage.Tx) error {
		it, err := tx.Get([]byte(key))
		if got = string(it.Value); errors.Is(err, storage.ErrNotFound) {
			got = "-"
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// port returns a free port of 127.0.0.1.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// What is wrong is named, and where; the password never is.
func TestOpenNamesWhatIsWrong(t *testing.T) {
	server := postgrestest.Shared(t)
	_, guest := server.Role(t, "")
	at := server.Address()
	for _, c := range []struct {
		name, url, schema string
		want              []string
	}{
		{"address", "postgres://nightlatch:s3cret@127.0.0.1:" + port(t) + "/postgres", "", []string{"cannot be reached", "connection refused", "nightlatch@127.0.0.1:"}},
		{"host", "postgres://nightlatch:s3cret@nowhere.invalid/postgres", "", []string{"cannot be reached", "nowhere.invalid"}},
		{"password", "postgres://nightlatch:s3cret@" + at + "/postgres", "", []string{"refuses user or password", at, "nightlatch"}},
		{"user", "postgres://stranger:s3cret@" + at + "/postgres", "", []string{"refuses user or password", "stranger"}},
		{"database", strings.Replace(server.TCP(), "/postgres?", "/nothing?", 1), "", []string{"no such database", "nothing", at}},
		{"schema", guest, "theirs", []string{"may not use or make the schema", "schema theirs"}},
		{"url", "postgres://nightlatch:s3cret@[::1/postgres", "", []string{"cannot be read", "percent-encoded"}},
		{"keywords", "host=127.0.0.1 password=s3cret port=x", "", []string{"cannot be read"}},
		{"nothing", "", "", []string{"address of the database is missing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := postgres.Open(t.Context(), postgres.Options{URL: c.url, Schema: c.schema})
			if err == nil {
				_ = b.Close()
				t.Fatal("opened")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			for _, secret := range []string{"s3cret", postgrestest.Password} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q tells the password", err)
				}
			}
		})
	}
}

// Nodes that start together on an empty database make one schema, and each of
// them works.
func TestNodesMigrateTogether(t *testing.T) {
	for range 5 {
		o := postgres.Options{URL: postgrestest.Shared(t).URL(), Schema: postgrestest.Name()}
		var wg sync.WaitGroup
		for _, node := range []string{"a", "b", "c"} {
			wg.Go(func() {
				b, err := postgres.Open(t.Context(), o)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = b.Close() }()
				if err := storage.New(storage.Config{Backend: b}).Update(t.Context(), put(node, "here")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b := open(t, o)
		for _, node := range []string{"a", "b", "c"} {
			if got := value(t, b, node); got != "here" {
				t.Errorf("%s wrote %q", node, got)
			}
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	server, schema := postgrestest.Shared(t), `odd "name" `+postgrestest.Name()
	o := postgres.Options{URL: server.URL(), Schema: schema}
	_ = open(t, o).Close()
	table := pgx.Identifier{schema, "versions"}.Sanitize()
	server.Exec(t, "UPDATE "+table+" SET version = 77")
	_, err := postgres.Open(t.Context(), o)
	if !errors.Is(err, postgres.ErrNewerSchema) || !strings.Contains(err.Error(), "version 77") || !strings.Contains(err.Error(), "schema "+schema) {
		t.Errorf("opened a newer schema: %v", err)
	}
	// One that was interrupted in the middle of a migration goes on.
	server.Exec(t, "UPDATE "+table+" SET version = 0")
	if err := open(t, o).Update(t.Context(), put("k", "v")); err != nil {
		t.Error(err)
	}
}

// A user who may do no more than read and write the tables is enough once they
// are made.
func TestLeastRights(t *testing.T) {
	server := postgrestest.Shared(t)
	_ = open(t, postgres.Options{URL: server.URL()}).Close()
	gateway, url := server.Role(t, "")
	server.Exec(t, "GRANT USAGE ON SCHEMA nightlatch TO "+gateway+"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA nightlatch TO "+gateway)
	b := open(t, postgres.Options{URL: url})
	if err := b.Update(t.Context(), put("k", "v")); err != nil {
		t.Error(err)
	}
	if _, err := b.Sweep(t.Context(), time.Now(), 10); err != nil {
		t.Error(err)
	}
}

// What was answered is on disk even where the server's default is otherwise.
func TestSynchronousCommit(t *testing.T) {
	server := postgrestest.Shared(t)
	careless, url := server.Role(t, "SUPERUSER")
	server.Exec(t, "ALTER ROLE "+careless+" SET synchronous_commit = off")
	b := open(t, postgres.Options{URL: url, Schema: postgrestest.Name(), ApplicationName: "synced"})
	got, err := b.Setting(t.Context(), "synchronous_commit")
	if err != nil || got != "on" {
		t.Errorf("synchronous_commit is %q, %v", got, err)
	}
	if got, _ := b.Setting(t.Context(), "application_name"); got != "synced" {
		t.Errorf("application_name is %q", got)
	}
}

func TestTLS(t *testing.T) {
	server := postgrestest.Start(t, postgrestest.Config{})
	folder := t.TempDir()
	authority, certificate, key := certificates(t)
	server.Write(t, "server.crt", certificate, 0o600)
	server.Write(t, "server.key", key, 0o600)
	server.Exec(t, "ALTER SYSTEM SET ssl = on")
	if err := errors.Join(server.Stop(), server.Up()); err != nil {
		t.Fatal(err)
	}
	ours, theirs := filepath.Join(folder, "ours.pem"), filepath.Join(folder, "theirs.pem")
	other, _, _ := certificates(t)
	if err := errors.Join(os.WriteFile(ours, authority, 0o600), os.WriteFile(theirs, other, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Address())
	address := func(root string) string {
		return "postgres://nightlatch:" + postgrestest.Password + "@localhost:" + port + "/postgres?sslmode=verify-full&sslrootcert=" + root
	}
	b := open(t, postgres.Options{URL: address(ours)})
	if got, err := b.Setting(t.Context(), "ssl"); got != "on" || err != nil {
		t.Errorf("ssl is %q, %v", got, err)
	}
	if err := b.Update(t.Context(), put("k", "v")); err != nil {
		t.Error(err)
	}
	_, err := postgres.Open(t.Context(), postgres.Options{URL: address(theirs)})
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), postgrestest.Password) {
		t.Errorf("a server of another authority: %v", err)
	}
}

// certificates returns an authority and a server's certificate with its key.
func certificates(t *testing.T) (authority, certificate, key []byte) {
	t.Helper()
	make := func(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent, signer = template, k
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, k, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	root, rootKey, authority := make("authority", nil, nil)
	_, k, certificate := make("localhost", root, rootKey)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return authority, certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Open ends with its context even while the server does not answer at all.
func TestOpenOfASilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = postgres.Open(ctx, postgres.Options{URL: "postgres://nightlatch:s3cret@" + l.Addr().String() + "/postgres"})
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("opened a silent server: %v", err)
	}
}
