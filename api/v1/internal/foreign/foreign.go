// Package foreign lists the keys that MCP clients write into their own
// configuration files and that have no meaning for a gateway. They are accepted,
// so that such a file works unchanged, and each says what that means.
package foreign

// Config are top-level keys. An empty reason is not worth a warning.
var Config = map[string]string{
	"$schema":        "",
	"globalShortcut": "is a client's own setting",
	"inputs":         "asks a person for values, which a service cannot; write ${env:NAME} where ${input:…} stands",
	"preferences":    "is a client's own setting",
}

const (
	approval  = "concerns a client's own questions to its user"
	selection = "selects tools in a client; here every tool of the server stays available"
	timeout   = "has another unit in every client; write timeouts.idle or timeouts.connect"
	catalogue = "describes the server in a client's catalogue"
)

// Server are keys of one server. An empty reason is not worth a warning.
var Server = map[string]string{
	"$schema": "",
	// Understood: false means disabled.
	"enabled":  "",
	"isActive": "",

	"alwaysAllow":    approval,
	"autoApprove":    approval,
	"trust":          approval,
	"disabledTools":  selection,
	"enabledTools":   selection,
	"excludeTools":   selection,
	"includeTools":   selection,
	"tools":          selection,
	"initTimeout":    timeout,
	"networkTimeout": timeout,
	"timeout":        timeout,
	"description":    catalogue,
	"gallery":        catalogue,
	"icon":           catalogue,
	"name":           catalogue,
	"version":        catalogue,
	"dev":            "is a client's own development setting",
	"envFile":        "is not read; write the variables under env, as ${env:NAME} or ${file:/path}",
	"roots":          "is a client's own setting",
}
