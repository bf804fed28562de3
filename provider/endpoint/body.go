package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Limits of a JSON body.
const (
	maxJSON  = 256 << 10 // bytes
	maxDepth = 32        // of nesting
)

// BodyError tells why a JSON body is not taken.
type BodyError struct {
	Status int // 400, 413 or 415
	Reason string
}

func (e *BodyError) Error() string { return e.Reason }

// Body reads the JSON of a request of a REST: nil, bool, json.Number, string, []any
// or map[string]any. The error is a *BodyError.
func Body(w http.ResponseWriter, r *http.Request) (any, error) {
	refuse := func(status int, format string, args ...any) (any, error) {
		return nil, &BodyError{status, fmt.Sprintf(format, args...)}
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "body is not application/json")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "body is larger than %d bytes", maxJSON)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "body could not be read")
	}
	if !utf8.Valid(raw) {
		return refuse(http.StatusBadRequest, "body is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := value(dec, 0)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	if err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("not JSON")
		}
		return refuse(http.StatusBadRequest, "body: %v", err)
	}
	return v, nil
}

// value reads one JSON value. Unlike json.Unmarshal it bounds the depth, and
// takes no member twice: the two may mean different things to whoever looked at
// the request before.
func value(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	case json.Delim('{'):
		members := map[string]any{}
		for dec.More() {
			token, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name := token.(string) // what else a decoder gives here is an error
			if _, twice := members[name]; twice {
				return nil, fmt.Errorf("member %q is there twice", name)
			}
			if members[name], err = value(dec, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := dec.Token()
		return members, err
	}
	if s, ok := token.(string); ok && strings.ContainsRune(s, 0) {
		return nil, errors.New("a text has a NUL character")
	}
	return token, nil
}
