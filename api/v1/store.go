package v1

import (
	"net/url"
	"slices"
	"strings"
)

// store checks the address of the database. No problem shows it, for it may hold a password.
func (k *checker) store(address Secret) {
	if address == "" {
		return
	}
	const remedy = "write postgres://user:password@host/database, with @ : / and % in the password as %40 %3A %2F %25, or leave it out for " +
		"an SQLite file in stateDir"
	u, err := url.Parse(string(address))
	switch {
	case err != nil || !slices.Contains([]string{"postgres", "postgresql"}, u.Scheme):
		k.fail("store", "is not the address of a PostgreSQL database; %s (TOOLCRIB_STORE or DATABASE_URL set it too)", remedy)
	case strings.Trim(u.Path, "/") == "" && !u.Query().Has("dbname"):
		k.fail("store", "names no database; %s", remedy)
	}
}
