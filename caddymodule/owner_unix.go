//go:build unix

package caddymodule

import (
	"io/fs"
	"syscall"
)

// ownerOf a file, by user id.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
