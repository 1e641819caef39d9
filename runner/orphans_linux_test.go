package runner_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// first is a program that is the first process of its container: orphans fall to it.
func first(string) {
	defer runner.ReapOrphans()()
	c := command("env")
	c.Path, c.Args = "sh", []string{"-c", `for i in 1 2 3 4 5; do (sh -c 'sleep 0 & exit' &); done; echo forked; read x; exit 5`}
	p, err := runner.Start(c, runner.Options{})
	if err != nil {
		panic(err)
	}
	var m mcp.Buffer
	if err := p.Read(&m); err != nil {
		panic(err)
	}
	end := time.Now().Add(20 * time.Second)
	for zombies() > 0 && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
	_ = p.Write([][]byte{[]byte("x")}, time.Second)
	<-p.Done()
	fmt.Println(os.Getpid(), zombies(), p.Err())
}

func zombies() (n int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		data, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		if _, after, _ := strings.Cut(string(data), ") "); strings.HasPrefix(after, "Z") {
			n++
		}
	}
	return n
}

// The first process of a container reaps what falls to it, and still learns how its own children ended.
func TestReapOrphans(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making a process namespace takes root")
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=first")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if want := "1 0 server \"test\": process ended: exit status 5\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

// Other programs are not the ones that orphans fall to, and children that they wait for are theirs.
func TestReapNothing(*testing.T) {
	stop := runner.ReapOrphans()
	stop()
	stop()
}

var systemRoles = map[string]func(string){"first": first}
