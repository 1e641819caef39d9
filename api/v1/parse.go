package v1

import (
	"encoding/json"

	"go.yaml.in/yaml/v4"
)

// Options are what Parse takes from its surroundings.
type Options struct {
	// Env looks up an environment variable; nil is [os.LookupEnv].
	Env func(name string) (string, bool)
	// ReadFile reads a file that a value refers to; nil reads regular files of
	// at most 1 MiB.
	ReadFile func(name string) ([]byte, error)
	// Dir is where relative paths of ${file:…} start; empty is the working
	// directory of the process.
	Dir string
}

// Parse reads a configuration in YAML or JSON. It returns every problem that it
// finds, and the configuration only when there is none.
func Parse(data []byte, opts Options) (*Config, Problems) {
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	c := &Config{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	c.SetDefaults()
	return c, nil
}
