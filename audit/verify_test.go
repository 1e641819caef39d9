package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
)

// written is a log of several files, closed as it should be.
type written struct {
	files map[string][]byte // by name, the head among them
	names []string          // of the log's files, in order
	keys  map[string]ed25519.PublicKey
	last  uint64
}

const logName = "audit.jsonl"

func write(t testing.TB, n int) *written {
	t.Helper()
	c := config(t, v1.AuditSink{File: logName, Rotate: 64 << 10})
	l := open(t, c, audit.Options{})
	for i := range n {
		r := call()
		r.TargetName = "tool" + strconv.Itoa(i)
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, l)
	w := &written{files: map[string][]byte{}}
	entries, err := os.ReadDir(c.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if b, err := os.ReadFile(filepath.Join(c.StateDir, e.Name())); err == nil {
			w.files[e.Name()] = b
			if strings.HasSuffix(e.Name(), ".jsonl") {
				w.names = append(w.names, e.Name())
				w.last += uint64(bytes.Count(b, []byte{'\n'}))
			}
		}
	}
	slices.SortFunc(w.names, func(a, b string) int { // the present file is the last
		if (a == logName) != (b == logName) {
			return map[bool]int{true: 1, false: -1}[a == logName]
		}
		return strings.Compare(a, b)
	})
	pub, err := audit.PublicKey(c)
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = audit.ParseKeys(pub); err != nil {
		t.Fatal(err)
	}
	return w
}

// line is one line of a log, and where it is.
type line struct {
	file string
	text []byte // with its newline
}

func (w *written) lines() (all []line) {
	for _, name := range w.names {
		for text := range bytes.Lines(w.files[name]) {
			all = append(all, line{name, text})
		}
	}
	return all
}

// put makes a log of lines, with the head of this one.
func (w *written) put(t testing.TB, dir string, lines []line) {
	t.Helper()
	files := map[string][]byte{}
	maps.Copy(files, w.files)
	for _, name := range w.names {
		files[name] = nil
	}
	for _, l := range lines {
		files[l.file] = append(files[l.file], l.text...)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t testing.TB, dir string, o audit.VerifyOptions) *audit.Report {
	t.Helper()
	r, err := audit.Verify(context.Background(), filepath.Join(dir, logName), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyGood(t *testing.T) {
	w := write(t, 300)
	if len(w.names) < 3 {
		t.Fatalf("files: %v", w.names)
	}
	dir := t.TempDir()
	w.put(t, dir, w.lines())
	r := verify(t, dir, audit.VerifyOptions{Keys: w.keys})
	if r.Fault != nil || r.First != 1 || r.Last != w.last || r.Lines != w.last || r.Files != len(w.names) || r.Signed < w.last-1 || r.Checkpoints < len(w.names) {
		t.Errorf("%+v", r)
	}
	if r := verify(t, dir, audit.VerifyOptions{Keys: w.keys, Expect: map[uint64]string{r.Last: r.Hash}}); r.Fault != nil {
		t.Error(r.Fault)
	}
}

// TestTampering: whatever somebody without the key does to the lines, the first that is not as it was is named.
func TestTampering(t *testing.T) {
	w := write(t, 200)
	all := w.lines()
	o := audit.VerifyOptions{Keys: w.keys}
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		lines := slices.Clone(all)
		at := rapid.IntRange(0, len(lines)-1).Draw(rt, "at")
		first := uint64(at + 1)
		switch act := rapid.SampledFrom([]string{"flip", "delete", "swap", "repeat", "truncate", "cut", "join", "insert", "rewrite", "forge"}).Draw(rt, "act"); act {
		case "flip":
			text := bytes.Clone(lines[at].text)
			text[rapid.IntRange(0, len(text)-2).Draw(rt, "byte")] ^= byte(1 << rapid.IntRange(0, 6).Draw(rt, "bit"))
			lines[at].text = text
			if bytes.IndexByte(text[:len(text)-1], '\n') >= 0 {
				rt.Skip("a line more")
			}
		case "delete":
			n := rapid.IntRange(1, len(lines)-at).Draw(rt, "n")
			lines = slices.Delete(lines, at, at+n)
		case "swap":
			other := rapid.IntRange(0, len(lines)-1).Filter(func(i int) bool { return i != at }).Draw(rt, "other")
			lines[at].text, lines[other].text = lines[other].text, lines[at].text
			first = uint64(min(at, other) + 1)
		case "repeat":
			lines = slices.Insert(lines, at+1, lines[at])
		case "truncate":
			lines = lines[:at]
		case "cut":
			text := lines[at].text
			lines = lines[:at+1]
			lines[at].text = text[:rapid.IntRange(1, len(text)-1).Draw(rt, "size")]
		case "join":
			if at == len(lines)-1 || lines[at].file != lines[at+1].file {
				rt.Skip("the last of its file")
			}
			lines[at].text = lines[at].text[:len(lines[at].text)-1]
		case "insert":
			lines = slices.Insert(lines, at, line{lines[at].file, []byte("{}\n")})
		case "rewrite": // with a hash of its own, that nothing follows
			lines[at].text = forge(lines[at].text, nil)
		case "forge": // with the hashes of all that follow
			var prev []byte
			for i := at; i < len(lines); i++ {
				text := forge(lines[i].text, prev)
				prev = hashOf(text)
				lines[i].text = text
			}
		}
		w.put(t, dir, lines)
		r := verify(t, dir, o)
		if r.Fault == nil {
			rt.Fatalf("nothing is found: %+v", r)
		}
		if named(r.Fault, first) {
			return
		}
		rt.Fatalf("sequence %d: found %v", first, r.Fault)
	})
}

// named tells whether a fault names the place: the line, or, where only a signature shows it, the lines since the one before.
func named(f *audit.Fault, first uint64) bool {
	if f.What == "signature" || strings.Contains(f.Detail, "signed in the head") {
		return f.Sequence <= first
	}
	return f.Sequence == first
}

// forge changes a line and gives it the hash that it should have then, behind another one if there is one.
func forge(text, prev []byte) []byte {
	const chain = `"chain":{"prev":"`
	head := len(`{"metadata":{"sequence":`)
	digits := bytes.IndexByte(text, ',') - head
	seq, _ := strconv.ParseUint(string(text[head:head+digits]), 10, 64)
	at := bytes.LastIndex(text, []byte(chain))
	body := bytes.Clone(text[head+digits : at])
	if prev == nil {
		body = bytes.Replace(body, []byte(`"status":"Success"`), []byte(`"status":"Succes5"`), 1)
		prev, _ = hex.DecodeString(string(text[at+len(chain) : at+len(chain)+64]))
	}
	digest := sha256.Sum256(body)
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(bytes.Clone(prev), seq), digest[:]...))
	return fmt.Appendf(nil, `{"metadata":{"sequence":%d%s%s%x","hash":"%x"}}}`+"\n", seq, body, chain, prev, sum)
}

