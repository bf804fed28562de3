// Package guess slows those who guess: passwords, client secrets, user codes. It
// counts wrong ones, and says how long the next try has to wait
// (docs/decisions/0014).
//
// It does not own what is guessed, nor the answer. The login page, the token
// endpoint, the device page and client authentication ask it before they verify,
// and once more in the transaction that notes the outcome: so a hundred tries at
// the same time are no more than one after the other.
package guess
