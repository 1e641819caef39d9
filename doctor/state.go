package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/limit"
	"github.com/toolcrib/toolcrib/seal"
)

const (
	roomLeast = 64 << 20  // bytes, with less than which something fails soon
	roomSmall = 512 << 20 // with less than which it is time to look
	filesMost = 10_000    // of a state directory that are looked at
)

// state looks at the state directory.
func state(_ context.Context, p *patient, n *notes) {
	dir := p.stateDir
	if dir == "" {
		n.skip("", "the configuration cannot be read")
		return
	}
	info, err := os.Stat(dir)
	switch {
	case missing(err):
		p.creatable(n, dir)
		return
	case displaced(err):
		n.fail(dir, "set stateDir (TOOLCRIB_STATE_DIR) to another folder", "cannot be made: what it should lie in is a file")
		return
	case err != nil:
		n.fail(dir, "give this user the right to it, or set stateDir (TOOLCRIB_STATE_DIR)", "cannot be looked into: %v", err)
		return
	case !info.IsDir():
		n.fail(dir, "set stateDir (TOOLCRIB_STATE_DIR) to a folder", "is not a folder")
		return
	}
	if n.kernels(dir, dir) {
		return
	}
	p.owned(n, dir, info)
	if unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		n.fail(dir, "give this user the right to it, or set stateDir (TOOLCRIB_STATE_DIR)", "this user cannot write to it")
	}
	if info.Mode().Perm()&0o022 != 0 {
		n.fail(dir, "chmod go-w "+dir, "others can put files there, such as keys of their own (mode %04o)", info.Mode().Perm())
	}
	p.private(n, dir)
	p.damaged(n, dir)
	p.room(n, dir)
	if n.well() {
		free, _, _ := p.space(dir)
		n.pass("", "%s, %s free", dir, v1.Size(free>>20<<20))
	}
}

// displaced tells whether a file stands where a folder should.
func displaced(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// stateless notes that a check has nothing to look at, since there is a file where the state directory should be.
func (n *notes) stateless() {
	n.skip("", "the state directory is not a folder, which the check state tells")
}

// creatable looks at a state directory that is not there yet.
func (p *patient) creatable(n *notes, dir string) {
	parent := filepath.Dir(dir)
	for {
		if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
			break
		}
		parent = filepath.Dir(parent)
	}
	if n.kernels(dir, parent) {
		return
	}
	if unix.Access(parent, unix.W_OK|unix.X_OK) != nil {
		n.fail(dir, "make it for this user, or set stateDir (TOOLCRIB_STATE_DIR) to another", "is not there, and this user cannot make it in %s", parent)
		return
	}
	p.room(n, parent)
	if n.well() {
		n.pass("", "%s is not there yet; the first start makes it", dir)
	}
}

// kernels notes that a state directory cannot be where path lies.
func (n *notes) kernels(dir, path string) bool {
	if !virtual(path) {
		return false
	}
	n.fail(dir, "set stateDir (TOOLCRIB_STATE_DIR) to a folder on a disk", "nothing can be kept there: it is of the kernel's own files")
	return true
}

// owned looks at whose the folder is.
func (p *patient) owned(n *notes, dir string, info fs.FileInfo) {
	if owner, known := ownerOf(info); known && owner != os.Geteuid() && os.Geteuid() != 0 {
		n.warn(dir, "run this as the user that runs the gateway, or give each user a state directory of its own",
			"belongs to the user %d, and this is %d", owner, os.Geteuid())
	}
}

// ownerOf is the user that a file belongs to.
func ownerOf(info fs.FileInfo) (uid int, known bool) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(sys.Uid), true
}

