CREATE TABLE toolcrib_keys (
	id             TEXT PRIMARY KEY,
	name           TEXT NOT NULL,
	tenant         TEXT NOT NULL,
	facts          TEXT NOT NULL,
	digest         BLOB NOT NULL,
	previous       BLOB NOT NULL,
	previous_until INTEGER NOT NULL,
	created        INTEGER NOT NULL,
	creator        TEXT NOT NULL,
	rotated        INTEGER NOT NULL,
	expires        INTEGER NOT NULL,
	revoked        INTEGER NOT NULL,
	used           INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX toolcrib_keys_name ON toolcrib_keys (tenant, name) WHERE revoked = 0;

CREATE TABLE toolcrib_revisions (
	what TEXT PRIMARY KEY,
	n    INTEGER NOT NULL
) STRICT;

INSERT INTO toolcrib_revisions (what, n) VALUES ('keys', 0);
