package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// configuration finds what validate finds.
func configuration(_ context.Context, p *patient, n *notes) {
	for _, problem := range p.problems() {
		n.told(Fail, at(p, problem.Line), v1.Problem{Path: problem.Path, Message: problem.Message}.String(), "correct it")
	}
	if p.err != nil && len(n.all) == 0 {
		n.fail(p.o.File, "name a file that this user can read", "%s", p.err)
	}
	if p.config == nil {
		return
	}
	for _, warning := range p.config.Warnings {
		if !strings.Contains(warning, " cluster: ") { // sealing says more of it
			n.told(Warn, p.o.File, warning, "change it, or leave it out")
		}
	}
	if _, err := launch.ReadLock(p.config.LockFile()); err != nil {
		n.told(Fail, "launch.lock", err.Error(), "restore the file, or remove it and run toolcrib pull and toolcrib approve again")
	}
	if _, err := policy.Compile(p.config, policy.Options{}); err == nil { // else policies tells it
		if _, err := plan.Compile(p.config); err != nil {
			n.told(Fail, p.o.File, err.Error(), "correct it")
		}
	}
	p.open(n, p.o.File)
	p.overt(n)
	p.exposed(n)
	for _, name := range p.refers {
		p.open(n, name)
	}
	if key := p.config.TLS.Key; key != "" {
		p.open(n, key)
	}
	if n.well() {
		n.pass("", "%s: %s, %s", p.o.File, count(len(p.config.ServerNames()), "server"), count(len(p.config.Toolsets), "toolset"))
	}
}

func at(p *patient, line int) string {
	if line == 0 {
		return p.o.File
	}
	return p.o.File + ":" + strconv.Itoa(line)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// dockerSecrets is where a container of Docker finds secrets, readable to all in it.
const dockerSecrets = "/run/secrets/"

// open tells whether others of this machine can write to what decides what the gateway does, or read what it keeps secret. In a pod
// there are no others, and its volumes are readable to all.
func (p *patient) open(n *notes, name string) {
	info, err := os.Stat(name)
	if err != nil {
		return // which the problems tell
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		n.fail(name, "chmod o-w "+name, "everybody on this machine can write to it (mode %04o)", mode)
	case name != p.o.File && mode&0o004 != 0 && p.getenv("KUBERNETES_SERVICE_HOST") == "" && !strings.HasPrefix(name, dockerSecrets):
		n.warn(name, "chmod 600 "+name, "the configuration takes a value from it, and everybody on this machine can read it (mode %04o)", mode)
	}
}

// access finds who may call that nobody meant to let, and what is sent in the clear.
func access(_ context.Context, p *patient, n *notes) {
	c := p.config
	host, _, _ := net.SplitHostPort(c.Listen)
	local := v1.LoopbackHost(host)
	if !local && c.Unguarded() {
		n.fail("listen", "set auth.anonymous: deny, auth.issuers or auth.apiKeys, or listen on 127.0.0.1",
			"others can reach %s and nobody says who they are; serve refuses this without --allow-unauthenticated", c.Listen)
	}
	secure := p.encrypted(n, local)
	if !local && !secure && c.Auth.Configured() && c.PublicURL == "" {
		n.warn("tls", "set tls.cert and tls.key, or publicURL where a proxy in front of the gateway does https",
			"credentials of callers come to %s in the clear", c.Listen)
	}
	p.proxied(n)
	if n.well() {
		n.pass("", "%s, at %s", guarded(c), c.Listen)
	}
}

func guarded(c *v1.Config) string {
	if c.Auth.Open() {
		return "callers need no credential"
	}
	return "callers need a credential"
}

// encrypted tells whether callers come over https, as far as that is known.
func (p *patient) encrypted(n *notes, local bool) bool {
	c := p.config
	u, err := url.Parse(c.PublicURL)
	switch {
	case c.PublicURL == "" || err != nil:
		return c.TLS.Cert != ""
	case u.Scheme == "https":
		return true
	case !v1.LoopbackHost(u.Hostname()) && (c.Auth.Configured() || !local):
		n.warn("publicURL", "serve https there: tls.cert and tls.key, or a proxy, and write https://"+u.Host,
			"is http, so that credentials and what tools answer can be read on the way")
	}
	return c.TLS.Cert != ""
}

// proxied looks at a proxy that everybody could be.
func (p *patient) proxied(n *notes) {
	t := p.config.Auth.TrustedProxy
	if t == nil {
		return
	}
	for _, text := range t.Addresses {
		if _, network, err := net.ParseCIDR(text); err == nil {
			if ones, _ := network.Mask.Size(); ones == 0 {
				n.fail("auth.trustedProxy", "name the addresses of the proxy", "%s is every address: whoever knows its secret is anybody", text)
			}
		}
	}
}

// policies finds what can never match.
func policies(_ context.Context, p *patient, n *notes) {
	c := p.config
	if !c.Policies.Any() {
		n.skip("", "there are none")
		return
	}
	set, err := policy.Compile(c, policy.Options{})
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			n.told(Fail, "", strings.TrimSpace(line), "correct the policy")
		}
		return
	}
	for _, text := range append(set.Warnings(), policy.Suspects(c)...) {
		n.told(Warn, "", text, "correct the name, or remove it")
	}
	p.unbound(n)
	if n.well() {
		n.pass("", "%s, %s, %s of Cedar policies", count(len(c.Policies.Roles), "role"), count(len(c.Policies.Bindings), "binding"),
			count(len(c.Policies.Files), "file"))
	}
}

// unbound looks for static keys in groups that nothing permits anything. Cedar policies may speak of any group.
func (p *patient) unbound(n *notes) {
	c := p.config
	if len(c.Policies.Files) > 0 || len(c.Tenants) > 0 {
		return
	}
	for i := range c.Auth.APIKeys {
		for _, group := range c.Auth.APIKeys[i].Groups {
			if !slices.ContainsFunc(c.Policies.Bindings, func(b v1.Binding) bool { return b.Group == group }) {
				n.warn("auth.apiKeys "+c.Auth.APIKeys[i].Name, "bind it in policies.bindings, or leave it out", "is in the group %q, which no binding names", group)
			}
		}
	}
}

// missing tells whether there is no such file.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
