package h1

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// chunkState is what the reader of a chunked body expects next (RFC 9112 section 7.1).
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd // the CRLF after the data
	chunkTrailer
)

// maxChunkLine bounds a chunk's size with its extensions, which are skipped.
const maxChunkLine = 256

// errMore says that the buffer holds too little to go on.
var errMore = errors.New("more is needed")

// readChunked fills b from as many chunks as have arrived, waiting only for the first byte.
func (p *Response) readChunked(b []byte) (n int, err error) {
	for n < len(b) {
		if err := p.nextChunk(n == 0); err != nil {
			return n, err
		}
		if n > 0 && p.cn.r == p.cn.w {
			return n, nil
		}
		m, err := p.take(b[n:min(int64(len(b)), int64(n)+p.left)])
		n += m
		if p.left -= int64(m); p.left == 0 {
			p.chunk = chunkEnd
		}
		if err != nil {
			return n, err
		}
	}
	_ = p.nextChunk(false) // to give the connection back as soon as it is free; a fault shows in the next read
	return n, nil
}

// nextChunk goes on to where data begins. It returns io.EOF after the last chunk, having finished the body,
// and errMore when it may not wait. Nothing is consumed of a line that is not whole, so that reading can go
// on after a time-out.
func (p *Response) nextChunk(wait bool) error {
	for p.chunk != chunkData {
		err := p.chunkStep()
		if errors.Is(err, errMore) && wait {
			err = p.fill()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Response) chunkStep() error {
	cn := p.cn
	b := cn.buf[cn.r:cn.w]
	i := bytes.IndexByte(b, '\n')
	if err := p.hopeless(b, i); err != nil {
		return err
	}
	if i < 0 {
		return errMore
	}
	if i == 0 || b[i-1] != '\r' {
		return protocol("line of a chunked body without CRLF")
	}
	line := b[:i-1]
	switch p.chunk {
	case chunkEnd:
		p.chunk = chunkSize
	case chunkSize:
		if err := p.size(line); err != nil {
			return err
		}
	case chunkTrailer:
		if len(line) == 0 {
			cn.r += i + 1
			p.finish()
			return io.EOF
		}
		if err := p.trailerLine(line); err != nil {
			return err
		}
	}
	cn.r += i + 1
	return nil
}

// hopeless refuses, before its LF at i has come, a line that cannot become valid.
func (p *Response) hopeless(b []byte, i int) error {
	if i < 0 {
		i = len(b)
	}
	switch {
	case p.chunk == chunkEnd && len(b) > 0 && (b[0] != '\r' || len(b) > 1 && i != 1):
		return protocol("chunk is longer than its size")
	case p.chunk == chunkSize && i > maxChunkLine:
		return protocol("chunk size line is too long")
	}
	return nil
}

// size parses a chunk's first line.
func (p *Response) size(line []byte) error {
	n, i := int64(0), 0
	for ; i < len(line); i++ {
		d, ok := unhex(line[i])
		if !ok {
			break
		}
		if n > math.MaxInt64>>4 {
			return protocol("chunk size is too large")
		}
		n = n<<4 | d
	}
	if i == 0 || !extension(line[i:]) {
		return protocol("chunk size is malformed")
	}
	p.left, p.chunk = n, chunkData
	if n == 0 {
		p.chunk = chunkTrailer
	}
	return nil
}

// extension accepts nothing, or what a semicolon begins.
func extension(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	from, _ := trim(b, 0)
	return from < len(b) && b[from] == ';' && !hasControl(b) && bytes.IndexByte(b, '\r') < 0
}

func unhex(b byte) (int64, bool) {
	switch {
	case b >= '0' && b <= '9':
		return int64(b - '0'), true
	case lower(b) >= 'a' && lower(b) <= 'f':
		return int64(lower(b)-'a') + 10, true
	}
	return 0, false
}

// trailerLine checks a trailer, which is then skipped.
func (p *Response) trailerLine(line []byte) error {
	if _, err := fieldName(line); err != nil || hasControl(line) || bytes.IndexByte(line, '\r') >= 0 {
		return protocol("trailer is malformed")
	}
	if p.trailer += len(line) + 2; p.trailer > p.client.o.MaxHeader {
		return protocol("trailers are too large")
	}
	return nil
}
