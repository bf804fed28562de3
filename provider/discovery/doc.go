// Package discovery tells what the realm can do: the documents of OpenID Connect
// Discovery and RFC 8414, the public keys (RFC 7517) and Keycloak's summary of a
// realm. A document names only what works.
//
// It does not own the keys (provider/keys) nor any endpoint that it names.
// provider.go mounts the methods of Handler. One request costs one View; the
// keys none.
package discovery
