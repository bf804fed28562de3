package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/nightlatch/nightlatch/storage"
)

// maxGuesses of user codes that somebody may get wrong while one of them lives
// (RFC 8628 §5.1).
const maxGuesses = 20

// guesses that somebody got wrong.
type guesses struct {
	Wrong   int       `json:"wrong"`
	Expires time.Time `json:"expires"`
}

var guessed = storage.Table[guesses]{
	Name:    "device_guess",
	Expires: func(g *guesses) time.Time { return g.Expires },
}

// MayGuess tells whether somebody may try a user code: zero, or how long to wait.
// who is a user or an address.
func MayGuess(tx storage.Tx, realm, who string, now time.Time) (time.Duration, error) {
	g, err := guessed.Get(tx, realm, who)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading guesses: %w", err)
	}
	if g.Wrong < maxGuesses {
		return 0, nil
	}
	return g.Expires.Sub(now), nil
}

// GuessedWrong counts a wrong user code. The count begins anew when the codes
// that live now have expired.
func GuessedWrong(tx storage.Tx, realm, who string, now time.Time) error {
	g, err := guessed.Get(tx, realm, who)
	if errors.Is(err, storage.ErrNotFound) {
		g, err = &guesses{Expires: instant(now).Add(DeviceLifespan)}, nil
	}
	if err != nil {
		return fmt.Errorf("reading guesses: %w", err)
	}
	g.Wrong++
	if err := guessed.Put(tx, realm, who, g); err != nil {
		return fmt.Errorf("writing guesses: %w", err)
	}
	return nil
}
