package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/store/sqlite"
	"github.com/toolcrib/toolcrib/store/storetest"
)

func TestLazyStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database {
		path := filepath.Join(t.TempDir(), "toolcrib.db")
		return storetest.Database{Open: func(context.Context) (store.Store, error) {
			return store.NewLazy(func(ctx context.Context) (store.Store, error) { return sqlite.Open(ctx, path) }), nil
		}}
	})
}

// fake is a store that is closed and has nothing.
type fake struct {
	store.Store
	closed int
}

func (*fake) KeysRevision(context.Context) (int64, error) { return 7, nil }

func (f *fake) Close() error {
	f.closed++
	return nil
}

// TestLazy: it is opened once, when it is needed; a failure is told at once for a while, and then tried again.
func TestLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, opened, failure := &fake{}, 0, errors.New("away")
		l := store.NewLazy(func(context.Context) (store.Store, error) {
			opened++
			time.Sleep(time.Minute)
			if opened == 1 {
				return nil, failure
			}
			return f, nil
		})
		if is, err := l.Opened(); is || err != nil || opened != 0 {
			t.Error("opened before it was used", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := l.KeysRevision(t.Context()); !errors.Is(err, failure) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if _, err := l.KeysRevision(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits for another to open it: %v", err)
		}
		wg.Wait()
		if _, err := l.Opened(); opened != 1 || !errors.Is(err, failure) {
			t.Errorf("opened %d times, %v", opened, err)
		}
		time.Sleep(2 * time.Second)
		if n, err := l.KeysRevision(t.Context()); n != 7 || err != nil || opened != 2 {
			t.Errorf("later: %d, %v, opened %d times", n, err, opened)
		}
		if is, err := l.Opened(); !is || err != nil {
			t.Error(is, err)
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil || f.closed != 1 {
			t.Errorf("closed %d times: %v", f.closed, err)
		}
		if _, err := l.KeysRevision(t.Context()); err == nil || opened != 2 {
			t.Error("used after it was closed")
		}
	})
}
