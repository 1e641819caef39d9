package identity

import (
	"context"
	"time"
)

// findAgain is how long anybody waits for metadata where those before are known, or could not be had: they are sought on behind.
const findAgain = time.Second

// metadata are the issuer's, from not long ago where they can be had. Those who need them at once share one search, and a failure
// stands for a while.
func (s *source) metadata(ctx context.Context) (*provider, error) {
	done, first := s.find()
	if !first {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, findAgain)
		defer cancel()
	}
	await(ctx, done)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.provider != nil: // what was known may still be right
		return s.provider, nil
	case s.lacking != nil:
		return nil, s.lacking
	}
	return nil, errSearching
}

// anyMetadata are what is known of them, for whom they are of use but who can do without; nil for none. Only the first search is
// waited for.
func (s *source) anyMetadata(ctx context.Context) *provider {
	if done, first := s.find(); first {
		ctx, cancel := context.WithTimeout(ctx, fetchTime)
		defer cancel()
		await(ctx, done)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.provider
}

// find seeks metadata that are not fresh. It returns what is closed when the search under way ends, nil when there is none, and
// whether it is the first.
func (s *source) find() (done <-chan struct{}, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, first := s.a.now(), s.provider == nil && s.lacking == nil
	switch {
	case s.finding != nil:
		return s.finding, first
	case s.lacking != nil && now.Sub(s.sought) < failedEvery, s.lacking == nil && s.provider != nil && now.Sub(s.read) < metadataKept:
		return nil, first
	}
	search := make(chan struct{})
	if !s.a.background(func() { s.search(search) }) {
		return nil, first
	}
	s.finding = search
	return search, first
}

func (s *source) search(done chan<- struct{}) {
	ctx, cancel := context.WithTimeout(s.a.ctx, 2*fetchTime)
	defer cancel()
	found, err := s.fetch.discover(ctx, s.issuer)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finding, s.lacking = nil, err
	if err == nil {
		s.provider, s.read = found, s.a.now()
	} else {
		s.sought = s.a.now()
	}
	close(done)
}
