package page

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestBrowserName(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                           "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                  "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":    "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":            "Safari on a Mac",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile Safari/604.1": "Safari on an iPhone",
		"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                     "Chrome on Android",
		"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"curl/8.5.0":                  "Curl",
		"Go-http-client/1.1":          "A program written in Go",
		"AppleTV (Linux; something)":  "A program on Linux",
		"":                            "An unknown program",
		`<script>alert("x")</script>`: "An unknown program",
	} {
		if got := English.Browser(agent); got != want {
			t.Errorf("%s: %q, want %q", agent, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1 second", 59 * time.Second: "59 seconds", time.Minute: "1 minute", 5 * time.Minute: "5 minutes", 90 * time.Minute: "90 minutes",
		time.Hour: "1 hour", 3 * time.Hour: "3 hours", 24 * time.Hour: "1 day", 25 * time.Hour: "25 hours", 30 * 24 * time.Hour: "30 days",
	} {
		if got := English.Span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 49 * time.Hour: "2 days ago", -time.Hour: "in 1 hour", -time.Second: "just now",
	} {
		if got := English.near(t0.Add(-d), t0); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
