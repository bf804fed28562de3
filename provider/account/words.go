package account

import (
	"cmp"
	"strings"

	"github.com/nightlatch/nightlatch/page"
	"github.com/nightlatch/nightlatch/provider/client"
	"github.com/nightlatch/nightlatch/provider/event"
	"github.com/nightlatch/nightlatch/provider/oidc"
	"github.com/nightlatch/nightlatch/provider/session"
	"github.com/nightlatch/nightlatch/provider/user"
)

// What the console says besides its templates stands here.

const consoleName page.Text = "Account"

// menu in the order in which it is shown.
var menu = []struct {
	path string
	name page.Text
}{
	{"", "Background access"},
	{"/sessions", "Sessions"},
	{"/applications", "Applications"},
	{"/password", "Password"},
	{"/profile", "Personal info"},
	{"/activity", "Activity"},
}

// notices by what was done.
var notices = map[string]page.Text{
	"removed":             "Removed. It cannot act for you any more.",
	"gone":                "That access had ended already.",
	"signed-out":          "Signed out there.",
	"password":            "Your password is changed. Nothing was signed out.",
	"password-everywhere": "Your password is changed. All other browsers are signed out, and all background access has ended.",
	"profile":             "Saved.",
}

// Problems of the forms.
const (
	problemCurrent page.Text = "The current password is wrong."
	problemGuesses page.Text = "Too many passwords were wrong. Please try again in some minutes."
	problemShort   page.Text = "The new password needs at least 8 characters."
	problemLong    page.Text = "The new password is too long."
	problemDiffers page.Text = "The two new passwords differ."
	problemSame    page.Text = "The new password is the current one."
	problemValue   page.Text = "A value is too long, or has a character that cannot be shown."
	problemAddress page.Text = "This is no email address."
	problemTaken   page.Text = "Another account has this email address."
)

// eventName says what happened.
func eventName(words *page.Words, e event.Event) string {
	if name := eventNames[e.Type]; name != "" {
		return words.T(name)
	}
	return strings.ToLower(strings.ReplaceAll(string(e.Type), "_", " "))
}

var eventNames = map[event.Type]page.Text{
	event.Login:                 "Logged in",
	event.LoginError:            "A login was refused",
	event.CodeToToken:           "Application got access",
	event.CodeToTokenError:      "Application was refused access",
	event.DeviceAuth:            "A device asked to be connected",
	event.DeviceVerify:          "A device's code was entered",
	event.DeviceVerifyError:     "A wrong device code was entered",
	event.DeviceToToken:         "Device connected",
	event.ClientLogin:           "Application logged in by itself",
	event.TokenExchange:         "Application passed your access on",
	event.TokenExchangeError:    "Application was refused to pass your access on",
	event.RefreshToken:          "Access used",
	event.RefreshTokenError:     "Access was refused",
	event.RefreshTokenReplay:    "An old key was used again, so the access was ended",
	event.RefreshTokenForward:   "Access used after a restored backup",
	event.OfflineSessionStart:   "Background access began",
	event.OfflineSessionEnd:     "Background access ended",
	event.RevokeGrant:           "Access taken back",
	event.RevokeGrantError:      "Taking back access was refused",
	event.GrantConsent:          "You allowed an application",
	event.UpdateConsent:         "You changed what an application may do",
	event.ConsentDenied:         "You did not allow an application",
	event.Logout:                "Logged out",
	event.LogoutError:           "A logout was refused",
	event.UpdateCredential:      "Password changed",
	event.UpdateCredentialError: "Changing the password was refused",
	event.UpdateProfile:         "Personal info changed",
	event.UserChanged:           "An administrator changed your account",
}

// reasonName says why, "" where there is nothing to say.
func reasonName(words *page.Words, e event.Event) string {
	if name, known := reasonNames[e.Reason]; known {
		return words.T(name)
	}
	return strings.ReplaceAll(e.Reason, "_", " ")
}

var reasonNames = map[string]page.Text{
	"":                         "",
	session.Revoked:            "taken back",
	session.ReuseDetected:      "an old key was used again",
	session.IdleExpired:        "unused for too long",
	session.MaxExpired:         "its time was over",
	session.LoggedOut:          "the application ended it",
	session.IssuedBefore:       "ended by an administrator",
	session.UserDisabled:       "your account was disabled",
	session.RoleMissing:        "a role is missing",
	"another_login":            "somebody else logged in here",
	"invalid_user_credentials": "the password was wrong",
}

const (
	pausedRole   page.Text = "Does not work at present: an administrator has taken the role offline_access from you or from this application."
	pausedClient page.Text = "Does not work at present: an administrator has switched this application off."
)

func clientName(c *client.Client) string { return cmp.Or(c.Name, c.ClientID) }

func compareNames(a, b *client.Client) int {
	return strings.Compare(strings.ToLower(clientName(a)), strings.ToLower(clientName(b)))
}

func personName(u *user.User) string {
	return cmp.Or(strings.TrimSpace(u.FirstName+" "+u.LastName), u.Username)
}

// scopeNames says what scopes show or allow. offline_access is what the page is
// about.
func scopeNames(words *page.Words, known map[string]*client.Scope, granted []string) []string {
	var out []string
	for _, name := range granted {
		switch s := known[name]; {
		case name == oidc.ScopeOpenID:
			out = append(out, words.T("Who you are"))
		case name == oidc.ScopeOfflineAccess, s == nil:
		case s.ConsentText != "":
			out = append(out, words.T(page.Text(s.ConsentText)))
		case s.InToken:
			out = append(out, name)
		}
	}
	return out
}

// link is an address of an application that a person can follow, "" for none.
func link(uri string) string {
	if strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://") {
		return uri
	}
	return ""
}
