// Package loopback hands out free ports for servers that tests start, kill and
// start again.
//
// It does not own who listens on them. The ports lie below those that the
// system takes for outgoing connections, so that none of these takes the place
// of a server which is down for a moment; and no port is handed out twice by a
// process.
package loopback

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	first = 20000
	count = 10000
)

var (
	mu   sync.Mutex
	next = rand.IntN(count)
)

// Port returns a port of 127.0.0.1 that nobody listens on.
func Port() (string, error) {
	mu.Lock()
	defer mu.Unlock()
	for range count {
		next = (next + 1) % count
		port := strconv.Itoa(first + next)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return "", errors.New("no free port on loopback")
}
