CREATE TABLE toolcrib_keys (
	id             TEXT PRIMARY KEY,
	name           TEXT NOT NULL,
	tenant         TEXT NOT NULL,
	facts          TEXT NOT NULL,
	digest         BYTEA NOT NULL,
	previous       BYTEA NOT NULL,
	previous_until BIGINT NOT NULL,
	created        BIGINT NOT NULL,
	creator        TEXT NOT NULL,
	rotated        BIGINT NOT NULL,
	expires        BIGINT NOT NULL,
	revoked        BIGINT NOT NULL,
	used           BIGINT NOT NULL
);

CREATE UNIQUE INDEX toolcrib_keys_name ON toolcrib_keys (tenant, name) WHERE revoked = 0;

CREATE TABLE toolcrib_revisions (
	what TEXT PRIMARY KEY,
	n    BIGINT NOT NULL
);

INSERT INTO toolcrib_revisions (what, n) VALUES ('keys', 0);
