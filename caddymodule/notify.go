package caddymodule

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zapcore"

	"github.com/nightlatch/nightlatch/adapter/notify"
	"github.com/nightlatch/nightlatch/adapter/vault"
)

// newsworthy are the events that people are told of.
var newsworthy = []string{
	vault.EventLapsing, vault.EventSuspended, vault.EventLapsed, vault.EventRevoked, vault.EventReplayed, vault.EventEnded,
}

// levelOf the log line of an event.
func levelOf(event string) zapcore.Level {
	if slices.Contains(newsworthy, event) {
		return zapcore.WarnLevel
	}
	return zapcore.InfoLevel
}

// tellers of the vault; nil tells nobody. Nothing is sent yet.
func (n *Notify) tellers() ([]vault.Teller, error) {
	if n == nil {
		return nil, nil
	}
	var out []vault.Teller
	for _, h := range n.Webhooks {
		u, err := url.Parse(h.URL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			return nil, errors.New("webhook: want an address such as https://ops.example.com/hook")
		case u.Scheme == "http" && !loopback(h.URL):
			return nil, fmt.Errorf("webhook %s: want https, since it tells who has given background access", u.Host)
		}
		if err := checkEvents(h.Events); err != nil {
			return nil, fmt.Errorf("webhook %s: %w", u.Host, err)
		}
		t := notify.Webhook{URL: h.URL, Secret: h.Secret, Kinds: h.Events}.Teller()
		if slices.ContainsFunc(out, func(o vault.Teller) bool { return o.Name == t.Name }) {
			return nil, fmt.Errorf("webhook %s is given twice", u.Host)
		}
		out = append(out, t)
	}
	if m := n.Mail; m != nil {
		if err := checkEvents(m.Events); err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
		t, err := notify.Mail{Server: m.Server, From: m.From, Username: m.Username, Password: m.Password, Copy: m.Copy, Kinds: m.Events}.Teller()
		if err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
		out = append(out, t)
	}
	return out, nil
}

func checkEvents(events []string) error {
	for _, e := range events {
		if !slices.Contains(newsworthy, e) {
			return fmt.Errorf("option events: %q: want some of %s", e, strings.Join(newsworthy, ", "))
		}
	}
	return nil
}

// readNotify reads `notify { … }`.
func readNotify(d *caddyfile.Dispenser, a *App) error {
	if a.Notify == nil {
		a.Notify = new(Notify)
	}
	return notifyOptions.read(d, "notify", a.Notify)
}

var notifyOptions = options[Notify]{
	"webhook": func(d *caddyfile.Dispenser, n *Notify) error {
		h := new(Webhook)
		if !d.Args(&h.URL) {
			return d.Err("option webhook: want an address: webhook https://ops.example.com/hook")
		}
		n.Webhooks = append(n.Webhooks, h)
		return webhookOptions.read(d, "webhook", h)
	},
	"mail": func(d *caddyfile.Dispenser, n *Notify) error {
		if n.Mail != nil {
			return d.Err("option mail is given twice")
		}
		n.Mail = new(Mail)
		if !d.Args(&n.Mail.Server) {
			return d.Err("option mail: want a server: mail smtps://mail.example.com")
		}
		return mailOptions.read(d, "mail", n.Mail)
	},
}

var webhookOptions = options[Webhook]{
	"secret": text(func(h *Webhook) *string { return &h.Secret }),
	"events": words(1, func(h *Webhook) *[]string { return &h.Events }),
}

var mailOptions = options[Mail]{
	"from":     text(func(m *Mail) *string { return &m.From }),
	"username": text(func(m *Mail) *string { return &m.Username }),
	"password": text(func(m *Mail) *string { return &m.Password }),
	"copy":     words(1, func(m *Mail) *[]string { return &m.Copy }),
	"events":   words(1, func(m *Mail) *[]string { return &m.Events }),
}
