package jobs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzAsk: any form is a refusal that is fit for a header and a terminal, or an
// ask that names one person and keeps to its limits.
func FuzzAsk(f *testing.F) {
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		form, fail := readForm(httptest.NewRecorder(), r)
		var a ask
		if fail == nil {
			a, fail = parseAsk(form)
		}
		if fail != nil {
			if fail.status < 400 || fail.status > 499 || fail.Code == "" || fail.Description == "" || !plain(fail.Description) {
				t.Errorf("%q is refused with %+v", body, fail)
			}
			return
		}
		if a.who.kind == "" || a.who.value == "" || a.minTTL < 0 || a.minTTL > maxTTL || len(a.purpose) > maxPurpose {
			t.Errorf("%q is %+v", body, a)
		}
		for name, values := range form {
			if len(values) > 1 {
				t.Errorf("%q has %s twice", body, name)
			}
		}
	})
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}
