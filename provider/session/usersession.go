package session

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// NewUser makes a user session, not yet written, and the value of its cookie:
// sid "." secret, each 128 bit (22 characters). Only the secret's hash is kept,
// so that neither the store nor the sid in tokens logs anybody in. random may
// be nil for crypto/rand.
func NewUser(random io.Reader, user, ip, browser string, now time.Time) (us UserSession, cookie string, err error) {
	if random == nil {
		random = rand.Reader
	}
	var raw [32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return us, "", fmt.Errorf("making session id: %w", err)
	}
	sid := base64.RawURLEncoding.EncodeToString(raw[:16])
	secret := base64.RawURLEncoding.EncodeToString(raw[16:])
	now = instant(now)
	us = UserSession{
		ID: sid, SecretHash: hashSecret(secret), User: user,
		AuthTime: now, Started: now, LastAccess: now, IP: ip, Browser: clip(browser),
	}
	return us, sid + "." + secret, nil
}

func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// StartUser writes a new user session.
func StartUser(tx storage.Tx, realm string, us UserSession) error {
	if err := UserSessions.Put(tx, realm, us.ID, &us); err != nil {
		return fmt.Errorf("writing user session: %w", err)
	}
	return nil
}

// FindUser returns the user session of a cookie, or storage.ErrNotFound.
// Whether it still lives is CheckUser's to judge.
func FindUser(tx storage.Tx, realm, cookie string) (*UserSession, error) {
	sid, secret, ok := strings.Cut(cookie, ".")
	if !ok || len(sid) != 22 || len(secret) != 22 {
		return nil, storage.ErrNotFound
	}
	us, err := UserSessions.Get(tx, realm, sid)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(us.SecretHash, hashSecret(secret)) != 1 {
		return nil, storage.ErrNotFound
	}
	return us, nil
}

// Touch records an access that moves SSO Session Idle: a single sign-on, or the
// refresh of an online token. It writes only now and then, see used.
func Touch(tx storage.Tx, realm string, p Policy, us *UserSession, now time.Time) error {
	idle, _ := p.LoginLimits(us.RememberMe)
	last, write := used(us.LastAccess, now, idle)
	if !write {
		return nil
	}
	us.LastAccess = last
	return StartUser(tx, realm, *us)
}

// EndUser ends a user session and the online client sessions in it, which it
// returns; offline sessions that were born in it live on (O31). Of very many
// client sessions some are left for the sweeper: without their user session
// they do not work.
func EndUser(tx storage.Tx, realm, sid string) ([]ClientSession, error) {
	if sid == "" {
		return nil, nil
	}
	if _, err := UserSessions.Get(tx, realm, sid); errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading user session: %w", err)
	}
	rows, err := ClientSessions.ListBy(tx, realm, "user_session", sid, "", EndBatch)
	if err != nil {
		return nil, fmt.Errorf("listing client sessions: %w", err)
	}
	ended := make([]ClientSession, 0, len(rows))
	for _, row := range rows {
		if err := ClientSessions.Delete(tx, realm, row.ID); err != nil {
			return nil, fmt.Errorf("ending client session: %w", err)
		}
		ended = append(ended, *row.Record)
	}
	return ended, UserSessions.Delete(tx, realm, sid)
}

// EndUsers ends all user sessions of a user but one (except may be ""), as many
// as one transaction takes with the client sessions in them. A caller that is told
// that there are more repeats in a new transaction.
func EndUsers(tx storage.Tx, realm, user, except string) (ended []UserSession, more bool, err error) {
	rows, err := UserSessions.ListBy(tx, realm, "user", user, "", EndUsersBatch+1)
	if err != nil {
		return nil, false, fmt.Errorf("listing user sessions: %w", err)
	}
	clients := 0
	for _, row := range rows {
		if row.ID == except {
			continue
		}
		if len(ended) == EndUsersBatch || clients >= EndBatch {
			return ended, true, nil
		}
		in, err := EndUser(tx, realm, row.ID)
		if err != nil {
			return nil, false, err
		}
		clients += len(in)
		ended = append(ended, *row.Record)
	}
	return ended, len(rows) > EndUsersBatch, nil
}
