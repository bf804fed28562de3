// Package device is where a device without a browser asks to be let in, and
// where its user says which device it is (RFC 8628).
//
//	POST      /protocol/openid-connect/auth/device   the device begins
//	GET, POST /device                                the user types its code
//
// It owns the device authorization request and the page for the code, with its
// limit of wrong codes. From there on it is a login like any other: the page
// makes a session.AuthorizationRequest that names the device, and the browser
// goes to "continue", where provider/authorize has the user log in and consent,
// and writes the answer into the device's record. The device fetches it at the
// token endpoint (provider/grant).
//
// It does not own the records and how they are judged (provider/session).
// provider.go mounts Handler.
package device
