package doctor

import (
	"errors"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/source"
)

// patient is what is known of an installation before anything of it is looked at.
type patient struct {
	*world

	o *Options
	// config is nil where err says why.
	config *v1.Config
	err    error
	// stateDir is known also of a configuration with problems, most often.
	stateDir string
	// refers are the files that the configuration refers to.
	refers []string

	secrets   *strings.Replacer
	manifests func() (*manifests, error)
}

// world is what checks ask the machine.
type world struct {
	// root stands before /proc and /sys.
	root  string
	now   func() time.Time
	space func(path string) (free, all uint64, err error)
	// openFiles is how many files the process may have open.
	openFiles func() uint64
	getenv    func(string) string
}

func here() *world {
	return &world{root: "/", now: time.Now, space: space, openFiles: openFiles, getenv: os.Getenv}
}

// space is how much is free at a path for who is not root, and how much there is.
func space(path string) (free, all uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	each := uint64(st.Bsize)
	return st.Bavail * each, st.Blocks * each, nil
}

func openFiles() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}

// admit reads the configuration.
func admit(o *Options) *patient {
	p := &patient{o: o, world: o.world, manifests: o.manifests()}
	if p.world == nil {
		p.world = here()
	}
	f := &source.File{Path: o.File}
	p.config, p.err = f.Load()
	p.refers = f.References()
	if p.config != nil {
		p.stateDir = p.config.StateDir
	} else if dir, err := f.StateDir(); err == nil {
		p.stateDir = dir
	}
	p.secrets = p.hidden()
	return p
}

// deployed are the manifests, and why there are none.
func (p *patient) deployed() (*manifests, error) { return p.manifests() }

// problems are what is wrong in the configuration; none where it cannot be read at all.
func (p *patient) problems() v1.Problems {
	if e, ok := errors.AsType[*source.Error](p.err); ok {
		return e.Problems
	}
	return nil
}

// discreet is a finding without the secrets of the configuration.
func (p *patient) discreet(f Finding) Finding {
	f.About, f.Text, f.Remedy = p.plain(f.About), p.plain(f.Text), p.plain(f.Remedy)
	return f
}

// plain is text without secrets, in one line.
func (p *patient) plain(text string) string {
	text = p.secrets.Replace(text)
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

// within are the words of secrets that have several, as "Bearer KEY" and files with one key a line do: what is said of one may name
// only the word that counts.
func within(all []string) (words []string) {
	for _, secret := range all {
		if each := strings.Fields(secret); len(each) > 1 {
			words = append(words, slices.DeleteFunc(each, func(w string) bool {
				return ordinary(w) || strings.EqualFold(w, "bearer") || strings.EqualFold(w, "basic")
			})...)
		}
	}
	return words
}

// shortest is how long a secret is at least: what is shorter could be any word.
const shortest = 6

// hidden has each secret that the configuration holds or refers to be shown as ***: checks name none, but servers, and the system,
// may say anything.
func (p *patient) hidden() *strings.Replacer {
	var all []string
	if p.config != nil {
		all = secretsIn(reflect.ValueOf(p.config))
		for _, s := range p.config.MCPServers {
			all = slices.Concat(all, veiled(s.Args...), veiled(addresses(s)...))
			for _, of := range []map[string]string{s.Env, s.Headers} {
				for name, value := range of {
					if suspect(name) || !ordinary(value) {
						all = append(all, value)
					}
				}
			}
		}
	}
	all = append(all, p.referred()...)
	all = append(all, within(all)...)
	var pairs []string
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) }) // what holds another comes first
	for _, secret := range slices.Compact(all) {
		for _, as := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if len(as) >= shortest {
				pairs = append(pairs, as, "***")
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// word is what people write for settings. Were it taken for a secret, findings that have the same word could not be read.
var word = regexp.MustCompile(`^[a-z]{1,11}$`)

// ordinary tells whether a value is plainly no secret: a word, a path, or an address without a login or query.
func ordinary(value string) bool {
	u, err := url.Parse(value)
	return word.MatchString(value) || strings.HasPrefix(value, "/") || err == nil && u.Host != "" && u.User == nil && u.RawQuery == ""
}

// secretsIn are the values of the type Secret.
func secretsIn(v reflect.Value) (all []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			all = secretsIn(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			all = append(all, secretsIn(field)...)
		}
	case reflect.Slice:
		for i := range v.Len() {
			all = append(all, secretsIn(v.Index(i))...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			all = append(all, secretsIn(v.MapIndex(key))...)
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[v1.Secret]() {
			all = append(all, v.String())
			all = append(all, loginOf(v.String())...)
		}
	default:
	}
	return all
}

// loginOf is the password in a URL.
func loginOf(text string) []string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return nil
	}
	password, _ := u.User.Password()
	return []string{password}
}

// reference is what a value may refer to of the environment.
var reference = regexp.MustCompile(`\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)`)

// referred are what the files and variables hold that the configuration refers to, but for what is plainly an address or a path.
func (p *patient) referred() (all []string) {
	for _, name := range p.refers {
		if text, err := os.ReadFile(name); err == nil {
			all = append(all, strings.TrimSpace(string(text)))
		}
	}
	text, err := os.ReadFile(p.o.File)
	if err != nil {
		return all
	}
	for _, m := range reference.FindAllStringSubmatch(string(text), -1) {
		if value := p.getenv(m[1]); suspect(m[1]) || !ordinary(value) {
			all = append(all, value)
		}
	}
	return all
}

// place is where a URL leads, without what could be a secret in it.
func place(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "the address"
	}
	return u.Scheme + "://" + u.Host
}
