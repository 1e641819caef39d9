package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is one PostgreSQL, started by the test on a free port.
type Postgres struct {
	// Port is where it listens, at 127.0.0.1.
	Port int

	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
	n    int // databases
}

const (
	postgresUser     = "toolcrib"
	postgresPassword = "p@ss:w/rd"
)

var postgresFound = sync.OnceValues(findPostgres)

// findPostgres finds the folder of PostgreSQL's programs, which Debian's package installs when they are missing.
func findPostgres() (string, error) {
	if dir := postgresDir(); dir != "" {
		return dir, nil
	}
	// The package would start a server of its own: it is told not to.
	install := exec.CommandContext(context.Background(), "apt-get", "install", "-y", "--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120", "postgresql")
	install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("no initdb in PATH, and apt-get install postgresql: %w\n%s", err, out)
	}
	if dir := postgresDir(); dir != "" {
		return dir, nil
	}
	return "", errors.New("no initdb after apt-get install postgresql")
}

// postgresDir is empty when there is none. Debian keeps the programs out of PATH.
func postgresDir() string {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(all) == 0 {
		return ""
	}
	return filepath.Dir(slices.Max(all))
}

// StartPostgres starts a PostgreSQL, which ends with the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := &Postgres{Port: FreePort(t), t: t}
	// t.TempDir is in folders that nobody else may enter.
	dir, err := os.MkdirTemp("", "toolcrib-postgres") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	p.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p.give(dir)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(postgresPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	p.give(secret)
	initdb := p.command("initdb", "-D", p.data(), "-U", postgresUser, "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(p.Kill)
	p.Start()
	return p
}

// give has a file belong to the user that PostgreSQL runs as.
func (p *Postgres) give(path string) {
	p.t.Helper()
	if c := p.attr().Credential; c != nil {
		if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// attr has a program end with the tests, and not run as root, which PostgreSQL refuses to.
func (p *Postgres) attr() *syscall.SysProcAttr {
	attr := dying()
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	if os.Getuid() != 0 {
		return attr
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			return attr
		}
	}
	p.t.Fatal("no user to run PostgreSQL as")
	return nil
}

func (p *Postgres) command(program string, args ...string) *exec.Cmd {
	dir, err := postgresFound()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(dir, program), args...) // Kill ends it
	cmd.Dir, cmd.SysProcAttr = p.dir, p.attr()
	return cmd
}

// Start starts it, again with the data and the port it had.
func (p *Postgres) Start() {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = p.command("postgres", "-D", p.data(), "-p", strconv.Itoa(p.Port), "-h", "127.0.0.1", "-k", "", "-F",
		"-c", "shared_buffers=16MB", "-c", "log_statement=all")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done, cmd := make(chan struct{}), p.cmd
	p.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait() // killed
	}()
	end := time.Now().Add(2 * startTime)
	for p.Exec("postgres", "SELECT 1") != nil {
		select {
		case <-done:
			p.t.Fatalf("postgres ended: %s", p.Log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			p.t.Fatalf("postgres does not answer\n%s", p.Log())
		}
	}
}

// URL is the address of one of its databases for the configuration.
func (p *Postgres) URL(database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, postgresPassword), Path: database,
		Host: "127.0.0.1:" + strconv.Itoa(p.Port),
	}).String()
}

// Database makes an empty database and returns its URL.
func (p *Postgres) Database() string {
	p.t.Helper()
	p.n++
	name := fmt.Sprintf("test%d", p.n)
	if err := p.Exec("postgres", "CREATE DATABASE "+name); err != nil {
		p.t.Fatal(err)
	}
	return p.URL(name)
}

// Exec runs statements in a database.
func (p *Postgres) Exec(database, statements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	c, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, statements)
	return err
}

// Log is all that it printed, with every statement.
func (p *Postgres) Log() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(b)
}

// Kill ends it at once, with its connections.
func (p *Postgres) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its children end too; it may have ended
	select {
	case <-p.done:
	case <-time.After(startTime):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.cmd = nil
}

// Stop is Kill, by the name that goes with Start.
func (p *Postgres) Stop() { p.Kill() }
