package v1

import (
	"path/filepath"
	"strconv"
	"strings"
)

// The values of Sandbox.Network.
const (
	NetworkNone     = "none"
	NetworkLoopback = "loopback"
	NetworkAny      = "any"
)

const (
	minMemory = 1 << 20 // no program starts with less
	minFiles  = 8
)

// confined checks what bounds and confines the processes of a server.
func (k *checker) confined(path string, s *Server) {
	if r := s.Resources; r.Memory > 0 && r.Memory < minMemory {
		k.fail(path+".resources.memory", "%v is less than any program needs; write 64Mi, for example", r.Memory)
	}
	if n := s.Resources.Files; n > 0 && n < minFiles {
		k.fail(path+".resources.files", "%d is less than any program needs; write %d or more", n, minFiles)
	}
	if who, group, ok := strings.Cut(s.User, ":"); s.User != "" && (!accountName(who) || ok && !accountName(group)) {
		k.fail(path+".user", "%q is no user; write a name or number, perhaps with a group: nobody, 1000 or 1000:1000", clip(s.User))
	}
	if s.Sandbox != nil {
		k.sandboxPaths(path+".sandbox.read", s.Sandbox.Read)
		k.sandboxPaths(path+".sandbox.write", s.Sandbox.Write)
	}
}

func accountName(s string) bool {
	return s != "" && printable(s) && !strings.ContainsAny(s, ": /\\,") && !strings.HasPrefix(s, "-")
}

func (k *checker) sandboxPaths(path string, paths []string) {
	for i, p := range paths {
		at := path + "[" + strconv.Itoa(i) + "]"
		k.noNUL(at, p)
		if rest, ok := strings.CutPrefix(p, "~"); ok && (rest == "" || rest[0] == '/') {
			continue
		}
		if !filepath.IsAbs(p) {
			k.fail(at, "%q is not an absolute path; begin it with / or ~/", clip(p))
		}
	}
}
