package postgres_test

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/store/postgres"
	"github.com/toolcrib/toolcrib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	p := testenv.StartPostgres(t)
	storetest.Run(t, func(*testing.T) storetest.Database {
		address := p.Database()
		return storetest.Database{Open: func(ctx context.Context) (store.Store, error) { return postgres.Open(ctx, address) }}
	})
}

// TestRestart: a database that went away and came back is used again, and what it kept is there.
func TestRestart(t *testing.T) {
	p := testenv.StartPostgres(t)
	s, err := postgres.Open(t.Context(), p.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.AddFirstKey(t.Context(), &store.Key{ID: "a", Name: "admin"}); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if _, err := s.Key(t.Context(), "a"); err == nil {
		t.Error("read from a database that is gone")
	}
	p.Start()
	testenv.Eventually(t, "the store works again", func() bool {
		k, err := s.Key(t.Context(), "a")
		return err == nil && k.Name == "admin"
	})
}

// TestRefuses: errors name host and database, and never the password.
func TestRefuses(t *testing.T) {
	p := testenv.StartPostgres(t)
	newer := p.Database()
	if err := p.Exec("test1", "CREATE TABLE toolcrib_schema (version INTEGER PRIMARY KEY, applied BIGINT NOT NULL); INSERT INTO toolcrib_schema VALUES (999, 0)"); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(p.URL("postgres"), "toolcrib:", "toolcrib:s3cr3t", 1)
	for address, want := range map[string]string{
		p.URL("nothere"):                    `database "nothere"`,
		newer:                               "a newer toolcrib made them",
		wrong:                               "password authentication failed",
		"postgres://u:s3cr3t@127.0.0.1:1/x": "127.0.0.1",
		"postgres://u:s3cr3t@[::1/x":        "write postgres://",
		"postgres://u:s3cr3t@h/x?sslmode=perhaps": "write postgres://",
	} {
		s, err := postgres.Open(t.Context(), address)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "p@ss") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}
