package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/store"
)

func TestToken(t *testing.T) {
	id := store.NewID()
	token := store.NewToken(id)
	if got, ok := store.IDOf(token); !ok || got != id {
		t.Errorf("id of %d letters: got %q, %v, want %q", len(token), got, ok, id)
	}
	if token == store.NewToken(id) || id == store.NewID() {
		t.Error("made twice")
	}
	for _, bad := range []string{
		"", "tck_", "tck__", token[1:], token[:len(token)-1], token + "a", strings.ToUpper(token), " " + token,
		strings.Replace(token, id, id+"a", 1), strings.Replace(token, id, "", 1), token[:len(token)-1] + "1", token[:len(token)-1] + "\x00",
	} {
		if id, ok := store.IDOf(bad); ok {
			t.Errorf("%q has the id %q", bad, id)
		}
	}
}

func TestGood(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	present, previous, other := store.DigestOf("present"), store.DigestOf("previous"), store.DigestOf("other")
	later, past := now.Add(time.Second), now.Add(-time.Second)
	tests := []struct {
		name string
		key  store.Key
		d    store.Digest
		want bool
		ends time.Time
	}{
		{"present", store.Key{Digest: present}, present, true, time.Time{}},
		{"other", store.Key{Digest: present}, other, false, time.Time{}},
		{"none before", store.Key{Digest: present, PreviousUntil: later}, store.Digest{}, false, later},
		{"previous", store.Key{Digest: present, Previous: previous, PreviousUntil: later}, previous, true, later},
		{"previous that ended", store.Key{Digest: present, Previous: previous, PreviousUntil: now}, previous, false, now},
		{"present beside previous", store.Key{Digest: present, Previous: previous, PreviousUntil: past}, present, true, time.Time{}},
		{"expires later", store.Key{Digest: present, Expires: later}, present, true, later},
		{"expires now", store.Key{Digest: present, Expires: now}, present, false, now},
		{"expires before the previous ends", store.Key{Digest: present, Previous: previous, PreviousUntil: later.Add(time.Hour), Expires: later}, previous, true, later},
		{"revoked", store.Key{Digest: present, Revoked: past}, present, false, time.Time{}},
		{"revoked, previous", store.Key{Digest: present, Previous: previous, PreviousUntil: later, Revoked: past}, previous, false, later},
	}
	for _, tt := range tests {
		if got := tt.key.Good(tt.d, now); got != tt.want {
			t.Errorf("%s: good %v, want %v", tt.name, got, tt.want)
		}
		if got := tt.key.Ends(tt.d); !got.Equal(tt.ends) {
			t.Errorf("%s: ends %v, want %v", tt.name, got, tt.ends)
		}
	}
}
