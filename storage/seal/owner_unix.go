//go:build unix

package seal

import (
	"io/fs"
	"os"
	"syscall"
)

// giveTo gives a file the owner and mode of another one.
func giveTo(f *os.File, like fs.FileInfo) error {
	if have, err := f.Stat(); err != nil {
		return err
	} else if to, ok := like.Sys().(*syscall.Stat_t); ok {
		if is, ok := have.Sys().(*syscall.Stat_t); !ok || is.Uid != to.Uid || is.Gid != to.Gid {
			if err := f.Chown(int(to.Uid), int(to.Gid)); err != nil {
				return err
			}
		}
	}
	return f.Chmod(like.Mode().Perm())
}
