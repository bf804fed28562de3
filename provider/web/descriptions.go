package web

import "github.com/nightlatch/nightlatch/page"

// What errors say to people rather than to a developer, as the error page has it:
// endpoints and domain packages say it to programs in English, so that their
// constants are no texts. All others stay English.
var _ = []page.Text{
	"This login has ended or began in another browser; go back to the application and begin again.",
	"This login has ended; go back to the application and begin again.",
	"This application is not known here: no client has this client_id.",
	"This application is switched off.",
	"The device's code has expired or was answered before.",
	"This form came from another site.",
	"This form is not valid in this browser any more; go back to the application and begin again.",
	"The request could not be completed; send the same again.",
	"The realm is starting.",
	"There is no such access; it may have ended already.",
	"This console is switched off here.",
}

// Names of the built-in client scopes on the consent page, which an administrator
// may write anew.
var _ = []page.Text{"User profile", "Email address", "Address", "Phone number", "User roles"}
