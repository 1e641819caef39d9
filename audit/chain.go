package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
)

// A line is {"metadata":{"sequence":N BODY "chain":{"prev":"P","hash":"H"}}}: H is the SHA-256 over P (32 bytes), N (8 bytes, big
// endian) and the SHA-256 of BODY; P is H of the line before. So what is expensive to hash is hashed by whoever has something to
// record, before its turn.
const (
	lineHead  = `{"metadata":{"sequence":`
	chainHead = `"chain":{"prev":"`
	chainMid  = `","hash":"`
	chainTail = `"}}}`
	chainLen  = len(chainHead) + len(chainMid) + len(chainTail) + 2*hexLen
	hexLen    = 2 * sha256.Size
)

// lineMost bounds a line of the log, for whoever reads it.
const lineMost = 4 << 20

type hash [sha256.Size]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

func digestOf(body []byte) hash { return sha256.Sum256(body) }

// link is the hash of a line.
func link(prev hash, seq uint64, digest hash) hash {
	var b [2*sha256.Size + 8]byte
	copy(b[:], prev[:])
	binary.BigEndian.PutUint64(b[sha256.Size:], seq)
	copy(b[sha256.Size+8:], digest[:])
	return sha256.Sum256(b[:])
}

// appendLine appends a line with its newline.
func appendLine(dst []byte, seq uint64, body []byte, prev, sum hash) []byte {
	dst = strconv.AppendUint(append(dst, lineHead...), seq, 10)
	dst = append(append(dst, body...), chainHead...)
	dst = append(hex.AppendEncode(dst, prev[:]), chainMid...)
	dst = append(hex.AppendEncode(dst, sum[:]), chainTail...)
	return append(dst, '\n')
}

// chained is what a line says of its place.
type chained struct {
	seq       uint64
	body      []byte
	prev, sum hash
}

var errLine = errors.New("is no line of an audit log")

// readChain takes a line, without its newline, apart.
func readChain(line []byte) (c chained, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(lineHead))
	if !ok || len(rest) < chainLen {
		return c, errLine
	}
	rest, chain := rest[:len(rest)-chainLen], rest[len(rest)-chainLen:]
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	c.seq, err = strconv.ParseUint(string(rest[:digits]), 10, 64)
	if err != nil || rest[0] == '0' {
		return c, errLine
	}
	c.body = rest[digits:]
	p, s := len(chainHead), len(chainHead)+hexLen+len(chainMid)
	if string(chain[:p]) != chainHead || string(chain[p+hexLen:s]) != chainMid || string(chain[s+hexLen:]) != chainTail ||
		!unhex(&c.prev, chain[p:p+hexLen]) || !unhex(&c.sum, chain[s:s+hexLen]) {
		return c, errLine
	}
	return c, nil
}

// apartMost is how many times something in a line may look like the beginning of one.
const apartMost = 100

// apart is a line without what may stand before it: the rest of one that was cut short.
func apart(line []byte) []byte {
	if len(line) == 0 || !bytes.Contains(line[1:], []byte(lineHead)) {
		return line
	}
	rest := line
	for range apartMost {
		if c, err := readChain(rest); err == nil && c.sound() {
			return rest
		}
		at := bytes.Index(rest[1:], []byte(lineHead))
		if at < 0 {
			break
		}
		rest = rest[1+at:]
	}
	return line
}

// unhex reads a hash as it is written, in lower case.
func unhex(h *hash, text []byte) bool {
	if len(text) != hexLen {
		return false
	}
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(h[:], text)
	return err == nil
}

// sound tells whether the line is as it was written, in itself.
func (c *chained) sound() bool {
	return link(c.prev, c.seq, digestOf(c.body)) == c.sum
}
