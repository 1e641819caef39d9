package h1

import "sync"

// Waker ends the waiting of a Response from another goroutine. The zero value is ready.
type Waker struct {
	mu    sync.Mutex
	cn    *conn
	woken bool
}

// Wake has the Read that waits, or else the next one that would wait, return os.ErrDeadlineExceeded, until Rest.
func (w *Waker) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = true
	if w.cn != nil {
		w.cn.interrupt()
	}
}

// Rest takes back Wake, and tells whether there was something to take back.
func (w *Waker) Rest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.woken
	w.woken = false
	return was
}

func (w *Waker) isWoken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.woken
}

func (w *Waker) bind(cn *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cn = cn
}

// SetWaker lets w wake the Reads of the response until it is closed. There must be a bound on them (SetTimeout).
func (p *Response) SetWaker(w *Waker) {
	p.waker = w
	if p.cn != nil {
		w.bind(p.cn)
	}
}
