package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// confinement is what the launcher does to itself before it becomes the command. It reads it from
// descriptor 3: the command's environment, too, which so has no say in what the launcher does with the
// rights of the program. What may hold any bytes stands in it as bytes.
type confinement struct {
	Path    []byte     `json:"path"`
	Argv    [][]byte   `json:"argv"`
	Env     [][]byte   `json:"env"`
	Needs   []string   `json:"needs"`   // files that the user has to be able to read
	Parent  int        `json:"parent"`  // the program, with which the command dies
	Files   int        `json:"files"`   // RLIMIT_NOFILE
	Data    uint64     `json:"data"`    // RLIMIT_DATA
	Procs   uint64     `json:"procs"`   // RLIMIT_NPROC
	User    *account   `json:"user"`    // to become
	Sandbox *sandboxed `json:"sandbox"` // to enter
}

const (
	confineSpec   = 3 // descriptor of the launcher from which it reads the confinement
	confineStatus = 4 // and to which it writes what became of it
	confineWait   = 20 * time.Second
	executing     = "exec"
)

// confined is what the launcher tells: a step that failed, or that the command comes next.
type confined struct {
	Step  string        `json:"step"`  // "exec", or what failed
	Errno syscall.Errno `json:"errno"` // of the step exec
	Text  string        `json:"text"`
}

// Confine is the body of the launcher process: it reads from descriptor 3 what to confine itself to,
// does so, and becomes the command. It returns only when it cannot; the program was told why.
func Confine() error {
	runtime.LockOSThread() // much of it belongs to the thread that executes the command
	syscall.CloseOnExec(confineSpec)
	syscall.CloseOnExec(confineStatus)
	status := os.NewFile(confineStatus, "status")
	tell := func(c confined) { _ = json.NewEncoder(status).Encode(c) } //nolint:errchkjson // there is nobody else to tell
	spec := os.NewFile(confineSpec, "confinement")
	var c confinement
	data, err := io.ReadAll(spec)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return errors.Join(errors.New("this is started by serve and run only"), err)
	}
	_ = spec.Close()
	if err := c.apply(); err != nil {
		tell(confined{Step: "confine", Text: err.Error()})
		return err
	}
	tell(confined{Step: executing})
	err = syscall.Exec(string(c.Path), texts(c.Argv), texts(c.Env))
	errno, _ := errors.AsType[syscall.Errno](err)
	tell(confined{Step: "exec failed", Errno: errno, Text: err.Error()})
	return err
}

func exact(all []string) [][]byte {
	out := make([][]byte, len(all))
	for i, s := range all {
		out[i] = []byte(s)
	}
	return out
}

func texts(all [][]byte) []string {
	out := make([]string, len(all))
	for i, b := range all {
		out[i] = string(b)
	}
	return out
}

// launcher is our side of a launcher process.
type launcher struct {
	spec, status           *os.File // our ends
	childSpec, childStatus *os.File
}

func newLauncher() (l *launcher, err error) {
	l = &launcher{}
	if l.childSpec, l.spec, err = os.Pipe(); err != nil {
		return nil, err
	}
	if l.status, l.childStatus, err = os.Pipe(); err != nil {
		closeAll(l.spec, l.childSpec)
		return nil, err
	}
	return l, nil
}

func (l *launcher) close() { closeAll(l.spec, l.status, l.childSpec, l.childStatus) }

// errLauncher is an error of the launcher, not of the command.
var errLauncher = errors.New("launcher")

// run sends the confinement to the launcher, which was started, and waits until it has become the
// command. The error is a syscall.Errno of executing that, or says what could not be done before.
func (l *launcher) run(c confinement) error {
	closeAll(l.childSpec, l.childStatus)
	defer l.close()
	deadline := time.Now().Add(confineWait)
	_ = l.spec.SetDeadline(deadline)
	_ = l.status.SetDeadline(deadline)
	spec, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = l.spec.Write(spec)
	_ = l.spec.Close()
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: it does not take what it is to do: %w", errLauncher, err)
	}
	return l.outcome()
}

func (l *launcher) outcome() error {
	text, err := io.ReadAll(io.LimitReader(l.status, 64<<10))
	if err != nil {
		return fmt.Errorf("%w: it was not ready within %v: %w", errLauncher, confineWait, err)
	}
	var last confined
	for decode := json.NewDecoder(strings.NewReader(string(text))); decode.More(); {
		if err := decode.Decode(&last); err != nil {
			return fmt.Errorf("%w: %w", errLauncher, err)
		}
	}
	switch {
	case last.Step == executing:
		return nil
	case last.Step == "":
		return fmt.Errorf("%w: it ended before it could start the command", errLauncher)
	case last.Errno != 0:
		return last.Errno
	}
	return errors.New(last.Text)
}
