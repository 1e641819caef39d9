package runner

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// account is the user a command runs as.
type account struct {
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Name string `json:"name"`
	Home string `json:"home"`
}

// findAccount reads "name", "uid", "name:group" or "uid:gid". A uid that no account has needs a gid.
func findAccount(text string) (*account, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no other user is no error
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("user %q: only root may start servers as another user: run as root or remove user", text)
	}
	who, group, hasGroup := strings.Cut(text, ":")
	u, err := user.Lookup(who)
	if err != nil {
		u, err = user.LookupId(who)
	}
	uid, isNumber := id(who)
	if err != nil && (!isNumber || !hasGroup) {
		return nil, fmt.Errorf("user %q: there is no such user here: create it, or write UID:GID in numbers", text)
	}
	a := &account{UID: uid, Name: who, Home: "/"}
	if err == nil {
		a.Name, a.Home = u.Username, u.HomeDir
		if err := a.ids(u.Uid, u.Gid); err != nil {
			return nil, fmt.Errorf("user %q: %w", text, err)
		}
	}
	if hasGroup {
		if a.GID, err = groupID(group); err != nil {
			return nil, fmt.Errorf("user %q: %w", text, err)
		}
	}
	return a, nil
}

func (a *account) ids(uid, gid string) error {
	var ok1, ok2 bool
	if a.UID, ok1 = id(uid); !ok1 {
		return errors.New("its user id is no number")
	}
	if a.GID, ok2 = id(gid); !ok2 {
		return errors.New("its group id is no number")
	}
	return nil
}

func groupID(group string) (int, error) {
	if gid, ok := id(group); ok {
		return gid, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q here: create it, or write its number", group)
	}
	gid, ok := id(g.Gid)
	if !ok {
		return 0, errors.New("its group id is no number")
	}
	return gid, nil
}

// id reads a user or group id; the last one stands for none in system calls.
func id(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n < 1<<32-1
}

// environment has the variables that name the program's own user name this one.
func (a *account) environment(env []string) []string {
	if a == nil {
		return env
	}
	own := map[string]string{"HOME": a.Home, "USER": a.Name, "LOGNAME": a.Name}
	changed := make([]string, 0, len(env)+1)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if v, ok := own[name]; ok && value == os.Getenv(name) {
			e = name + "=" + v
		}
		changed = append(changed, e)
	}
	return changed
}
