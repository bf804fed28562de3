package integration

import (
	"net"
	"os"
	"os/exec"
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
			env.Defer(func() { stopStarted(t, env) })
			return nil
		},
	})
}

// stopStarted ends a gateway that a script has started in the background.
func stopStarted(t *testing.T, env *testscript.Env) {
	socket := filepath.Join(env.WorkDir, "a.sock")
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	conn.Close()
	cmd := exec.Command(binary, "stop", "--address", "unix/"+socket)
	cmd.Env = env.Vars
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("stopping what the script has started: %v\n%s", err, out)
	}
}
