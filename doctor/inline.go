package doctor

import (
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// secretive are names of variables, headers and parameters that hold a secret, as far as names tell.
var secretive = regexp.MustCompile(`(?i)(secret|password|passwd|token|credentials?|cookie|authorization|dsn|pwd|(^|[-_])pat|key)$`)

// overt finds secrets that stand in the configuration itself where others than its owner can read it. Who belongs to the group that
// a service is run as, and not to its owner, needs the group's right: it is only told of where this user owns the file.
func (p *patient) overt(n *notes) {
	info, err := os.Stat(p.o.File)
	if err != nil || p.getenv("KUBERNETES_SERVICE_HOST") != "" || strings.HasPrefix(p.o.File, dockerSecrets) {
		return
	}
	owner, known := ownerOf(info)
	mode, who := info.Mode().Perm(), "everybody on this machine"
	switch {
	case mode&0o004 != 0:
	case mode&0o040 != 0 && known && owner == os.Geteuid():
		who = "its group"
	default:
		return
	}
	if keys := p.inline(); len(keys) > 0 {
		n.warn(p.o.File, "chmod 600 "+p.o.File+", or write ${env:NAME} or ${file:PATH} in place of the value",
			"%s can read it (mode %04o), and it holds the value of %s", who, mode, listed(keys))
	}
}

// listed names a few of many.
func listed(keys []string) string {
	const most = 4
	if len(keys) <= most {
		return strings.Join(keys, ", ")
	}
	return strings.Join(keys[:most], ", ") + " and " + strconv.Itoa(len(keys)-most) + " more"
}

// inline are the keys of the configuration whose values are secrets that are written out there.
func (p *patient) inline() (keys []string) {
	text, err := os.ReadFile(p.o.File)
	if err != nil || p.config == nil {
		return nil
	}
	root, problem := v1.Document(text)
	if problem != nil || root == nil {
		return nil
	}
	secrets := map[string]bool{}
	for _, secret := range secretsIn(reflect.ValueOf(p.config)) {
		secrets[secret] = true
	}
	scalars(root, "", func(path, value string) {
		switch named := anything.FindStringSubmatch(path); {
		case len(value) < shortest || strings.Contains(value, "${"):
		case opening(value), named == nil && secrets[value] && !address(value),
			named != nil && secretive.MatchString(named[1]) && !ordinary(value):
			keys = append(keys, path)
		}
	})
	return keys
}

// anything is a value of which only its name tells whether it is a secret.
var anything = regexp.MustCompile(`\.(?:env|headers|vars)\.([^.\[]+)$`)

func address(value string) bool {
	u, err := url.Parse(value)
	return err == nil && u.Host != ""
}

// opening tells whether a value is an address with a password or a key in it.
func opening(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		return false
	}
	if password, _ := u.User.Password(); password != "" {
		return true
	}
	for name, all := range u.Query() {
		if secretive.MatchString(name) && len(all[0]) >= shortest {
			return true
		}
	}
	return false
}

// scalars calls f with each text of a document and where it stands. What an alias stands for is told of once, where it is written.
func scalars(n *yaml.Node, path string, f func(path, value string)) {
	switch n.Kind {
	case yaml.ScalarNode:
		f(path, n.Value)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			scalars(item, path+"["+strconv.Itoa(i)+"]", f)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			scalars(n.Content[i+1], strings.TrimPrefix(path+"."+n.Content[i].Value, "."), f)
		}
	default:
	}
}
