package mcp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/mcp"
)

// events reads all events of r; they outlive the reader.
func events(r *mcp.EventReader) (all []mcp.Event, err error) {
	for {
		e, err := r.Next()
		if err != nil {
			return all, err
		}
		e.Data = bytes.Clone(e.Data)
		all = append(all, e)
	}
}

var streams = []struct {
	name, stream string
	want         []mcp.Event
	err          error
}{
	{"empty", "", nil, io.EOF},
	{"one", "data: x\n\n", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.EOF},
	{"message", "event: message\ndata: {}\n\n", []mcp.Event{{Name: "message", Data: []byte("{}"), Retry: -1}}, io.EOF},
	{"endpoint", "event: endpoint\ndata: /m?s=1\n\n", []mcp.Event{{Name: "endpoint", Data: []byte("/m?s=1"), Retry: -1}}, io.EOF},
	{"all fields", "id: 7\nretry: 1500\nevent:e\ndata:d\n\n", []mcp.Event{{ID: "7", Name: "e", Data: []byte("d"), Retry: 1500}}, io.EOF},
	{"priming", "id: 7\ndata:\n\n", []mcp.Event{{ID: "7", Data: []byte{}, Retry: -1}}, io.EOF},
	{"id only", "id: 7\n\n", []mcp.Event{{ID: "7", Retry: -1}}, io.EOF},
	{"retry only", "retry: 0\n\n", []mcp.Event{{Retry: 0}}, io.EOF},
	{"bad retry", "retry: 1s\nretry: -1\nretry:\n\ndata: x\n\n", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.EOF},
	{"huge retry", "retry: 99999999999999999999\n\n", []mcp.Event{{Retry: 1 << 30}}, io.EOF},
	{"id with NUL", "id: a\x00b\ndata: x\n\n", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.EOF},
	{"lines", "data: a\ndata:b\ndata:\ndata\ndata:  c\n\n", []mcp.Event{{Data: []byte("a\nb\n\n\n c"), Retry: -1}}, io.EOF},
	{"fields between", "data: a\nid: 1\n: comment\nother: x\ndata: b\n\n", []mcp.Event{{ID: "1", Data: []byte("a\nb"), Retry: -1}}, io.EOF},
	{"CR", "data: a\rdata: b\r\rdata: c\r\r", []mcp.Event{{Data: []byte("a\nb"), Retry: -1}, {Data: []byte("c"), Retry: -1}}, io.EOF},
	{"CRLF", "data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", []mcp.Event{{Data: []byte("a\nb"), Retry: -1}, {Data: []byte("c"), Retry: -1}}, io.EOF},
	{"mixed ends", "data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", []mcp.Event{{Data: []byte("a"), Retry: -1}, {Data: []byte("b"), Retry: -1}, {Data: []byte("c"), Retry: -1}}, io.EOF},
	{"comments", ": ping\n\n:\n\n\n\ndata: x\n\n: bye\n", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.EOF},
	{"comment at the end", "data: x\n\n: bye", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.EOF},
	{"BOM", "\ufeffdata: x\n\n", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.EOF},
	{"BOM and comment", "\ufeff: x\n\n", nil, io.EOF},
	{"two BOMs", "\ufeff\ufeffdata: x\n\n", nil, io.EOF},
	{"BOM later", "data: \ufeffx\n\n\ufeffdata: y\n\n", []mcp.Event{{Data: []byte("\ufeffx"), Retry: -1}}, io.EOF},
	{"unknown fields", "foo: x\nData: y\n data: z\n\n", nil, io.EOF},
	{"raw text", "data: \u00a0\u2028\u0085\x00\n\n", []mcp.Event{{Data: []byte("\u00a0\u2028\u0085\x00"), Retry: -1}}, io.EOF},
	{"cut in a line", "data: x\n\ndata: y", []mcp.Event{{Data: []byte("x"), Retry: -1}}, io.ErrUnexpectedEOF},
	{"cut in an event", "data: y\n", nil, io.ErrUnexpectedEOF},
	{"cut in an id", "id", nil, io.ErrUnexpectedEOF},
	{"cut in CRLF", "data: y\r\n\r", []mcp.Event{{Data: []byte("y"), Retry: -1}}, io.EOF},
}

func TestEventReader(t *testing.T) {
	for _, s := range streams {
		t.Run(s.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(s.stream),
				"bytes": iotest.OneByteReader(strings.NewReader(s.stream)),
				"halfs": iotest.HalfReader(strings.NewReader(s.stream)),
				"eof":   iotest.DataErrReader(strings.NewReader(s.stream)),
			} {
				got, err := events(mcp.NewEventReader(r, 100))
				if !errors.Is(err, s.err) {
					t.Errorf("%s: error %v, want %v", name, err, s.err)
				}
				if d := cmp.Diff(s.want, got); d != "" {
					t.Errorf("%s: %s", name, d)
				}
			}
		})
	}
}

