package v1

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Pool says how many instances of a server run, and what each may do at once.
type Pool struct {
	// Min is how many instances run even if nobody calls. With 0 the last one is
	// stopped when it was idle, and the next call starts one.
	Min int `json:"min,omitzero" default:"0" min:"0" max:"1000"`
	// Max is how many instances there may be at once, over all callers. Left out,
	// it is 1 for a shared server and 20 for any other. A shared server with more
	// than one must keep no state between calls: they are spread over the instances.
	Max int `json:"max,omitzero" min:"0" max:"10000"`
	// Spares is how many instances are kept started that belong to no caller yet,
	// so that a new one need not wait. It is for isolated servers.
	Spares int `json:"spares,omitzero" default:"0" min:"0" max:"1000"`
	// Idle is how long an instance without calls is kept; 0s keeps it.
	Idle Duration `json:"idle" default:"10m"`
	// Concurrency is how many requests one instance is sent at once: serial, which
	// is 1, or a number. Others wait in the queue.
	Concurrency Concurrency `json:"concurrency,omitzero" default:"64" min:"1" max:"100000"`
	// Queue is how many calls of this server may wait for an instance; further
	// ones are refused at once.
	Queue int `json:"queue,omitzero" default:"1000" min:"1" max:"1000000"`
	// Wait is how long a call waits in the queue before it is refused.
	Wait Duration `json:"wait,omitzero" default:"30s" min:"1ms"`
}

// Resources bound what one instance of a server may use, descendants included.
// They take Linux. Where the gateway has no control group that it may divide (of
// systemd it gets one with Delegate=yes), limits of processes and a watch over
// the instance stand in for it.
type Resources struct {
	// Memory is how much resident memory an instance may have; 0 sets no bound. An
	// instance that wants more is killed.
	Memory Size `json:"memory,omitzero" example:"512Mi" min:"0"`
	// Pids is how many processes and threads an instance may have; 0 sets no bound.
	// In a control group it cannot start more; else it is killed for it.
	Pids int `json:"pids,omitzero" example:"64" min:"0" max:"1000000"`
	// CPU is how many CPUs an instance may use: "0.5", "2" or "500m"; 0 sets no
	// bound. It takes a control group.
	CPU CPU `json:"cpu,omitzero" example:"0.5" min:"0"`
	// Files is how many file descriptors each process of an instance may have; 0
	// leaves it as it is.
	Files int `json:"files,omitzero" example:"1024" min:"0" max:"1000000"`
}

// Sandbox confines the processes of a server through the kernel (Landlock and
// seccomp, Linux). Without the key nothing is confined; with it, everything
// that is not allowed here is refused, and a kernel that cannot do it makes the
// server fail.
type Sandbox struct {
	// Read are the files and folders that may be read and executed, besides the
	// system's programs and libraries, the files of /etc that programs need and
	// that hold no secrets, and the command with its package. A leading ~/ is the
	// home directory.
	Read []string `json:"read,omitempty" example:"/data"`
	// Write are the files and folders that may be read and written, besides the
	// instance's own working and temporary directories.
	Write []string `json:"write,omitempty" example:"/data/out"`
	// Network is what may be reached: none, also no sockets of other programs;
	// loopback, which is one of the instance's own, for its processes to talk to
	// each other; or any.
	Network string `json:"network,omitempty" default:"none" enum:"none,loopback,any"`
}

// Restarts say when a server that keeps crashing is given up.
type Restarts struct {
	// Max is how many crashes within window are followed by a new start. One more
	// and the server counts as failed until the window is over.
	Max int `json:"max,omitzero" default:"10" min:"1" max:"1000"`
	// Window is the time that crashes are counted over.
	Window Duration `json:"window,omitzero" default:"10m" min:"1s"`
}

// Liveness says how an instance that seems to hang is found out.
type Liveness struct {
	// Every is how often an instance that has no call under way is asked whether it
	// lives; 0s never asks. It is a ping, to modern servers server/discover.
	Every Duration `json:"every" default:"1m"`
	// Timeout is how long it has to answer. After two misses in a row it is
	// restarted.
	Timeout Duration `json:"timeout,omitzero" default:"10s" min:"1ms"`
}

