// Package web renders the provider's pages: login, consent, logout, error, and
// the form that posts an authorization response.
//
// It owns: their templates, and a typed view for each page. Names of forms and fields are stable for browsers and
// scripts: forms login, consent, logout, device; fields username, password and
// user_code; buttons accept and cancel.
//
// It does not own what a page means, endpoints fill the views; nor the frame
// around it (page).
package web
