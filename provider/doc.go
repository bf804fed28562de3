// Package provider is an OpenID Provider: one realm, a plain http.Handler.
//
//	GET       /realms/{realm}                                       discovery: summary
//	GET       /realms/{realm}/.well-known/openid-configuration      discovery
//	GET       /.well-known/oauth-authorization-server/realms/{realm} discovery (RFC 8414)
//	GET       /realms/{realm}/protocol/openid-connect/certs         discovery
//	GET, POST …/protocol/openid-connect/auth                        authorize
//	POST      …/protocol/openid-connect/auth/device                 device
//	GET, POST /realms/{realm}/device                                device
//	GET, POST /realms/{realm}/login-actions/…                       login, authorize, logout
//	POST      …/protocol/openid-connect/token                       grant
//	POST      …/protocol/openid-connect/token/introspect            introspect
//	POST      …/protocol/openid-connect/revoke                      revoke
//	GET, POST …/protocol/openid-connect/userinfo                    userinfo
//	GET, POST …/protocol/openid-connect/logout                      logout
//	GET, POST /realms/{realm}/account, …/account/…                  account
//	any       /admin/serverinfo, /admin/realms, /admin/realms/{realm}/… admin
//
// It owns the one list that wires the endpoints (provider.go) and how a
// configuration becomes records (declare.go). An endpoint package imports the
// domain packages and no other endpoint.
//
// It does not own the store, the network, or the apps in front of which the
// gateway stands. caddymodule makes one Provider for each realm.
package provider
