package notify

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"text/template"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// text is what a mail says.
type text struct{ subject, body *template.Template }

func words(subject, body string) text {
	return text{template.Must(template.New("subject").Parse(subject)), template.Must(template.New("body").Parse(body))}
}

// texts by kind of news, and where it matters by reason.
var texts = map[string]text{
	vault.EventLapsing: words(
		`Background access to {{.Site}} ends on {{.LapseAt.Format "2 January 2006"}}`,
		`Jobs of {{.Site}} may act for you while you are away. That ends on {{.LapseAt.Format "2 January 2006"}}{{with .Why}}, because {{.}}{{end}}.

If it should go on, open this page and allow it again:

    {{.Link}}

If it may end, there is nothing to do.`),
	vault.EventSuspended: words(
		`{{.Site}} cannot act for you at the moment`,
		`Jobs of {{.Site}} may act for you while you are away, but the login provider does not accept that at the moment{{with .Why}}: {{.}}{{end}}.

It may pass by itself; it is tried again. To allow it again yourself, open this page:

    {{.Link}}`),
	vault.EventLapsed: words(
		`Background access to {{.Site}} has ended`,
		`Jobs of {{.Site}} could act for you while you were away. That has ended{{with .Why}}, because {{.}}{{end}}.

If it should go on, open this page and allow it again:

    {{.Link}}`),
	vault.EventRevoked: words(
		`Background access to {{.Site}} was removed`,
		`Jobs of {{.Site}} could act for you while you were away. That was removed: by you, by an administrator or by the job itself. They cannot act for you any more.

If it should go on, open this page and allow it again:

    {{.Link}}`),
	vault.EventReplayed: words(
		`Background access to {{.Site}} was ended to protect you`,
		`Jobs of {{.Site}} could act for you while you were away. The key for that was used twice, as happens when somebody has stolen it, so it works no more. Please tell your administrator.

To allow background access again, with a new key, open this page:

    {{.Link}}`),
	vault.EventEnded: words(
		`Background access to {{.Site}} has ended`,
		`Jobs of {{.Site}} could act for you while you were away. That has ended{{with .Why}}, because {{.}}{{end}}.

If it should go on, open this page and allow it again:

    {{.Link}}`),
}

// reasons in words, behind "because".
var reasons = map[string]string{
	"unused":        "nobody has used it for a long time",
	"max_expired":   "it has to be allowed anew from time to time",
	"unreachable":   "the login provider could not be reached for a long time",
	"idle_expired":  "it was not used for too long",
	"user_disabled": "your account is disabled",
	"user_deleted":  "your account was deleted",
	"role_missing":  "your account may not give background access any more",
}

// compose returns subject and body of a mail.
func compose(n vault.News) (subject, body string, err error) {
	t, ok := texts[n.Kind]
	if !ok {
		return "", "", fmt.Errorf("no text for %s", n.Kind)
	}
	site := n.Grant.Site
	if u, err := url.Parse(site); err == nil && u.Host != "" {
		site = u.Host
	}
	view := struct {
		vault.News
		Site, Why, Link string
	}{n, site, reasons[n.Reason], n.ReconsentURI}
	var s, b strings.Builder
	if err := t.subject.Execute(&s, view); err != nil {
		return "", "", err
	}
	fmt.Fprintf(&b, "Hello %s,\n\n", line(cmp.Or(n.Grant.Username, n.Grant.Sub)))
	if err := t.body.Execute(&b, view); err != nil {
		return "", "", err
	}
	fmt.Fprintf(&b, "\n\n-- \nThis mail was sent by %s, for the account %s.\n", site, line(cmp.Or(n.Grant.Username, n.Grant.Sub)))
	return line(s.String()), b.String(), nil
}

// line keeps what a stranger chose on one line.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}
