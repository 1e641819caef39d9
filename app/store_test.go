package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/store"
)

// forgetful is a store that keeps the first key, and whose answers get lost.
type forgetful struct {
	store.Store
	lost int // answers to come
	has  *store.Key
}

var errLost = errors.New("the connection broke")

func (f *forgetful) answer() error {
	if f.lost--; f.lost >= 0 {
		return errLost
	}
	return nil
}

func (f *forgetful) AddFirstKey(_ context.Context, k *store.Key) (bool, error) {
	made := f.has == nil
	if made {
		f.has = k
	}
	if err := f.answer(); err != nil {
		return false, err
	}
	return made, nil
}

func (f *forgetful) Key(_ context.Context, id string) (*store.Key, error) {
	if err := f.answer(); err != nil {
		return nil, err
	}
	if f.has == nil || f.has.ID != id {
		return nil, store.ErrNotFound
	}
	return f.has, nil
}

// TestFirstKeyWithoutAnswer: a first key that the store kept is shown, also when its answer got lost; another's is not.
func TestFirstKeyWithoutAnswer(t *testing.T) {
	for lost := range 4 {
		for _, others := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := &forgetful{lost: lost}
				if others {
					f.has = &store.Key{ID: "another"}
				}
				var said bytes.Buffer
				s := &server{
					o: Options{Stderr: &said}, first: &v1.Config{}, log: slog.New(slog.DiscardHandler),
					store: store.NewLazy(func(context.Context) (store.Store, error) { return f, nil }),
				}
				began := time.Now()
				s.firstKey(t.Context())
				if took := time.Since(began); took > time.Duration(lost)*firstKeyRetry {
					t.Errorf("took %s", took)
				}
				shown := strings.Count(said.String(), store.KeyPrefix)
				if others && shown != 0 || !others && shown != 1 {
					t.Errorf("%d answers lost, kept by another %v: shown %d times", lost, others, shown)
				}
				if shown == 1 && !strings.Contains(said.String(), f.has.ID) {
					t.Error("not the key that the store has")
				}
			})
		}
	}
}

// TestFirstKeyNowhere: a first key that nothing can be done with is not in the log either, which says what to do.
func TestFirstKeyNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s := &server{
		o: Options{Stderr: &said}, log: slog.New(slog.NewJSONHandler(&said, nil)),
		first: &v1.Config{StateDir: filepath.Join(file, "below"), Log: v1.Log{Format: "json"}},
	}
	s.tellFirstKey("the-id", "tck_the-key")
	var line struct{ Level, Msg, Key string }
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || line.Level != "ERROR" || line.Key != "the-id" || !strings.Contains(line.Msg, "auth.apiKeys") ||
		strings.Contains(said.String(), "tck_") {
		t.Errorf("%v: %s", err, said.String())
	}
}
