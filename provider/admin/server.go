package admin

import (
	"runtime/debug"
	"slices"

	"github.com/nightlatch/nightlatch/provider/event"
)

// version of the program, as it was built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// serverInfo is the part of Keycloak's ServerInfoRepresentation that is true of
// this server.
func (c *call) serverInfo() (any, error) {
	var types []string
	for _, t := range event.Types() {
		types = append(types, string(t))
	}
	return object{
		"systemInfo":  object{"version": "nightlatch " + version(), "serverTime": c.now.String()},
		"profileInfo": object{"name": "nightlatch", "disabledFeatures": []string{}, "previewFeatures": []string{}},
		"enums": object{
			"eventType": slices.Sorted(slices.Values(types)), "operationType": []string{"CREATE", "UPDATE", "DELETE", "ACTION"},
		},
	}, nil
}