func hashOf(text []byte) []byte {
	sum, _ := hex.DecodeString(string(text[len(text)-len(`"}}}`)-1-64 : len(text)-len(`"}}}`)-1]))
	return sum
}

// TestTamperedFiles: files that are gone, and heads and keys that are not those of the log.
func TestTamperedFiles(t *testing.T) {
	w, other := write(t, 200), write(t, 200)
	o := audit.VerifyOptions{Keys: w.keys}
	head := logName + ".head"
	rows := []struct {
		name   string
		do     func(dir string)
		o      audit.VerifyOptions
		what   string
		detail string
	}{
		{"first file gone", func(dir string) { remove(t, dir, w.names[0]) }, o, "missing", "at the beginning"},
		{"middle file gone", func(dir string) { remove(t, dir, w.names[1]) }, o, "missing", "are missing"},
		{"last file gone", func(dir string) { remove(t, dir, logName) }, o, "truncated", "at the end"},
		{"all files gone", func(dir string) { remove(t, dir, w.names...) }, o, "truncated", "lines 1 to"},
		{"two files changed about", func(dir string) {
			replace(t, dir, w.names[0], w.files[w.names[1]])
			replace(t, dir, w.names[1], w.files[w.names[0]])
		}, o, "missing", "at the beginning"},
		{"a file twice", func(dir string) { replace(t, dir, w.names[1], w.files[w.names[0]]) }, o, "out of order", "comes again"},
		{"older state of the last file", func(dir string) {
			b := w.files[logName]
			replace(t, dir, logName, b[:bytes.IndexByte(b, 0x0a)+1])
		}, o, "truncated", "at the end"},
		{"all of another log, and its head", func(dir string) {
			for name, b := range other.files {
				replace(t, dir, name, b)
			}
		}, o, "signature", "not given"},
		{"head gone", func(dir string) { remove(t, dir, head) }, o, "head", "is missing"},
		{"head of another log", func(dir string) { replace(t, dir, head, other.files[head]) }, o, "", "head"},
		{"other key", func(string) {}, audit.VerifyOptions{Keys: other.keys}, "signature", "not given"},
		{"not as noted", func(string) {}, audit.VerifyOptions{Keys: w.keys, Expect: map[uint64]string{9: strings.Repeat("0", 64)}}, "changed", "expected"},
		{"not as far as noted", func(string) {}, audit.VerifyOptions{Keys: w.keys, Expect: map[uint64]string{9999: strings.Repeat("0", 64)}}, "truncated", "9999"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			w.put(t, dir, w.lines())
			row.do(dir)
			r := verify(t, dir, row.o)
			if r.Fault == nil || row.what != "" && r.Fault.What != row.what || !strings.Contains(r.Fault.Detail, row.detail) {
				t.Errorf("found %v", r.Fault)
			}
		})
	}
}

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.Remove(filepath.Join(dir, n)); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}
