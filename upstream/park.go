package upstream

// parkedCalls are the calls that wait at the server for a client's answers.
type parkedCalls struct{}

func (p *parkedCalls) abandon(uint64) {}
