// Package notify tells people what happened to the background access that they
// gave: a person by mail, an operator's program by a webhook.
//
// It owns: the words of the mail, the form of the webhook, how both are sent.
//
// It does not own: what is told, to whom it matters still, and when it is tried
// again (adapter/vault).
//
// Called by the gateway, which hands the tellers to the vault.
package notify
