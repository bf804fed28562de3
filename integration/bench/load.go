package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// conn is a keep-alive HTTP/1.1 connection that spends as little CPU as it can,
// so that the server is what is measured.
type conn struct {
	net.Conn
	r    *bufio.Reader
	body []byte
}

func dial(addr string) (*conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 16<<10)}, nil
}

// do sends one request and returns the status and the body, which is valid
// until the next call.
func (c *conn) do(request []byte) (int, []byte, error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, nil, err
	}
	length, chunked := 0, false
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if k, v, ok := bytes.Cut(line, []byte(":")); ok {
			switch {
			case len(k) == 14 && strings.EqualFold(string(k), "content-length"):
				if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
					return 0, nil, err
				}
			case len(k) == 17 && strings.EqualFold(string(k), "transfer-encoding"):
				chunked = true
			}
		}
	}
	c.body = c.body[:0]
	if !chunked {
		c.body = slices.Grow(c.body, length)[:length]
		_, err := io.ReadFull(c.r, c.body)
		return status, c.body, err
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return 0, nil, err
		}
		at := len(c.body)
		c.body = slices.Grow(c.body, int(n))[:at+int(n)]
		if _, err := io.ReadFull(c.r, c.body[at:]); err != nil {
			return 0, nil, err
		}
		if _, err := c.r.Discard(2); err != nil {
			return 0, nil, err
		}
		if n == 0 {
			return status, c.body, nil
		}
	}
}

// get writes a GET request with the given header lines.
func get(host, path string, header ...string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + lines(header) + "\r\n")
}

// post writes a form POST.
func post(host, path, form string, header ...string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
		strconv.Itoa(len(form)) + "\r\n" + lines(header) + "\r\n" + form)
}

func lines(header []string) string {
	var b strings.Builder
	for i := 0; i+1 < len(header); i += 2 {
		b.WriteString(textproto.CanonicalMIMEHeaderKey(header[i]) + ": " + header[i+1] + "\r\n")
	}
	return b.String()
}

// sample is what one round of load measured.
type sample struct {
	PerSecond float64
	Requests  int
	P50, P99  time.Duration
}

// step sends one request of worker i over its connection.
type step func(i int, c *conn) error

// dialAll opens connections to addr, one for each worker of load.
func dialAll(addr string, workers int) (all []*conn, err error) {
	for range workers {
		c, err := dial(addr)
		if err != nil {
			hangUp(all)
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func hangUp(all []*conn) {
	for _, c := range all {
		c.Close()
	}
}

// load has each connection's worker send requests for the given time, and returns
// how long each took, and how long it took in all.
func load(conns []*conn, d time.Duration, do step) (times []time.Duration, took time.Duration, err error) {
	var wg sync.WaitGroup
	each := make([][]time.Duration, len(conns))
	errs := make([]error, len(conns))
	start := time.Now()
	for i, c := range conns {
		wg.Go(func() {
			for time.Since(start) < d {
				at := time.Now()
				if err := do(i, c); err != nil {
					errs[i] = fmt.Errorf("worker %d: %w", i, err)
					return
				}
				each[i] = append(each[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	took = time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return nil, 0, err
	}
	if times = slices.Concat(each...); len(times) == 0 {
		return nil, 0, errors.New("no request was made")
	}
	return times, took, nil
}

// sum makes a sample of all that a round measured.
func sum(times []time.Duration, took time.Duration) sample {
	slices.Sort(times)
	return sample{float64(len(times)) / took.Seconds(), len(times), times[len(times)/2], times[len(times)*99/100]}
}

// want is a step that always sends the same request and expects 200.
func want(request []byte) step {
	return func(_ int, c *conn) error {
		status, body, err := c.do(request)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d: %.200s", status, body)
		}
		return err
	}
}
