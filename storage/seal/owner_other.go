//go:build !unix

package seal

import (
	"io/fs"
	"os"
)

// giveTo: whoever may write to the folder owns its files.
func giveTo(*os.File, fs.FileInfo) error { return nil }
