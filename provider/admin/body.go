package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nightlatch/nightlatch/provider/endpoint"
)

// object is a JSON object as it was read: values are nil, bool, json.Number,
// string, []any or object.
type object = map[string]any

// body reads the JSON of a request.
func (c *call) body() (any, error) {
	v, err := endpoint.Body(c.w, c.r)
	var wrong *endpoint.BodyError
	switch {
	case !errors.As(err, &wrong):
		return v, err
	case wrong.Status == http.StatusUnsupportedMediaType:
		return nil, plain(wrong.Status)
	}
	return nil, &refusal{wrong.Status, map[string]string{"errorMessage": wrong.Reason}}
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
