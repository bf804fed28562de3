package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	mail "github.com/wneessen/go-mail"

	"github.com/nightlatch/nightlatch/adapter/vault"
)

// Mail tells a person at the address that the login provider vouches for
// (email_verified). Who has none is told nothing by mail.
type Mail struct {
	// Server is smtps://host (TLS from the start, port 465) or smtp://host
	// (STARTTLS, port 587). Without TLS only a server on loopback is spoken to.
	Server string
	// From is the sender, such as "Nightlatch <nightlatch@example.com>".
	From string
	// Username and Password, where the server wants them.
	Username, Password string
	// Copy gets each mail too, unseen by the person.
	Copy []string
	// Kinds that are told; none: all.
	Kinds []string
	// TLS defaults to the system's roots and the server's name.
	TLS *tls.Config
}

// ports of the schemes of Server.
var ports = map[string]int{"smtps": 465, "smtp": 587}

// Teller for the vault. Errors say what is wrong with the options.
func (m Mail) Teller() (vault.Teller, error) {
	host, options, err := m.options()
	if err != nil {
		return vault.Teller{}, err
	}
	if err := mail.NewMsg().From(m.From); err != nil {
		return vault.Teller{}, fmt.Errorf("from %q: want an address such as Nightlatch <nightlatch@example.com>", m.From)
	}
	for _, c := range m.Copy {
		if err := mail.NewMsg().Bcc(c); err != nil {
			return vault.Teller{}, fmt.Errorf("copy %q: want a mail address", c)
		}
	}
	return vault.Teller{Name: "mail", Tell: func(ctx context.Context, n vault.News) error {
		if len(m.Kinds) > 0 && !slices.Contains(m.Kinds, n.Kind) {
			return nil
		}
		if n.Grant.Email == "" || !n.Grant.EmailVerified {
			return nil
		}
		msg, err := m.message(n)
		if err != nil {
			return err
		}
		client, err := mail.NewClient(host, options...)
		if err != nil {
			return fmt.Errorf("sending mail: %w", err)
		}
		if err := client.DialAndSendWithContext(ctx, msg); err != nil {
			return fmt.Errorf("sending mail: %w", err)
		}
		return nil
	}}, nil
}

func (m Mail) options() (host string, options []mail.Option, err error) {
	u, err := url.Parse(m.Server)
	if err != nil || ports[u.Scheme] == 0 || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return "", nil, errors.New("want the mail server as smtps://mail.example.com or smtp://mail.example.com:587")
	}
	host = u.Hostname()
	port := ports[u.Scheme]
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return "", nil, fmt.Errorf("port %s: want a number from 1 to 65535", p)
		}
	}
	options = []mail.Option{mail.WithPort(port), mail.WithTimeout(15 * time.Second)}
	auth := mail.SMTPAuthAutoDiscover // never in the clear
	switch {
	case u.Scheme == "smtps":
		options = append(options, mail.WithSSL())
	case loopback(host):
		options, auth = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic)), mail.SMTPAuthPlainNoEnc
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.TLS != nil {
		options = append(options, mail.WithTLSConfig(m.TLS))
	}
	switch {
	case m.Username != "" && m.Password != "":
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(m.Username), mail.WithPassword(m.Password))
	case m.Username+m.Password != "":
		return "", nil, errors.New("want username and password, or neither")
	}
	return host, options, nil
}

func (m Mail) message(n vault.News) (*mail.Msg, error) {
	subject, body, err := compose(n)
	if err != nil {
		return nil, fmt.Errorf("writing mail: %w", err)
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(m.From); err != nil {
		return nil, fmt.Errorf("writing mail: %w", err)
	}
	if err := msg.To(n.Grant.Email); err != nil {
		return nil, errors.New("writing mail: the person's address is malformed")
	}
	if len(m.Copy) > 0 {
		if err := msg.Bcc(m.Copy...); err != nil {
			return nil, fmt.Errorf("writing mail: %w", err)
		}
	}
	msg.Subject(subject)
	msg.SetDateWithValue(n.At)
	msg.SetMessageIDWithValue(n.ID + "@nightlatch")
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation answers
	msg.SetBodyString(mail.TypeTextPlain, body)
	return msg, nil
}

// loopback tells that only this machine is spoken to.
func loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	if host != "localhost" {
		return false
	}
	ips, err := net.LookupHost(host)
	return err == nil && !slices.ContainsFunc(ips, func(s string) bool {
		ip, err := netip.ParseAddr(s)
		return err != nil || !ip.IsLoopback()
	})
}
