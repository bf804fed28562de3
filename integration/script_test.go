package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nightlatch/nightlatch/integration/loopback"
)

// TestScript runs testdata/script: the commands of the binary, typed in as an
// operator or a job's author would, with what they print.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
				env.Setenv(name, env.WorkDir)
			}
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("CADDY_ADMIN", "unix/"+filepath.Join(env.WorkDir, "a.sock"))
			for _, name := range []string{"REALM", "APP", "JOBS"} {
				port, err := loopback.Port()
				if err != nil {
					return err
				}
				env.Setenv(name, port)
			}
			return nil
		},
	})
}
