package runner_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// roles are the servers the tests run.
var roles = map[string]func(arg string){
	"echo":     func(string) { _, _ = io.Copy(os.Stdout, os.Stdin) },
	"say":      say,
	"lines":    func(arg string) { sayLines(arg) },
	"flood":    flood,
	"complain": complain,
	"exit":     func(arg string) { os.Exit(number(arg)) },
	"suicide":  func(arg string) { _ = syscall.Kill(os.Getpid(), syscall.Signal(number(arg))); select {} },
	"stubborn": stubborn,
	"polite":   polite,
	"deaf":     func(string) { fmt.Println("here"); time.Sleep(time.Hour) },
	"closeout": func(string) { _ = os.Stdout.Close(); _, _ = io.Copy(io.Discard, os.Stdin) },
	"family":   family,
	"fds":      listDescriptors,
	"env":      func(string) { fmt.Println(strings.Join(os.Environ(), "\x1f")); _, _ = io.Copy(io.Discard, os.Stdin) },
	"pwd":      func(string) { dir, _ := os.Getwd(); fmt.Println(dir); _, _ = io.Copy(io.Discard, os.Stdin) },
	"stray":    stray,
	"parent":   parent,
	"pour":     pour,
	"dirs":     dirs,
	"bomb":     bomb,
	"status":   func(string) { status() },
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func unescape(s string) string {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		panic(err)
	}
	return text
}

// say prints the argument, with Go escapes, and waits for the end of stdin.
func say(arg string) {
	text := unescape(arg)
	_, _ = io.WriteString(os.Stdout, text)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// sayLines prints lines of the given sizes and ends.
func sayLines(arg string) {
	w := bufio.NewWriterSize(os.Stdout, 1<<20)
	for i, size := range strings.Fields(arg) {
		_, _ = w.Write(bytes.Repeat([]byte{byte('a' + i%26)}, number(size)))
		_ = w.WriteByte('\n')
	}
	_ = w.Flush()
}

// flood writes n lines to stderr, longer by as many dots as a second number says, then echoes.
func flood(arg string) {
	n, dots, longer := strings.Cut(arg, " ")
	more := ""
	if longer {
		more = strings.Repeat(".", number(dots))
	}
	w := bufio.NewWriter(os.Stderr)
	for i := range number(n) {
		_, _ = fmt.Fprintf(w, "flood %d%s\n", i, more)
	}
	_ = w.Flush()
	_, _ = io.Copy(os.Stdout, os.Stdin)
}

// complain prints the argument, with Go escapes, to stderr and exits with status 7.
func complain(arg string) {
	text := unescape(arg)
	_, _ = io.WriteString(os.Stderr, text)
	os.Exit(7)
}

// stubborn ignores the end of stdin and SIGTERM.
func stubborn(string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("here")
	time.Sleep(time.Hour)
}

// polite ignores the end of stdin and exits with status 3 on SIGTERM.
func polite(string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("here")
	<-c
	os.Exit(3)
}

// family starts two descendants through shells, prints their ids and its own, and waits, or with the
// argument "leave" exits while they live on.
func family(arg string) {
	fmt.Println(os.Getpid())
	for range 2 {
		cmd := exec.Command("sh", "-c", "sleep 3600 & echo $!; wait")
		cmd.Stdout, cmd.Stdin = os.Stdout, os.Stdin
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Println(cmd.Process.Pid)
	}
	if arg == "leave" {
		time.Sleep(300 * time.Millisecond) // for the shells to print
		return
	}
	time.Sleep(time.Hour)
}

// stray leaves a descendant in a session of its own that holds stdout and stderr open, prints its id
// and exits, or with the argument "stay" lives on. With "bare" the descendant has no environment.
func stray(arg string) {
	cmd := exec.Command("sleep", "3600")
	if arg == "bare" {
		cmd.Env = []string{}
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	fmt.Println(cmd.Process.Pid)
	if arg == "stay" {
		time.Sleep(time.Hour)
	}
}

// listDescriptors prints what it inherited: the descriptors that survived its exec.
func listDescriptors(string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	var out []string
	for _, e := range entries {
		flags, err := unix.FcntlInt(uintptr(number(e.Name())), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name())
			out = append(out, e.Name()+"="+target)
		}
	}
	fmt.Println(strings.Join(out, " "))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// parent is a program in the middle: it runs the role "family" under a guard, or without one, passes
// on the ids that role prints, and waits to be killed. Each server has a directory of its own. With
// "nogroups" there are no control groups, with "strays" the servers also leave strays, whose ids come last.
func parent(arg string) {
	o := runner.Options{Dirs: runner.Dirs{Temp: true, Work: true}}
	if strings.Contains(arg, "guard") {
		o.Guard = guardArgv()
	}
	if strings.Contains(arg, "nogroups") {
		runner.WithoutControlGroups()
	}
	if strings.Contains(arg, "strays") {
		defer strays(o)
	}
	for range 3 {
		p, err := runner.Start(command("family"), o)
		if err != nil {
			panic(err)
		}
		var line mcp.Buffer
		for range 5 {
			if err := p.Read(&line); err != nil {
				panic(err)
			}
			fmt.Printf("%s\n", line.B)
		}
	}
	if !strings.Contains(arg, "strays") {
		fmt.Println("ready")
		<-context.Background().Done()
	}
}

func strays(o runner.Options) {
	for range 3 {
		p, err := runner.Start(command("stray stay"), o)
		if err != nil {
			panic(err)
		}
		var line mcp.Buffer
		if err := p.Read(&line); err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", line.B)
	}
	fmt.Println("ready")
	<-context.Background().Done()
}

// bomb starts a thousand processes as fast as it can, with the argument "sessions" each in a session of
// its own. It is finite, in case nothing stops it.
func bomb(arg string) {
	fmt.Println("here")
	for range 1000 {
		cmd := exec.Command("sleep", "20")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: arg == "sessions"}
		_ = cmd.Start()
	}
	_, _ = io.Copy(os.Stdout, os.Stdin)
}

// status prints who it is: user, group, other groups, no_new_privs, capabilities, and the limit on files.
func status() {
	text, _ := os.ReadFile("/proc/thread-self/status")
	var out []string
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Uid", "Gid", "Groups", "NoNewPrivs", "CapEff", "CapBnd", "Seccomp":
			out = append(out, name+"="+strings.Join(strings.Fields(value), ","))
		}
	}
	var files syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	out = append(out, fmt.Sprintf("files=%d home=%s user=%s", files.Max, os.Getenv("HOME"), os.Getenv("USER")))
	fmt.Println(strings.Join(out, " "))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// dirs prints its temporary and its working directory, and leaves files in both, also where it cannot
// remove them itself.
func dirs(string) {
	work, _ := os.Getwd()
	temp := os.TempDir()
	for _, dir := range []string{work, temp} {
		_ = os.WriteFile(dir+"/file", []byte("x"), 0o600)
		_ = os.MkdirAll(dir+"/closed/deep", 0o700)
		_ = os.Chmod(dir+"/closed", 0)
	}
	fmt.Println(temp, work)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