// Runner bounds the instances of all servers together.
type Runner struct {
	// MaxInstances is how many instances may run at this replica, of isolated
	// servers, with the one of each that gives its lists, and of shared ones. Where
	// one more is needed, that of an isolated server is stopped that was unused
	// longest.
	MaxInstances int `json:"maxInstances,omitzero" default:"500" min:"1" max:"100000" env:"TOOLCRIB_RUNNER_MAX_INSTANCES"`
	// MaxPerTenant is how many of them may belong to one tenant. Shared ones belong
	// to none.
	MaxPerTenant int `json:"maxPerTenant,omitzero" default:"200" min:"1" max:"100000"`
}

// Launch says which programs may be started as servers.
type Launch struct {
	// Templates are the commands that may be started. With at least one, every
	// server with a command or package must fit one; without, any may be. Variables
	// that change what a program runs (PATH, HOME, NODE_OPTIONS, LD_PRELOAD) may then not
	// be set by servers.
	Templates []LaunchTemplate `json:"templates,omitempty"`
	// Inline names the launchers and interpreters (npx, node, python, sh) that may
	// be given code on their command line, as with -c or -e, or on their standard
	// input. Every other is refused that.
	Inline []string `json:"inline,omitempty" example:"sh"`
	// Approval is required when each command must have been approved with
	// toolcrib approve, off when it need not. An approval holds for one command
	// with its arguments, names of environment variables, working directory, user,
	// sandbox and package. Packages must then be pulled too.
	Approval string `json:"approval,omitempty" default:"off" enum:"off,required"`
	// Lock is the file that holds pinned packages and approvals; a relative path
	// starts at the folder of the configuration file. Default: toolcrib.lock there.
	Lock string `json:"lock,omitempty"`
}

// LaunchTemplate is the shape of a command that may be started.
type LaunchTemplate struct {
	// Command is the program, as it stands in the server's command or, for a
	// package, the name before the colon: npx, uvx or go.
	Command string `json:"command" example:"npx"`
	// Args are patterns for the arguments, one each: * stands for any characters but
	// / and :, and ** for any at all; neither stands for a leading - nor for a way
	// out of a folder (..). A last pattern of ... stands for any number of further
	// arguments. For a package the first argument is NAME@VERSION (NAME==VERSION).
	Args []string `json:"args,omitempty" example:"@modelcontextprotocol/server-*"`
	// Cwd is a pattern for the working directory, as those for args: launchers and
	// interpreters look there for programs and settings. Left out, servers must
	// not set one.
	Cwd string `json:"cwd,omitempty" example:"/srv/*"`
}

// Concurrency is a number of requests at once, or serial, which is 1.
type Concurrency int

// String returns serial or the number.
func (c Concurrency) String() string {
	if c == 1 {
		return "serial"
	}
	return strconv.Itoa(int(c))
}

// MarshalText writes c as String does.
func (c Concurrency) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads serial or a whole number.
func (c *Concurrency) UnmarshalText(text []byte) error {
	if string(text) == "serial" {
		*c = 1
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return errors.New(`is neither "serial" nor a whole number`)
	}
	*c = Concurrency(n)
	return nil
}

// UnmarshalJSON reads a string or a plain number.
func (c *Concurrency) UnmarshalJSON(data []byte) error {
	return c.UnmarshalText([]byte(strings.Trim(string(data), `"`)))
}

// CPU is a share of CPU time in thousandths of a CPU.
type CPU int64

// String returns the number of CPUs: "0.5".
func (c CPU) String() string { return strconv.FormatFloat(float64(c)/1000, 'f', -1, 64) }

// MarshalText writes c as String does.
func (c CPU) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads "0.5", "2" or "500m".
func (c *CPU) UnmarshalText(text []byte) error {
	number, milli := strings.CutSuffix(string(text), "m")
	f, err := strconv.ParseFloat(number, 64)
	if !milli {
		f *= 1000
	}
	if err != nil || f < 0 || f > 1e9 || math.IsNaN(f) {
		return errors.New(`is not a number of CPUs; write "0.5", "2" or "500m"`)
	}
	*c = CPU(math.Round(f))
	return nil
}

// UnmarshalJSON reads a string or a plain number.
func (c *CPU) UnmarshalJSON(data []byte) error {
	return c.UnmarshalText([]byte(strings.Trim(string(data), `"`)))
}
