package session

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// What a device is told when it begins.
const (
	DeviceLifespan = 10 * time.Minute
	DeviceInterval = 5 * time.Second
)

// DeviceAuthorization is a device that waits for its user to let it in, in a
// browser elsewhere (RFC 8628). The store has it under the device code's hash.
// The user's answer comes by an AuthorizationRequest that names it.
type DeviceAuthorization struct {
	Client    string    `json:"client"`    // client.Client.ID
	UserCode  string    `json:"user_code"` // as kept; see FormatUserCode
	Scopes    []string  `json:"scopes"`    // asked for
	Challenge string    `json:"challenge,omitempty"`
	Resource  []string  `json:"resource,omitempty"`
	Expires   time.Time `json:"expires"`

	// Interval that the device has to leave between polls, and its last poll.
	Interval time.Duration `json:"interval"`
	Polled   time.Time     `json:"polled,omitzero"`

	// Denied tells why nobody lets it in, Granted what somebody granted; at most
	// one of them is set.
	Denied  string `json:"denied,omitempty"`
	Granted *Code  `json:"granted,omitempty"`
}

// DeviceAuthorizations by hash of the device code. They stay a while after they
// have expired, to tell the device so.
var DeviceAuthorizations = storage.Table[DeviceAuthorization]{
	Name:    "device_authorization",
	Expires: func(d *DeviceAuthorization) time.Time { return d.Expires.Add(DeviceLifespan) },
}

// deviceName leads from a user code to the device, until it is decided.
type deviceName struct {
	Device  string    `json:"device"`
	Expires time.Time `json:"expires"`
}

var deviceNames = storage.Table[deviceName]{
	Name:    "device_user_code",
	Expires: func(n *deviceName) time.Time { return n.Expires },
}

// userCodeLetters make no words and are not mistaken for digits (RFC 8628 §6.1).
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
)

// makeUserCode draws each letter with the same chance: 34 bits, for ten minutes
// and few guesses.
func makeUserCode(random io.Reader) (string, error) {
	const fair = 256 - 256%len(userCodeLetters)
	var code [userCodeLength]byte
	for i := 0; i < len(code); {
		var b [1]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", fmt.Errorf("making user code: %w", err)
		}
		if int(b[0]) < fair {
			code[i] = userCodeLetters[int(b[0])%len(userCodeLetters)]
			i++
		}
	}
	return string(code[:]), nil
}

// FormatUserCode returns a kept user code as people read it: XXXX-XXXX.
func FormatUserCode(code string) string {
	if len(code) != userCodeLength {
		return code
	}
	return code[:userCodeLength/2] + "-" + code[userCodeLength/2:]
}

// parseUserCode takes what somebody typed: case and punctuation do not matter.
func parseUserCode(typed string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(" \t-_.", c) {
			return -1
		}
		return c
	}, strings.ToUpper(typed))
}

// StartDevice writes a device that begins to wait, and returns its user code,
// which no other waiting device has.
func StartDevice(tx storage.Tx, realm, raw string, d DeviceAuthorization, random io.Reader, now time.Time) (userCode string, err error) {
	d.Expires, d.Interval = instant(now).Add(DeviceLifespan), DeviceInterval
	for {
		if d.UserCode, err = makeUserCode(random); err != nil {
			return "", err
		}
		_, err := deviceNames.Get(tx, realm, d.UserCode)
		if errors.Is(err, storage.ErrNotFound) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("reading user code: %w", err)
		}
	}
	if err := deviceNames.Put(tx, realm, d.UserCode, &deviceName{Device: codeID(raw), Expires: d.Expires}); err != nil {
		return "", fmt.Errorf("writing user code: %w", err)
	}
	if err := DeviceAuthorizations.Put(tx, realm, codeID(raw), &d); err != nil {
		return "", fmt.Errorf("writing device authorization: %w", err)
	}
	return FormatUserCode(d.UserCode), nil
}

// DeviceByUserCode returns the waiting device that shows a user code and its id;
// storage.ErrNotFound if there is none.
func DeviceByUserCode(tx storage.Tx, realm, typed string, now time.Time) (id string, d *DeviceAuthorization, err error) {
	code := parseUserCode(typed)
	if len(code) != userCodeLength {
		return "", nil, storage.ErrNotFound
	}
	name, err := deviceNames.Get(tx, realm, code)
	if err != nil {
		return "", nil, err
	}
	d, err = WaitingDevice(tx, realm, name.Device, now)
	return name.Device, d, err
}

