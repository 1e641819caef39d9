package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/errs"
)

func TestFrame(t *testing.T) {
	for _, want := range []frame{
		{typ: frameRequest, at: time.UnixMilli(1), call: 1 << 63, seq: 7, sender: "a", kind: "exchange", body: []byte("{}")},
		{typ: framePong, at: time.UnixMilli(-5), body: []byte{}},
	} {
		got, err := decode(want.encode())
		if err != nil || got.typ != want.typ || !got.at.Equal(want.at) || got.call != want.call || got.seq != want.seq ||
			got.sender != want.sender || got.kind != want.kind || !bytes.Equal(got.body, want.body) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add((&frame{typ: frameNote, sender: "ab", kind: "cd", body: []byte("e")}).encode())
	f.Add(encodeIDs([]uint64{1, 2}, []uint64{3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := decode(b); err == nil && !bytes.Equal(got.encode(), b) {
			t.Errorf("%x became %x", b, got.encode())
		}
		if first, second, err := decodeIDs(b); err == nil && !bytes.Equal(encodeIDs(first, second), b) {
			t.Errorf("%x became %v, %v", b, first, second)
		}
	})
}

func TestIDs(t *testing.T) {
	first, second, err := decodeIDs(encodeIDs([]uint64{1, 1 << 63}, nil))
	if err != nil || !slices.Equal(first, []uint64{1, 1 << 63}) || len(second) > 0 {
		t.Errorf("got %v, %v, %v", first, second, err)
	}
}

func TestErrorOnTheWire(t *testing.T) {
	want := &errs.Error{Op: "a", Kind: errs.Lost, Msg: "b", Data: []byte(`{}`), RetryAfter: time.Second}
	got := errs.Of(decodeError(encodeError(fmt.Errorf("c: %w", want))))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	huge := &errs.Error{Kind: errs.Invalid, Msg: "m", Data: make([]byte, MaxMessage)}
	if got := errs.Of(decodeError(encodeError(huge))); got.Kind != errs.Invalid || got.Data != nil {
		t.Errorf("a huge one: %v", got)
	}
	if err := decodeError([]byte("{")); errs.Of(err).Kind != errs.Internal {
		t.Errorf("a broken one: %v", err)
	}
	if got := errs.Of(decodeError(encodeError(errors.New("plain")))); got.Kind != errs.Internal || got.Msg != "plain" {
		t.Errorf("a plain one: %v", got)
	}
}

// TestSeen shows that what came twice is noticed for as long as it could be sent again, and the memory of it is bounded.
func TestSeen(t *testing.T) {
	var s seen
	now := time.Now()
	f := &frame{sender: "a", call: 1}
	if s.again(f, now) || !s.again(f, now) || !s.again(f, now.Add(2*window)) || !s.again(f, now.Add(3*window)) || s.again(f, now.Add(9*window)) {
		t.Error("wrong about what came before")
	}
	if s.again(&frame{sender: "b", call: 1}, now) {
		t.Error("the call of another is another")
	}
	for i := range uint64(3 * maxSeen) {
		s.again(&frame{sender: "c", call: i}, now)
	}
	if n := len(s.now) + len(s.before); n > 2*maxSeen {
		t.Errorf("%d are remembered", n)
	}
}