func TestEventReaderBound(t *testing.T) {
	fits := "data: " + strings.Repeat("x", 100) + "\n\n"
	inLines := strings.Repeat("data: xxxxxxxxx\n", 10) + "\n" // 99 bytes
	for name, big := range map[string]string{
		"line":           "data: " + strings.Repeat("x", 101) + "\n\n",
		"long line":      "data: " + strings.Repeat("x", 100_000) + "\nid: 5\n\n",
		"lines":          strings.Repeat("data: xxxxxxxxx\n", 11) + "\n",
		"empty lines":    strings.Repeat("data\n", 102) + "\n",
		"unknown field":  strings.Repeat("y", 100_000) + "\n\n",
		"line and lines": "data: " + strings.Repeat("x", 99) + "\ndata: " + strings.Repeat("y", 10_000) + "\rdata: z\n\n",
	} {
		stream := fits + big + ":" + strings.Repeat("comment", 10_000) + "\n\n" + inLines
		for _, r := range []io.Reader{strings.NewReader(stream), iotest.OneByteReader(strings.NewReader(stream))} {
			er := mcp.NewEventReader(r, 100)
			if e, err := er.Next(); err != nil || len(e.Data) != 100 {
				t.Fatalf("%s: %v, %v", name, e, err)
			}
			// A whole unknown line may be seen as one and passed over.
			e, err := er.Next()
			if name != "unknown field" || err != nil {
				if !errors.Is(err, mcp.ErrEventTooLarge) || !strings.Contains(err.Error(), "100 bytes") {
					t.Fatalf("%s: %v, %v", name, e, err)
				}
				e, err = er.Next()
			}
			if err != nil || len(e.Data) != 99 {
				t.Fatalf("%s: after it %v, %v", name, e, err)
			}
			if _, err = er.Next(); !errors.Is(err, io.EOF) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestEventReaderErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		r    io.Reader
		want error
	}{
		{io.MultiReader(strings.NewReader("data: x\n"), iotest.ErrReader(broken)), broken},
		{stuck{}, io.ErrNoProgress},
		{io.MultiReader(strings.NewReader("data: "+strings.Repeat("x", 1000)), iotest.ErrReader(io.EOF)), mcp.ErrEventTooLarge},
	} {
		if _, err := events(mcp.NewEventReader(c.r, 100)); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
	er := mcp.NewEventReader(strings.NewReader("data: "+strings.Repeat("x", 1000)), 100)
	_, _ = er.Next()
	if _, err := er.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestEventReaderReset(t *testing.T) {
	er := mcp.NewEventReader(strings.NewReader("id: 1\ndata: x\r"), 100)
	for _, stream := range []string{"\ufeffdata: a\n\n", "\ndata: b\n\n", "data: " + strings.Repeat("x", 1000)} {
		_, _ = er.Next()
		er.Reset(strings.NewReader(stream))
	}
	_, _ = er.Next()
	er.Reset(strings.NewReader("\n\ufeff\n\ndata: c\n\n"))
	got, err := events(er)
	if d := cmp.Diff([]mcp.Event{{Data: []byte("c"), Retry: -1}}, got); d != "" || !errors.Is(err, io.EOF) {
		t.Error(d, err)
	}
}

// endless is a stream that repeats itself.
type endless struct {
	what string
	at   int
	left int
}

func (r *endless) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(b) && r.left > 0 {
		c := copy(b[n:min(len(b), n+r.left)], r.what[r.at:])
		n, r.at, r.left = n+c, (r.at+c)%len(r.what), r.left-c
	}
	return n, nil
}

// Hostile framing costs time in proportion to its length, and no memory.
func TestEventReaderIsLinear(t *testing.T) {
	const size = 512 << 10
	for _, what := range []string{"data: x\r", "data\n", ":", ": x\n", "x\r", "\n", "\r", "data: x\n\n", "data: " + strings.Repeat("x", 4<<20)} {
		er := mcp.NewEventReader(&endless{what: what, left: size}, 16<<20)
		start := time.Now()
		for err := error(nil); err == nil || errors.Is(err, mcp.ErrEventTooLarge); _, err = er.Next() {
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%.10q: %v for %d bytes", what, d, size)
		}
	}
}

func TestEventReaderDoesNotAllocate(t *testing.T) {
	stream := bytes.Repeat(mcp.AppendEvent(nil, []byte(smallCall)), 100)
	src := bytes.NewReader(stream)
	er := mcp.NewEventReader(src, 1<<20)
	if n := testing.AllocsPerRun(10, func() {
		src.Reset(stream)
		er.Reset(src)
		for i := range 100 {
			if e, err := er.Next(); err != nil || string(e.Data) != smallCall {
				t.Fatal(i, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendEvent(t *testing.T) {
	for _, c := range []struct {
		segments []string
		want     string
	}{
		{nil, ""},
		{[]string{smallCall}, smallCall},
		{[]string{`{"a"`, "", `:1}`}, `{"a":1}`},
		{[]string{"{\n}"}, "{\n}"},
		{[]string{"{\r\n\r\n}\n"}, "{\n\n}\n"},
		{[]string{"{\r", "\n}"}, "{\n}"},
		{[]string{"{\r", "", "\n", "\n}"}, "{\n\n}"},
		{[]string{"\r\r\n\n"}, "\n\n\n"},
		{[]string{"\ufeff \u2028"}, "\ufeff \u2028"},
	} {
		var segments [][]byte
		for _, s := range c.segments {
			segments = append(segments, []byte(s))
		}
		stream := mcp.AppendEvent([]byte(": before\n\n"), segments...)
		got, err := events(mcp.NewEventReader(bytes.NewReader(stream), 1000))
		want := []mcp.Event{{Name: "message", Data: []byte(c.want), Retry: -1}}
		if d := cmp.Diff(want, got); d != "" || !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v %s", c.segments, err, d)
		}
	}
}

// naiveEvents reads a whole stream the simple way.
func naiveEvents(stream string) (all []mcp.Event, err error) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(stream, "\r\n", "\n")
	stream = strings.ReplaceAll(stream, "\r", "\n")
	lines := strings.Split(stream, "\n")
	last := lines[len(lines)-1]
	ev, fields := mcp.Event{Retry: -1}, false
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if fields {
				all = append(all, ev)
			}
			ev, fields = mcp.Event{Retry: -1}, false
			continue
		}
		fields = naiveField(line, &ev) || fields
	}
	if fields || last != "" && last[0] != ':' {
		return all, io.ErrUnexpectedEOF
	}
	return all, io.EOF
}

func naiveField(line string, ev *mcp.Event) bool {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "data":
		if ev.Data != nil {
			value = string(ev.Data) + "\n" + value
		}
		ev.Data = append([]byte{}, value...)
	case "event":
		ev.Name = value
	case "id":
		if strings.Contains(value, "\x00") {
			return false
		}
		ev.ID = value
	case "retry":
		ms, err := strconv.ParseUint(value, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return false
		}
		ev.Retry = int(min(ms, 1<<30))
	default:
		return false
	}
	return true
}

func FuzzEventReader(f *testing.F) {
	for _, s := range streams {
		f.Add(s.stream, uint8(len(s.stream)%7))
	}
	f.Add(string(mcp.AppendEvent(nil, []byte(smallCall))), uint8(100))
	f.Fuzz(func(t *testing.T, stream string, step uint8) {
		want, wantErr := naiveEvents(stream)
		src := io.Reader(strings.NewReader(stream))
		if step > 0 {
			src = &stepReader{src, int(step)}
		}
		got, err := events(mcp.NewEventReader(src, 1<<20))
		if d := cmp.Diff(want, got); d != "" || !errors.Is(err, wantErr) {
			t.Fatalf("%q by %d: error %v, want %v\n%s", stream, step, err, wantErr, d)
		}
		// A tight bound loses large events only.
		got, _ = boundedEvents(mcp.NewEventReader(strings.NewReader(stream), 16))
		var small []mcp.Event
		for _, e := range want {
			if len(e.Data) <= 16 {
				small = append(small, e)
			}
		}
		if len(got) > len(small) {
			t.Fatalf("%q: %d events under the bound, at most %d expected", stream, len(got), len(small))
		}
		if d := cmp.Diff(small, got); d != "" && longestLine(stream) <= 16 {
			t.Fatalf("%q: %s", stream, d)
		}
	})
}

func boundedEvents(r *mcp.EventReader) (all []mcp.Event, err error) {
	for {
		some, err := events(r)
		all = append(all, some...)
		if !errors.Is(err, mcp.ErrEventTooLarge) {
			return all, err
		}
	}
}

func longestLine(stream string) int {
	longest := 0
	for _, line := range strings.FieldsFunc(stream, func(r rune) bool { return r == '\r' || r == '\n' }) {
		longest = max(longest, len(line))
	}
	return longest
}

type stepReader struct {
	r    io.Reader
	step int
}

func (s *stepReader) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), s.step)]) }

func ExampleEventReader() {
	r := mcp.NewEventReader(strings.NewReader("event: message\ndata: {\"jsonrpc\":\"2.0\"}\n\n"), 1<<20)
	e, err := r.Next()
	fmt.Printf("%s %s %v\n", e.Name, e.Data, err)
	_, err = r.Next()
	fmt.Println(err)
	// Output:
	// message {"jsonrpc":"2.0"} <nil>
	// EOF
}

// stutter gives one byte a time, and a time-out before each.
type stutter struct {
	rest string
	late bool
}

func (s *stutter) Read(b []byte) (int, error) {
	if s.late = !s.late; s.late {
		return 0, os.ErrDeadlineExceeded
	}
	if s.rest == "" {
		return 0, io.EOF
	}
	n := copy(b[:1], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// TestEventReaderTimeouts: whatever time-outs come between the bytes, the events are the same.
func TestEventReaderTimeouts(t *testing.T) {
	for _, tc := range streams {
		er := mcp.NewEventReader(&stutter{rest: tc.stream}, 1000)
		var got []mcp.Event
		var err error
		for {
			var more []mcp.Event
			more, err = events(er)
			got = append(got, more...)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
		}
		if !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}