// WaitingDevice returns a device that nobody has decided about yet, by its id;
// storage.ErrNotFound if that is over.
func WaitingDevice(tx storage.Tx, realm, id string, now time.Time) (*DeviceAuthorization, error) {
	d, err := DeviceAuthorizations.Get(tx, realm, id)
	if err != nil {
		return nil, err
	}
	if d.Denied != "" || d.Granted != nil || !now.Before(d.Expires) {
		return nil, storage.ErrNotFound
	}
	return d, nil
}

// GrantDevice lets a waiting device in. Who decides first has decided:
// storage.ErrNotFound for everybody after.
func GrantDevice(tx storage.Tx, realm, id string, granted Code, now time.Time) error {
	return decide(tx, realm, id, now, func(d *DeviceAuthorization) {
		granted.IssuedAt, granted.Expires, granted.Browser = instant(now), d.Expires, clip(granted.Browser)
		d.Granted = &granted
	})
}

// DenyDevice tells a waiting device, with the reason, that it stays outside.
func DenyDevice(tx storage.Tx, realm, id, reason string, now time.Time) error {
	return decide(tx, realm, id, now, func(d *DeviceAuthorization) { d.Denied = reason })
}

func decide(tx storage.Tx, realm, id string, now time.Time, write func(*DeviceAuthorization)) error {
	d, err := WaitingDevice(tx, realm, id, now)
	if err != nil {
		return err
	}
	write(d)
	if err := deviceNames.Delete(tx, realm, d.UserCode); err != nil {
		return fmt.Errorf("deleting user code: %w", err)
	}
	if err := DeviceAuthorizations.Put(tx, realm, id, d); err != nil {
		return fmt.Errorf("writing device authorization: %w", err)
	}
	return nil
}

// DevicePoll is what a device is told that asks for its tokens.
type DevicePoll int

// Answers to a poll (RFC 8628 §3.5).
const (
	DevicePending  DevicePoll = iota
	DeviceSlowDown            // pending, and it asks too often
	DeviceDenied
	DeviceExpired
	DeviceUsed // it has had its tokens
	DeviceGranted
)

// pollSlack forgives a network that delivers two polls closer together than
// they were sent.
const pollSlack = time.Second

// Poll decides what a device is told, and what the record is after that. Only a
// device that still waits can be too fast.
func (d DeviceAuthorization) Poll(now time.Time) (DeviceAuthorization, DevicePoll) {
	switch {
	case d.Granted != nil && d.Granted.Used:
		return d, DeviceUsed
	case !now.Before(d.Expires):
		return d, DeviceExpired
	case d.Denied != "":
		return d, DeviceDenied
	case d.Granted != nil:
		return d, DeviceGranted
	}
	last := d.Polled
	d.Polled = instant(now)
	if !last.IsZero() && now.Sub(last) < d.Interval-pollSlack {
		d.Interval += DeviceInterval // RFC 8628 §3.5
		return d, DeviceSlowDown
	}
	return d, DevicePending
}

// TakeDevice reads the device authorization of a device code; storage.ErrNotFound
// if it never was or has been forgotten.
func TakeDevice(tx storage.Tx, realm, raw string) (*DeviceAuthorization, error) {
	return DeviceAuthorizations.Get(tx, realm, codeID(raw))
}

// KeepDevice writes what a poll changed.
func KeepDevice(tx storage.Tx, realm, raw string, d DeviceAuthorization) error {
	if err := DeviceAuthorizations.Put(tx, realm, codeID(raw), &d); err != nil {
		return fmt.Errorf("writing device authorization: %w", err)
	}
	return nil
}

// UseDevice notes that a device has had its tokens, by a request with a key.
func UseDevice(tx storage.Tx, realm, raw string, d DeviceAuthorization, clientSession string, keyHash []byte) error {
	used := d.Granted.used(clientSession, keyHash)
	d.Granted = &used
	return KeepDevice(tx, realm, raw, d)
}
