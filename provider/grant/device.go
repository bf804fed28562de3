package grant

import (
	"context"
	"errors"

	"github.com/nightlatch/nightlatch/provider/audit"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/storage"
)

// deviceCode answers a device that asks for its tokens (RFC 8628 §3.4). Once its
// user has let it in it is an authorization code like any other (O17).
func (h *Handler) deviceCode(ctx context.Context, req *request) (*issue, error) {
	if !req.client.DeviceGrant {
		return nil, oidc.Errorf(oidc.CodeUnauthorizedClient, "client may not use the device authorization grant")
	}
	raw := req.form.Get("device_code")
	if raw == "" {
		return nil, oidc.Errorf(oidc.CodeInvalidRequest, "device_code is missing")
	}
	id := oidc.NewID(h.Random)

	var out *issue
	var wait error // committed together with the time of the poll
	err := h.Audit.Update(ctx, func(tx storage.Tx, tell audit.Tell) error {
		out, wait = nil, nil
		d, err := session.TakeDevice(tx, h.Realm, raw)
		if errors.Is(err, storage.ErrNotFound) {
			return oidc.Errorf(oidc.CodeInvalidGrant, "device_code is invalid")
		}
		if err != nil {
			return err
		}
		if d.Client != req.client.ID {
			return oidc.Errorf(oidc.CodeInvalidGrant, "device_code was issued to another client")
		}
		if err := verified(req, d.Challenge); err != nil {
			return err
		}
		next, outcome := d.Poll(req.now)
		switch outcome {
		case session.DeviceUsed:
			if d.Granted.UsedWith(req.key) {
				out, err = h.again(tx, req, d.Granted)
				return err
			}
			// A device whose answer was lost asks again: no reason to end a session.
			return oidc.Errorf(oidc.CodeInvalidGrant, "device_code was used before")
		case session.DeviceExpired:
			return oidc.Errorf(oidc.CodeExpiredToken, "device_code has expired; begin again")
		case session.DeviceDenied:
			return oidc.Errorf(oidc.CodeAccessDenied, "%s", d.Denied)
		case session.DevicePending:
			wait = oidc.Errorf(oidc.CodeAuthorizationPending, "the user has not answered yet")
			return session.KeepDevice(tx, h.Realm, raw, next)
		case session.DeviceSlowDown:
			wait = oidc.Errorf(oidc.CodeSlowDown, "wait %d seconds between requests", seconds(next.Interval))
			return session.KeepDevice(tx, h.Realm, raw, next)
		}
		code := *d.Granted
		code.IP, code.Browser = req.ip, req.browser // the device's, not those of the browser that let it in
		if out, err = h.exchange(tx, req, &code, id); err != nil {
			return err
		}
		tell(req.told(out)...)
		return session.UseDevice(tx, h.Realm, raw, *d, id, req.key)
	})
	if err == nil {
		err = wait
	}
	return out, err
}
