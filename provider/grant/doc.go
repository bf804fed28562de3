// Package grant is the token endpoint (RFC 6749 §3.2): one pipeline (accept,
// authenticate, one file per grant type, mint, answer) for authorization_code,
// refresh_token, password and client_credentials.
//
// It owns the transactions in which grants begin and rotate, the answer's
// members and the events of token requests. It does not own the rotation and the
// lifetimes (provider/session), whether a grant still stands
// (provider/standing), how tokens are spelled (provider/token), client
// authentication (provider/client). provider.go mounts Handler at
// …/protocol/openid-connect/token.
//
// What one request costs, with keys in memory. "Reads" are point reads of
// records; each Update is one synced commit, shared with its neighbours, and one
// that writes nothing syncs nothing.
//
//	grant                          View  Update  records written         signatures
//	authorization_code             1     1       code, session           access, ID, refresh
//	refresh_token, single use      1     1       session                 access, ID, refresh
//	refresh_token, else            1     1       session (seldom)        access, ID, refresh
//	password                       2     1       session(s)              access, ID, refresh; one argon2id
//	device_code, waiting           1     1       device                  none
//	device_code, let in            1     1       device, session         access, ID, refresh
//	client_credentials             2     0       none                    access
//	client_credentials, offline    1     1       session                 access, ID, refresh
//
// What is written holds the events of the request too (provider/audit); an event
// of a request that writes nothing is written with others, once a second.
//
// The ID token is made only if openid was granted; the refresh token's signature
// is an HMAC.
//
// The first View authenticates the client, so that wrong credentials never reach
// the queue of writers. A signed client assertion adds an Update that remembers
// its jti. Signatures and password hashes are made outside of transactions.
package grant
