// Package standing judges whether what was granted still stands: one reading of
// the session, its user, its client and the settings of now, and one judgement
// over them. The token endpoint's refresh, introspection and UserInfo ask here,
// so that an access token is dead for every reason for which a refresh would
// fail.
//
// It owns the record of access tokens that were revoked one by one. It does not
// own any other record, nor the lifetimes and the rotation (provider/session),
// nor what a client or a user may have (provider/client, provider/user): it puts
// their answers together.
package standing
