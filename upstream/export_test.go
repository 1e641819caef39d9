package upstream

import "time"

// SetLinger changes how long a server is watched on for nobody.
func (s *Server) SetLinger(d time.Duration) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.linger = d
}
