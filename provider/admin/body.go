package admin

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

// Limits of a body.
const (
	maxBody  = 256 << 10 // bytes
	maxDepth = 32        // of nesting
)

// object is a JSON object as it was read: values are nil, bool, json.Number,
// string, []any or object.
type object = map[string]any

// body reads the JSON of a request.
func (c *call) body() (any, error) {
	media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, plain(http.StatusUnsupportedMediaType)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &refusal{http.StatusRequestEntityTooLarge, map[string]string{"errorMessage": fmt.Sprintf("body is larger than %d bytes", maxBody)}}
	}
	if err != nil {
		return nil, bad("", "body could not be read")
	}
	if !utf8.Valid(raw) {
		return nil, bad("", "body is not UTF-8")
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
		return nil, bad("", "body: %v", err)
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
		members := object{}
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

// members reads a body that must be an object.
func (c *call) members() (object, error) {
	v, err := c.body()
	if err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, bad("", "body: want an object")
	}
	return o, nil
}

// objects reads a body that must be a list of objects.
func (c *call) objects() ([]object, error) {
	v, err := c.body()
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, bad("", "body: want a list")
	}
	out := make([]object, 0, len(list))
	for i, v := range list {
		o, ok := v.(object)
		if !ok {
			return nil, bad(fmt.Sprintf("[%d]", i), "want an object")
		}
		out = append(out, o)
	}
	return out, nil
}
