package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/files"
	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/store/postgres"
	"github.com/toolcrib/toolcrib/store/sqlite"
	"github.com/toolcrib/toolcrib/telemetry"
)

const (
	storeFileName    = "toolcrib.db"
	firstKeyFileName = "first.key"
	firstKeyRetry    = 5 * time.Second // while the store is away
)

// openStore is the store that c names. It is not opened yet: the gateway serves also while its database is away.
func openStore(c *v1.Config) *store.Lazy {
	return store.NewLazy(func(ctx context.Context) (store.Store, error) {
		if c.Store != "" {
			return postgres.Open(ctx, string(c.Store))
		}
		s, err := sqlite.Open(ctx, filepath.Join(c.StateDir, storeFileName))
		if err != nil {
			return nil, fmt.Errorf("%w; set stateDir (TOOLCRIB_STATE_DIR) to a folder that can be written to, or store", err)
		}
		return s, nil
	})
}

// firstKey makes the key with which all others are made, when the store has never had any. It waits for a store that is away. A
// key that is being made is told of, also when the gateway stops meanwhile.
func (s *server) firstKey(ctx context.Context) {
	k, secret := control.FirstKey(time.Now().UTC())
	for told := false; ; told = true {
		made, err := s.addFirstKey(context.WithoutCancel(ctx), k, told)
		switch {
		case made:
			s.tellFirstKey(k.ID, secret)
			return
		case err == nil || ctx.Err() != nil:
			return
		case !told:
			s.log.Warn("managed keys and the management interface cannot be used now", "error", err)
		}
		select {
		case <-time.After(firstKeyRetry):
		case <-ctx.Done():
			return
		}
	}
}

// addFirstKey reports whether the store has the key for its first. Where it was tried before, it may have it since then: it is not
// only what fails that comes without an answer.
func (s *server) addFirstKey(ctx context.Context, k *store.Key, again bool) (bool, error) {
	made, err := s.store.AddFirstKey(ctx, k)
	if made || err != nil || !again {
		return made, err
	}
	switch _, err := s.store.Key(ctx, k.ID); {
	case err == nil:
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	default:
		return false, err
	}
}

// tellFirstKey shows a key, which nothing else does without being asked for it, or puts it where only its owner looks when a program
// reads the log. It is never in the log, which others may collect.
func (s *server) tellFirstKey(id, secret string) {
	if !telemetry.ForPeople(s.o.Stderr, s.first.Log.Format) {
		s.putFirstKey(id, secret)
		return
	}
	_, _ = fmt.Fprintf(s.o.Stderr, `
This is the first start with this store. The key below may do everything. It is
shown this once; keep it safe, and make others with "toolcrib keys create":

    %s

To use it with the commands of toolcrib:  toolcrib login --key %s

`, secret, s.base)
}

// putFirstKey puts the key into a file.
func (s *server) putFirstKey(id, secret string) {
	path := filepath.Join(s.first.StateDir, firstKeyFileName)
	err := os.MkdirAll(s.first.StateDir, 0o700)
	if err == nil {
		err = files.Replace(path, []byte(secret+"\n"), 0o600)
	}
	if err != nil {
		s.log.Error("the first key, which may do everything, was made but cannot be kept, and is lost; "+
			"give a key of auth.apiKeys the role admin, and revoke this one", "key", id, "error", err)
		return
	}
	s.log.Warn("this is the first start with this store: a key that may do everything was made; keep it safe, and remove the file",
		"key", id, "file", path)
}
