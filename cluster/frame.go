package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// A frame is what replicas send each other:
//
//	type 1 | time 8 | call 8 | seq 8 | sender length 1 | sender | kind length 2 | kind | body
//
// sealed as a whole, with the inbox it is meant for as the binding: nobody without a key reads it, changes it, says it comes
// from another or puts it into another inbox.
type frame struct {
	typ    frameType
	at     time.Time
	call   uint64 // names the call at its caller
	seq    uint64 // of notes and answer, counted from 1; of a credit, the last note that was consumed
	sender string
	kind   string
	body   []byte
}

type frameType byte

const (
	frameRequest frameType = iota + 1
	frameNote
	frameAnswer
	frameError
	frameCancel
	frameCredit // the caller has consumed notes
	framePing   // names the calls between two replicas
	framePong   // names those that the other does not know
	frameBroadcast
	frameHeard   // of a broadcast
	frameRefused // the request is not begun, since the replica is leaving
)

const frameFixed = 1 + 8 + 8 + 8 + 1 + 2

var errFrame = errors.New("malformed frame")

func (f *frame) encode() []byte {
	b := make([]byte, 0, frameFixed+len(f.sender)+len(f.kind)+len(f.body))
	b = append(b, byte(f.typ))
	b = binary.BigEndian.AppendUint64(b, uint64(f.at.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, f.call)
	b = binary.BigEndian.AppendUint64(b, f.seq)
	b = append(append(b, byte(len(f.sender))), f.sender...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.kind)))
	return append(append(b, f.kind...), f.body...)
}

// decode reads a frame, whose body lies within b.
func decode(b []byte) (frame, error) {
	if len(b) < frameFixed {
		return frame{}, errFrame
	}
	f := frame{
		typ: frameType(b[0]), at: time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))),
		call: binary.BigEndian.Uint64(b[9:]), seq: binary.BigEndian.Uint64(b[17:]),
	}
	n, b := int(b[25]), b[26:]
	if len(b) < n+2 {
		return frame{}, errFrame
	}
	f.sender, b = string(b[:n]), b[n:]
	n, b = int(binary.BigEndian.Uint16(b)), b[2:]
	if len(b) < n {
		return frame{}, errFrame
	}
	f.kind, f.body = string(b[:n]), b[n:]
	return f, nil
}

// wireError is an errs.Error on its way.
type wireError struct {
	Op    string        `json:"op,omitempty"`
	Kind  errs.Kind     `json:"kind"`
	Msg   string        `json:"msg"`
	Data  []byte        `json:"data,omitempty"`
	After time.Duration `json:"after,omitempty"`
}

func encodeError(err error) []byte {
	e := errs.Of(err)
	b, err := json.Marshal(wireError{Op: e.Op, Kind: e.Kind, Msg: e.Text(), Data: e.Data, After: e.RetryAfter})
	if err != nil || len(b) > MaxMessage {
		b, _ = json.Marshal(wireError{Op: e.Op, Kind: e.Kind, Msg: e.Kind.String()}) //nolint:errchkjson // strings and a number
	}
	return b
}

func decodeError(b []byte) error {
	var w wireError
	if err := json.Unmarshal(b, &w); err != nil {
		return errs.E("cluster", errs.Internal, "the answer of another replica is not understood: do all run the same version?")
	}
	return &errs.Error{Op: w.Op, Kind: w.Kind, Msg: w.Msg, Data: w.Data, RetryAfter: w.After}
}

// encodeIDs joins two lists of calls.
func encodeIDs(first, second []uint64) []byte {
	b := make([]byte, 0, 4+8*(len(first)+len(second)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(first)))
	for _, list := range [2][]uint64{first, second} {
		for _, id := range list {
			b = binary.BigEndian.AppendUint64(b, id)
		}
	}
	return b
}

func decodeIDs(b []byte) (first, second []uint64, err error) {
	if len(b) < 4 || (len(b)-4)%8 != 0 {
		return nil, nil, errFrame
	}
	n, b := int(binary.BigEndian.Uint32(b)), b[4:]
	if n > len(b)/8 {
		return nil, nil, errFrame
	}
	all := make([]uint64, len(b)/8)
	for i := range all {
		all[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return all[:n], all[n:], nil
}

// seen remembers the frames of the time in which one could be sent again. It keeps two generations; too many frames make
// the memory shorter, not larger.
type seen struct {
	now, before map[seenKey]struct{}
	since       time.Time
}

type seenKey struct {
	sender string
	call   uint64
}

const maxSeen = 1 << 16

// again tells whether a frame came before.
func (s *seen) again(f *frame, now time.Time) bool {
	if now.Sub(s.since) > 4*window {
		s.now = nil // nothing of it can come again
	}
	if s.now == nil || now.Sub(s.since) > 2*window || len(s.now) >= maxSeen {
		s.before, s.now, s.since = s.now, map[seenKey]struct{}{}, now
	}
	key := seenKey{f.sender, f.call}
	if _, ok := s.now[key]; ok {
		return true
	}
	if _, ok := s.before[key]; ok {
		return true
	}
	s.now[key] = struct{}{}
	return false
}
