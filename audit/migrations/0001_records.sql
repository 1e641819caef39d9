CREATE TABLE toolcrib_audit (
	log       TEXT NOT NULL,
	seq       BIGINT NOT NULL,
	time      BIGINT NOT NULL,
	tenant    TEXT NOT NULL,
	subject   TEXT NOT NULL,
	operation TEXT NOT NULL,
	server    TEXT NOT NULL,
	target    TEXT NOT NULL,
	outcome   TEXT NOT NULL,
	decision  TEXT NOT NULL,
	rule      TEXT NOT NULL,
	record    TEXT NOT NULL,
	PRIMARY KEY (log, seq)
);

CREATE INDEX toolcrib_audit_time ON toolcrib_audit (time);
