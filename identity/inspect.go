package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Inspection is what was found of an issuer.
type Inspection struct {
	// Keys is how many keys it has, Usable how many of them may sign what is accepted.
	Keys, Usable int
	// Latency is how long it took to give its keys.
	Latency time.Duration
	// Ahead is how far its clock is before this one, to a second; Dated tells that it says so.
	Ahead time.Duration
	Dated bool
}

// Inspect asks an issuer for what it is asked for to verify tokens.
func Inspect(ctx context.Context, c *v1.Issuer) (*Inspection, error) {
	fetch, err := newFetcher(c.CA)
	if err != nil {
		return nil, err
	}
	defer fetch.http.CloseIdleConnections()
	at := c.JWKS
	if at == "" {
		p, err := fetch.discover(ctx, c.Issuer)
		if err != nil {
			return nil, err
		}
		if at = p.JWKS; at == "" && c.Introspection != nil {
			return &Inspection{}, nil // whose tokens it is asked about
		}
	}
	if at == "" {
		return nil, fmt.Errorf("its metadata name no jwks_uri; set jwks")
	}
	return fetch.inspect(ctx, at, c.Algorithms)
}

func (f *fetcher) inspect(ctx context.Context, at string, algorithms []string) (*Inspection, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	began := time.Now()
	header, err := f.get(ctx, at, &doc)
	if err != nil {
		return nil, err
	}
	in := &Inspection{Keys: len(doc.Keys), Latency: time.Since(began)}
	for _, k := range readKeys(doc.Keys, slog.New(slog.DiscardHandler)) {
		if slices.ContainsFunc(algorithms, k.fits) {
			in.Usable++
		}
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		// The header tells no fraction: half a second is the middle.
		in.Dated, in.Ahead = true, date.Add(time.Second/2).Sub(began.Add(in.Latency/2)).Round(time.Second)
	}
	return in, nil
}
