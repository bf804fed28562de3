// Package openredirect makes addresses that try to lead a browser from a host that
// is trusted to one that is not: what parsers, browsers and careless comparisons
// read differently.
//
// It does not own what is tried with them: the tests of the provider and of the
// adapter do.
package openredirect

import (
	"net/url"
	"strings"
)

// What stands before an authority: schemes, relative references, and what
// browsers make of backslashes, tabs and missing slashes.
var before = []string{
	"https://", "http://", "hTTps://", "//", "///", "////", "https:", "https:/", "https:///", "http:\\\\", "https:\\/",
	"/\\", "\\/", "\\\\", "/\\/", "/\t/", "\t//", " //", "/%09/", "/%5c", "%5c%5c", "%2f%2f", "/%2f/", "/.//", "/..//", "./\\",
	"javascript://", "data://", "vbscript://", "ftp://", "//;@",
}

// authority is a host to go to; good is the one that is trusted, evil the other.
var authorities = []string{
	"evil", "good@evil", "good:443@evil", "good%40evil", "good%00@evil", "good\\@evil", "good#@evil", "good?@evil", "good.evil", "evil-good",
	"evil\\.good", "evil%00.good", "evil%2f.good", "evil%23.good", "evil;good", "evil\t.good", "ｅvil", "ｅｖｉｌ", "good。evil", "good．evil", "good／evil", "good＼@evil", "good⁄evil", "xn--good-evil.evil", "good\u202e@evil", "good@evil:443", "[::1]@evil", "0x7f000001",
}

// What may be appended to the trusted address, which goes elsewhere then, or to
// another place of the same host.
var after = []string{
	"/", "/..", "/../evil", "%2f..", "/%2e%2e/evil", "/./", "//", "\\", ";x", "#", "#f", "?", "?x=1", "?foo=bar&x=//evil", "%00", "%20", " ", "\t",
	"%0d%0aLocation:%20https://evil", "\r\nLocation: https://evil", "@evil", ".evil", ":8443", "é", "*", "%",
}

// twins of a host look like it: in full width, and with a letter of another script.
func twins(host string) []string {
	wide := strings.Map(func(r rune) rune {
		if r > 0x20 && r < 0x7f && r != ':' && r != '.' {
			return r + 0xfee0
		}
		return r
	}, host)
	out := []string{wide}
	for i, r := range "aeopcx" {
		if mixed := strings.Replace(host, string(r), string([]rune("аеорсх")[i]), 1); mixed != host {
			out = append(out, mixed)
		}
	}
	return out
}

// Payloads returns several hundred addresses, none of which equals good. Each
// leads to evil or to another place than good, if anything takes it for good.
func Payloads(good *url.URL, evil string) []string {
	fill := strings.NewReplacer("good", good.Host, "evil", evil)
	out := []string{
		"evil", evil, "/" + evil, "?" + evil, "#" + evil, "." + evil, "//", "/", "\\", "https:", "https://", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)",
		"data:text/html,<script>alert(1)</script>", "blob:https://" + evil, "about:blank", "file:///etc/passwd", "mailto:x@" + evil,
	}
	whole := good.String()
	for _, tail := range after {
		out = append(out, whole+fill.Replace(tail))
	}
	bare := good.Scheme + "://" + good.Host
	rest := strings.TrimPrefix(whole, bare)
	for _, host := range []string{":1", ":@" + evil, "\\", "%2f", "."} {
		out = append(out, bare+host+rest)
	}
	out = append(out, strings.ToUpper(bare)+rest)
	for _, twin := range twins(good.Host) {
		out = append(out, good.Scheme+"://"+twin+rest, "//"+twin+rest)
	}
	out = append(out, strings.ToUpper(whole), bare+strings.ToUpper(rest), strings.Replace(whole, "https://", "http://", 1)+"/", whole[1:], " "+whole, whole+","+whole)
	for _, b := range before {
		for _, a := range authorities {
			out = append(out, b+fill.Replace(a)+rest)
		}
	}
	return out
}
