package audit

import (
	"io"
	"slices"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// SetSink has sinks of a kind be f, as long as the test runs.
func SetSink(t testing.TB, kind string, f Follower) {
	t.Helper()
	was := makers[kind]
	makers[kind] = func(*v1.AuditSink, *Options, string) (Follower, error) { return f, nil }
	t.Cleanup(func() { makers[kind] = was })
}

// NewStream is the sink that writes to standard output, which is w.
func NewStream(w io.Writer) Follower { return &stream{w: w} }

// BeforeSwap has f run each time a file is about to be put aside for the next.
func BeforeSwap(l *Log, f func()) {
	l.j.lead(func() {
		was := l.j.ending
		l.j.ending = func() *entry {
			f()
			return was()
		}
	})
}

// NextFile is the file, by its first line, in which a sink that has everything before the second file of a log goes on: 0 for none of
// those that it is given, which are the log's files without the nth.
func NextFile(path string, without int) (first uint64, err error) {
	files, err := filesOf(path)
	if err != nil {
		return 0, err
	}
	r := reader{path: path, pos: position{Sequence: files[1].first - 1, First: files[0].first, Offset: 1 << 30}}
	ok, err := r.among(slices.Delete(files, without, without+1))
	defer r.close()
	if !ok {
		return 0, err
	}
	return r.pos.First, err
}

// Forged is a line that looks like one of a log, and is sound in itself.
func Forged(seq uint64) []byte {
	body := []byte(`,"x":1},"class_uid":6003,"unmapped":{`)
	return appendLine(nil, seq, body, hash{}, link(hash{}, seq, digestOf(body)))
}
