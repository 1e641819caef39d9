package v1

// Kind is the sort of sink: the name of the one key that says where records go; empty when none does.
func (s *AuditSink) Kind() string {
	kinds := s.kinds()
	if len(kinds) == 0 {
		return ""
	}
	return kinds[0]
}

// Address is where records go, which may hold a secret.
func (s *AuditSink) Address() string {
	for _, a := range []string{s.File, s.OTLP, s.Syslog, s.Webhook, s.SQLite, string(s.Postgres)} {
		if a != "" {
			return a
		}
	}
	return ""
}

// kinds are the keys that say where records go.
func (s *AuditSink) kinds() []string {
	var all []string
	for _, k := range []struct {
		name string
		is   bool
	}{
		{"file", s.File != ""}, {"stdout", s.Stdout}, {"otlp", s.OTLP != ""}, {"syslog", s.Syslog != ""}, {"webhook", s.Webhook != ""},
		{"sqlite", s.SQLite != ""}, {"postgres", s.Postgres != ""},
	} {
		if k.is {
			all = append(all, k.name)
		}
	}
	return all
}
