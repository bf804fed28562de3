// Package audit is the realm's memory of what happened (O66): who was given,
// used or lost what, when, from where and why, newest first, for as long as the
// realm's settings say.
//
// An event of a change is written in the same transaction as the change: Update
// is Store.Update whose closure may tell. It costs no further sync, and neither
// is ever on disk without the other. An event without a change (a wrong
// password, a refresh that writes nothing) is told by Tell and written with its
// neighbours once a second; kill -9 may lose the last second of those. Either
// way the Sink hears of it after the commit, whatever the settings keep.
//
// What one event costs: a read of the realm's settings, a row of 300 to 600
// bytes, and a row of an index for each of user, client and type.
//
// It does not own what events there are (provider/event), nor who may read them
// (provider/admin).
package audit
