// Package grant is the token endpoint (RFC 6749 §3.2): one pipeline (accept,
// authenticate, one file per grant type, mint, answer) for authorization_code,
// refresh_token, password, client_credentials, device codes and token exchange.
//
// It owns the transactions in which grants begin and rotate, the answer's
// members and the events of token requests. It does not own the rotation and the
// lifetimes (provider/session), whether a grant still stands
// (provider/standing), how tokens are spelled (provider/token), client
// authentication (provider/client). provider.go mounts Handler at
// …/protocol/openid-connect/token.
//
// What one request costs at the store, with keys in memory (TestCostOfARequest
// holds this table). "syncs" are commits that wait for the disk: each is shared
// with its neighbours, and an Update that writes nothing has none. "reads" are
// records by key; scans are of the realm's client scopes, and of the counter that
// the limit of offline sessions is held against. "rows" are records, index rows,
// counters and events that are written. "signatures" are those of access and ID tokens, with
// the realm's algorithm.
//
//	request                      View  Update  syncs  reads  scans  rows  signatures
//	authorization_code, offline  1     1       1      13     2      20    2
//	refresh_token, single use    1     1       1      10     1      5     2
//	the same again               1     1       0      8      1      0     2
//	a replay                     1     1       1      13     1      20    0
//	refresh_token, else          1     1       0      8      1      0     2
//	after half a minute          1     1       1      10     1      5     2
//	a bad signature              1     0       0      3      0      0     0
//	password, offline            2     1       1      16     2      19    2
//	device_code, waiting         1     1       1      4      0      1     0
//	device_code, let in          1     1       1      13     2      20    2
//	token exchange               2     0       0      11     1      0     1
//	client_credentials           2     0       0      6      2      0     1
//	client_credentials, offline  1     1       1      11     3      19    2
//
// What is written holds the events of the request too (provider/audit); an event
// of a request that writes nothing is written with others, once a second.
//
// Records that many requests read and few change (settings, client, scopes, user,
// roles) are decoded once, until their bytes change; of a refresh only the
// session is decoded each time. The ID token is made only if openid was granted;
// the refresh token's signature is an HMAC. A password costs an argon2id.
// BenchmarkRefresh tells the objects that a refresh allocates.
//
// The first View authenticates the client, so that wrong credentials never reach
// the queue of writers. A signed client assertion adds an Update that remembers
// its jti. Signatures and password hashes are made outside of transactions.
package grant
