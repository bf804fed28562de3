// Package pagetest holds pages against golden files, for the tests of every package
// that brings pages: what changes in a page is seen in review.
//
// It owns the files' flag -update, and what is wrong in any page: markup in a
// value, and what the page's policy forbids. It does not own a page.
package pagetest
