package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/toolcrib/toolcrib/telemetry"
)

// facts are what the metrics tell of what an operator has to look after.
func (s *server) facts() telemetry.Facts {
	now := telemetry.Facts{SealKey: *s.sealKey.Load(), Sessions: s.front.Sessions(), Sources: map[string]bool{}}
	if applied := s.applied.Load(); applied != nil {
		now.Applied, now.AppliedAt = applied.Error == "", applied.good
	}
	if s.tls != nil {
		now.Certificates = *s.tls.ends.Load()
	}
	if end := s.identity.FirstEnd(); !end.IsZero() {
		now.Credentials = map[string]time.Time{"api_key": end}
	}
	store, issuers := s.identity.Sources()
	now.Sources["store"] = store.Error == ""
	for issuer, is := range issuers {
		now.Sources[issuer] = is.Error == ""
	}
	return now
}

// keySeenName is the file that tells since when a key seals.
const keySeenName = "seal.seen"

// keySeen is what is in it: which key was the newest of the ring, and since when.
type keySeen struct {
	Key  string    `json:"key"`
	From time.Time `json:"from"`
}

// sealsSince is when the newest key of the ring came into use here. Keys bear no date, so it is remembered; where that
// cannot be written, it is the start of this process.
func (s *server) sealsSince(key string) time.Time {
	file := filepath.Join(s.first.StateDir, keySeenName)
	var seen keySeen
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &seen) == nil && seen.Key == key && !seen.From.After(time.Now()) {
		return seen.From
	}
	seen = keySeen{Key: key, From: time.Now().UTC()}
	b, err := json.Marshal(seen)
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		s.log.Debug("since when the present seal key is in use cannot be remembered", "error", err)
	}
	return seen.From
}
