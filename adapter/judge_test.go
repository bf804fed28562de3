package adapter

import (
	"slices"
	"testing"
)

// everyCase calls fn with all combinations of facts.
func everyCase(fn func(facts)) {
	bit := func(n, i int) bool { return n>>i&1 == 1 }
	for n := range 1 << 13 {
		f := facts{
			navigation: bit(n, 0), public: bit(n, 1), loggedIn: bit(n, 2), allowed: bit(n, 3), stale: bit(n, 4), parameter: bit(n, 5),
			offline: Offline{Required: bit(n, 6), Optional: bit(n, 7)}, granted: bit(n, 8), without: bit(n, 9),
			unnamed: bit(n, 11), atProvider: bit(n, 12),
		}
		if bit(n, 10) {
			f.refused = "declined"
		}
		fn(f)
	}
}

// TestJudgeRules: what holds for every request.
func TestJudgeRules(t *testing.T) {
	redirects := []verdict{logIn, stepUp, renew, cleanURL}
	everyCase(func(f facts) {
		v := judge(f)
		switch {
		case f.public && v != pass:
			t.Errorf("an open path gets %d: %+v", v, f)
		case !f.navigation && (slices.Contains(redirects, v) || v == refused || v == nameJobs):
			t.Errorf("a program gets a page or a redirect (%d): %+v", v, f)
		case v == pass && !f.public && !(f.loggedIn && f.allowed):
			t.Errorf("nobody, or somebody who may not, gets in: %+v", f)
		case v == pass && f.offline.Required && !f.granted && !f.without && !f.public:
			t.Errorf("an offline path is served without a grant: %+v", f)
		case v == pass && f.navigation && f.offline.Required && f.unnamed && !f.without && !f.public:
			t.Errorf("an offline path is served although a job was not allowed by name: %+v", f)
		case v == nameJobs && !(f.granted && f.unnamed && f.allowed && f.refused == "" && !f.without):
			t.Errorf("asked to allow jobs for nothing: %+v", f)
		case v == stepUp && (f.granted && !(f.unnamed && f.atProvider) || f.refused != "" || f.without):
			t.Errorf("asked again by itself: %+v", f)
		case v == cleanURL && !f.parameter, v == pass && f.parameter && f.navigation && !f.public:
			t.Errorf("the parameter: %d %+v", v, f)
		case f.loggedIn && !f.allowed && !f.public && v != forbidden && v != renew:
			t.Errorf("somebody who may not come in gets %d: %+v", v, f)
		}
	})
}

// TestJudgeEnds: whatever a login or the person answers, the browser arrives.
func TestJudgeEnds(t *testing.T) {
	everyCase(func(f facts) {
		if !f.navigation || !f.allowed {
			return
		}
		start := f
		for range 5 {
			switch judge(f) {
			case logIn: // comes back logged in, with a grant or its refusal
				f.loggedIn, f.stale = true, false
				if f.parameter || f.offline.Required || f.offline.Optional {
					f.refused = "declined"
				}
			case renew:
				f.stale = false
			case stepUp, nameJobs:
				f.refused = "declined"
			case cleanURL:
				f.parameter = false
			case refused: // Continue without background access
				f.without, f.parameter = true, false
			case pass:
				return
			default:
				t.Fatalf("%+v ends in %d", start, judge(f))
			}
		}
		t.Errorf("goes in circles: %+v", start)
	})
}

func TestSplitScope(t *testing.T) {
	for query, c := range map[string]struct {
		asked []string
		rest  string
	}{
		"":                               {nil, ""},
		"scope=offline_access":           {[]string{"offline_access"}, ""},
		"a=1&scope=offline_access&b=%zz": {[]string{"offline_access"}, "a=1&b=%zz"},
		"sc%6fpe=offline%5Faccess+x":     {[]string{"offline_access", "x"}, ""},
		"scope=offline_access&scope=x":   {[]string{"offline_access"}, "scope=x"},
		"scope=offline_access&scope=offline_access+y": {[]string{"offline_access", "y"}, ""},
		"scope=offline_access%zz":                     {nil, "scope=offline_access%zz"},
		"scope=xoffline_access":                       {nil, "scope=xoffline_access"},
		"&&scope=mail&":                               {nil, "&&scope=mail&"},
	} {
		asked, rest := splitScope(query)
		if !slices.Equal(asked, c.asked) || rest != c.rest {
			t.Errorf("%q: %v %q, want %v %q", query, asked, rest, c.asked, c.rest)
		}
	}
}

func TestAsymmetric(t *testing.T) {
	for _, c := range []struct{ told, want []string }{
		{[]string{"none", "HS256", "ES256", "RS256", "EdDSA"}, []string{"ES256", "RS256", "EdDSA"}},
		{[]string{"HS256", "none"}, []string{"RS256"}},
		{nil, []string{"RS256"}},
	} {
		if got := asymmetric(c.told); !slices.Equal(got, c.want) {
			t.Errorf("of %v: %v", c.told, got)
		}
	}
}