// keeps tells whether a file of the state directory is nobody's business but the gateway's.
func keeps(name string) bool {
	for _, end := range []string{".keys", ".key", ".db", ".db-wal", ".db-shm", ".pem", ".jsonl"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// private looks for keys and records that others can read.
func (p *patient) private(n *notes, dir string) {
	seen := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if seen++; seen > filesMost {
			return fs.SkipAll
		}
		switch {
		case err != nil:
			n.fail(path, "run this as the user that runs the gateway", "cannot be looked into: %v", err)
			return fs.SkipDir
		case d.IsDir() && path != dir && !ours(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !keeps(d.Name()):
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			n.fail(path, "chmod 600 "+path+", and make what it holds anew if others may have read it", "others can read it (mode %04o)", info.Mode().Perm())
		}
		return nil
	})
}

// damaged looks whether files that the gateway keeps can be read by it. The key file and the database have checks of their own.
func (p *patient) damaged(n *notes, dir string) {
	quotas := filepath.Join(dir, "limits.json")
	if err := limit.CheckFile(quotas); err != nil {
		n.warn(quotas, "restore it from a copy, or remove it: quotas begin anew at the next start", "is damaged: %v", err)
	}
	seen := filepath.Join(dir, "seal.seen")
	if !sound(seen) {
		n.warn(seen, "remove it: the age of the present key then counts from the next start", "is damaged: it is not JSON")
	}
	logs := filepath.Join(dir, "audit")
	if _, err := audit.PublicKey(&v1.Config{StateDir: dir}); err != nil && !missing(err) && !displaced(err) {
		n.fail(filepath.Join(logs, "audit.key"), "restore it from a copy; or move it away, and the next start makes another", "is damaged: %v", err)
	}
	heads, _ := filepath.Glob(filepath.Join(logs, "*.head")) // the pattern is right
	for _, head := range heads {
		if !sound(head) {
			n.fail(head, "restore it from a copy; or move it away: the log goes on, and says that it was missing",
				"is damaged: it is not JSON, and the gateway does not start")
		}
	}
	places, _ := filepath.Glob(filepath.Join(logs, "*.sink-*"))
	for _, place := range places {
		if !sound(place) {
			n.warn(place, "leave it, or remove it: the sink is sent all that is kept, or what comes from then on", "is damaged: it is not JSON")
		}
	}
}

// sound tells whether a file holds JSON, if it is there and can be read: that it cannot is told elsewhere.
func sound(name string) bool {
	text, err := os.ReadFile(name)
	return err != nil || json.Valid(text)
}

// ours tells whether a folder of the state directory holds keys or records; others hold packages.
func ours(name string) bool { return name == "audit" || name == "run" || name == "evidence" }

// room looks at how much can be written still.
func (p *patient) room(n *notes, path string) {
	free, all, err := p.space(path)
	switch {
	case err != nil:
		n.skip(path, "how much room is left is not known: %v", err)
	case free < roomLeast:
		n.fail(path, "make room there: audit.sinks[].keep bounds the audit log", "only %s of %s are free", rounded(free), rounded(all))
	case free < roomSmall:
		n.warn(path, "make room there: audit.sinks[].keep bounds the audit log", "only %s of %s are free", rounded(free), rounded(all))
	}
}

// rounded is a size in whole MiB, or KiB where it is less than one.
func rounded(bytes uint64) v1.Size {
	if bytes < 1<<20 {
		return v1.Size(bytes >> 10 << 10)
	}
	return v1.Size(bytes >> 20 << 20)
}

// sealing looks at the keys of sealed tokens, which the first start makes where there are none.
func sealing(_ context.Context, p *patient, n *notes) {
	if configured := len(p.config.Seal.Keys); configured > 0 {
		n.pass("", "%s of seal.keys, of which the first seals", count(configured, "value"))
		return
	}
	p.ownKeys(n)
}

const sealFile = "seal.keys" // in stateDir

func (p *patient) ownKeys(n *notes) {
	path := filepath.Join(p.stateDir, sealFile)
	if p.config.Cluster != "" {
		n.fail("seal.keys", "set seal.keys to the same for all, such as [\"${file:/etc/toolcrib/seal.keys}\"]",
			"cluster is set, but each replica makes keys of its own, so that they refuse each other's sessions and cursors")
	}
	text, err := os.ReadFile(path)
	switch {
	case missing(err):
		if n.well() {
			n.pass("", "the first start makes %s", path)
		}
		return
	case displaced(err):
		n.stateless()
		return
	case err != nil:
		n.fail(path, "run this as the user that runs the gateway", "cannot be read: %v", err)
		return
	}
	keys, err := seal.ParseKeys(text)
	if err == nil {
		_, err = seal.NewRing(keys...)
	}
	if err != nil {
		n.fail(path, "restore it, or remove it: sessions and cursors from before end then", "%v", err)
	}
	if n.well() {
		n.pass("", "%s in %s", count(len(keys), "key"), path)
	}
}
