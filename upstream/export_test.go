package upstream

import "time"

// SetLinger changes how long a server is watched on for nobody.
func (s *Server) SetLinger(d time.Duration) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.linger = d
}

// SetAsideIdle changes how long asides that start from now on are kept for nobody.
func (s *Server) SetAsideIdle(d time.Duration) {
	r := s.link.(*stdioLink).roster
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lasting = d
}
