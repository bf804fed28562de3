package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "grants",
		Usage: "token|list",
		Short: "Gets access tokens of people who are away, as a job",
		Long: `Talks to the token endpoint for jobs (nightlatch_tokens) of a running gateway.

The address and the job's credentials come from --url, --job and --secret-file,
or from NIGHTLATCH_URL (default ` + defaultURL + `; unix:/path works too),
NIGHTLATCH_JOB and NIGHTLATCH_SECRET.

Exit codes:
  0   done
  2   wrong usage
  3   the person has to consent again; the link is on stderr
  4   no grant; the link is on stderr
  75  temporary: the gateway or the provider is away
  77  denied by a rule
  78  no or wrong credentials
`,
		CobraFunc: func(cmd *cobra.Command) {
			c := new(jobClient)
			f := cmd.PersistentFlags()
			f.StringVar(&c.url, "url", "", "address of the token endpoint")
			f.StringVar(&c.job, "job", "", "name of the job")
			f.StringVar(&c.secretFile, "secret-file", "", "file with the job's secret")
			cmd.AddCommand(tokenCommand(c), listCommand(c))
			asCommand(cmd, func(args []string) int {
				if len(args) > 0 {
					return misused(cmd, fmt.Sprintf("unknown command %q: want token or list", args[0]))
				}
				_ = cmd.Help()
				return exitUsage
			})
		},
	})
}

// asCommand runs fn and exits with its code; mistakes in flags and arguments
// exit with exitUsage, where cobra would with 1.
func asCommand(cmd *cobra.Command, fn func(args []string) int) {
	exit := func(code int) error {
		if code == exitFailed {
			return errors.New("failed") // Caddy takes a bare 1 for success
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
	}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.Args = cobra.ArbitraryArgs
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return exit(misused(cmd, err.Error())) })
	cmd.RunE = func(_ *cobra.Command, args []string) error { return exit(fn(args)) }
}

func misused(cmd *cobra.Command, what string) int {
	fmt.Fprintf(cmd.ErrOrStderr(), "nightlatch: %s\nUsage: %s\n", what, cmd.UseLine())
	return exitUsage
}

// noArgs refuses arguments of a command that has none.
func noArgs(cmd *cobra.Command, fn func() int) func([]string) int {
	return func(args []string) int {
		if len(args) > 0 {
			return misused(cmd, fmt.Sprintf("unexpected argument %q", args[0]))
		}
		return fn()
	}
}

func tokenCommand(c *jobClient) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token --user <name> [--scope <scopes>] [--min-ttl <duration>] [--purpose <text>] [--format token|json|header|env]",
		Short: "Prints an access token and nothing else on stdout",
	}
	names := []string{"user", "sub", "email", "grant"}
	params := map[string]string{"grant": "grant_id", "min-ttl": "min_ttl"}
	f := cmd.Flags()
	f.String("user", "", "name of the person at our own realm")
	f.String("sub", "", "sub of the person at the provider")
	f.String("email", "", "verified mail address of the person")
	f.String("grant", "", "id of the grant, from `grants list`")
	f.String("provider", "", "name of the realm or provider")
	f.String("site", "", "public address of the site")
	f.String("scope", "", "scopes, separated by spaces; default: what the rule and the grant allow")
	f.String("resource", "", "URI of the API that the token is for")
	f.String("min-ttl", "", "how long the token must live on; default 60s")
	f.String("purpose", "", "free text for the audit log")
	format := f.String("format", "token", "token, json, header or env")
	asCommand(cmd, noArgs(cmd, func() int {
		if !slices.Contains([]string{"token", "json", "header", "env"}, *format) {
			return misused(cmd, fmt.Sprintf("--format %s: want token, json, header or env", *format))
		}
		form, given := url.Values{}, 0
		for _, name := range append([]string{"provider", "site", "scope", "resource", "min-ttl", "purpose"}, names...) {
			value := f.Lookup(name).Value.String()
			if value == "" {
				continue
			}
			if slices.Contains(names, name) {
				given++
			}
			if param, ok := params[name]; ok {
				name = param
			}
			form.Set(name, value)
		}
		if given != 1 {
			return misused(cmd, "want one of --user, --sub, --email and --grant")
		}
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		raw, code := c.do(cmd.ErrOrStderr(), "POST", "/token", form)
		if code != 0 {
			return code
		}
		if json.Unmarshal(raw, &answer) != nil || answer.AccessToken == "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "nightlatch: the answer holds no token: is this the token endpoint for jobs?")
			return exitTemporary
		}
		out := map[string]string{
			"token": answer.AccessToken, "json": strings.TrimSpace(string(raw)),
			"header": "Authorization: Bearer " + answer.AccessToken, "env": "BEARER_TOKEN=" + answer.AccessToken,
		}
		return printed(cmd, out[*format])
	}))
	return cmd
}

// printed writes the result; a full disk or a closed pipe is no success.
func printed(cmd *cobra.Command, text string) int {
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "nightlatch: writing to stdout:", err)
		return exitTemporary
	}
	return 0
}

func listCommand(c *jobClient) *cobra.Command {
	cmd := &cobra.Command{Use: "list [--format text|json]", Short: "Lists the grants that the job may use"}
	format := cmd.Flags().String("format", "text", "text or json")
	asCommand(cmd, noArgs(cmd, func() int {
		if *format != "text" && *format != "json" {
			return misused(cmd, fmt.Sprintf("--format %s: want text or json", *format))
		}
		all := []json.RawMessage{}
		for cursor := ""; ; {
			raw, code := c.do(cmd.ErrOrStderr(), "GET", "/grants", url.Values{"limit": {"1000"}, "cursor": {cursor}})
			if code != 0 {
				return code
			}
			var page struct {
				Grants []json.RawMessage `json:"grants"`
				Next   string            `json:"next"`
			}
			if err := json.Unmarshal(raw, &page); err != nil || page.Grants == nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "nightlatch: the answer is no list of grants: is this the token endpoint for jobs?")
				return exitTemporary
			}
			all = append(all, page.Grants...)
			if page.Next == "" || page.Next == cursor {
				break
			}
			cursor = page.Next
		}
		if *format == "json" {
			raw, err := json.Marshal(map[string]any{"grants": all})
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "nightlatch: writing the list:", err)
				return exitTemporary
			}
			return printed(cmd, string(raw))
		}
		return printed(cmd, strings.TrimRight(table(all), "\n"))
	}))
	return cmd
}

// table is the list for people.
func table(grants []json.RawMessage) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GRANT\tUSER\tSTATUS\tSITE\tSCOPE\tCREATED\tLAST USED")
	for _, raw := range grants {
		var g struct {
			ID       string `json:"grant_id"`
			User     string `json:"user"`
			Sub      string `json:"sub"`
			Status   string `json:"status"`
			Site     string `json:"site"`
			Scope    string `json:"scope"`
			Created  int64  `json:"created_at"`
			LastUsed int64  `json:"last_used_at"`
		}
		if json.Unmarshal(raw, &g) != nil {
			continue
		}
		if g.User == "" {
			g.User = "sub=" + g.Sub
		}
		for _, s := range []*string{&g.ID, &g.User, &g.Status, &g.Site, &g.Scope} {
			*s = plain(*s)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, g.User, g.Status, g.Site, g.Scope, day(g.Created), day(g.LastUsed))
	}
	_ = w.Flush() // into memory
	return out.String()
}

func day(unix int64) string {
	if unix == 0 {
		return "never"
	}
	return time.Unix(unix, 0).Format("2006-01-02 15:04")
}

// plain keeps what a stranger chose from moving the cursor of a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
