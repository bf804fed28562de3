package oidc_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nightlatch/nightlatch/provider/oidc"
)

func TestParseDetails(t *testing.T) {
	asked := oidc.Scopes{"openid", "profile", "offline_access"}
	for name, c := range map[string]struct {
		raw  string
		want string // "": refused
	}{
		"one":                  {`[{"type":"offline_job","job":"nightly-backup","scope":"profile openid"}]`, `{"type":"offline_job","job":"nightly-backup","scope":"openid profile"}`},
		"no scope":             {`[{"type":"offline_job","job":"a"}]`, `{"type":"offline_job","job":"a","scope":""}`},
		"not an array":         {`{"type":"offline_job","job":"a","scope":"openid"}`, ""},
		"an empty array":       {`[]`, ""},
		"no JSON":              {`nightly`, ""},
		"two arrays":           {`[{"type":"offline_job","job":"a"}][]`, ""},
		"another type":         {`[{"type":"payment","job":"a"}]`, ""},
		"no type":              {`[{"job":"a"}]`, ""},
		"an unknown member":    {`[{"type":"offline_job","job":"a","amount":"12"}]`, ""},
		"no job":               {`[{"type":"offline_job","scope":"openid"}]`, ""},
		"a job that is markup": {"[{\"type\":\"offline_job\",\"job\":\"a\\nb\"}]", ""},
		"a long name":          {`[{"type":"offline_job","job":"` + strings.Repeat("x", 65) + `"}]`, ""},
		"twice":                {`[{"type":"offline_job","job":"a"},{"type":"offline_job","job":"a"}]`, ""},
		"more than is asked":   {`[{"type":"offline_job","job":"a","scope":"mail"}]`, ""},
		"a broken scope":       {`[{"type":"offline_job","job":"a","scope":"o\"p"}]`, ""},
		"far too long":         {`[` + strings.Repeat(" ", 17<<10) + `]`, ""},
	} {
		got, err := oidc.ParseDetails(c.raw, asked)
		var e *oidc.Error
		switch {
		case c.want == "" && (!errors.As(err, &e) || e.Code != "invalid_authorization_details"):
			t.Errorf("%s: %s, %v", name, got, err)
		case c.want != "" && (err != nil || len(got) != 1 || string(got[0]) != c.want):
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if _, err := oidc.ParseDetails(`[{"type":"offline_job","job":"a"}]`, oidc.Scopes{"openid"}); err == nil {
		t.Error("a job without offline access")
	}
	if got, err := oidc.ParseDetails("", asked); got != nil || err != nil {
		t.Errorf("without the parameter: %s, %v", got, err)
	}
}
