package seal

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxKeyFile bounds what is read as a key file: hundreds of keys.
const maxKeyFile = 64 << 10

// ParseKeys reads keys for NewRing from text: one base64 key a line (standard or URL alphabet, padded or
// not), newest first. Blank lines and lines that begin with # are skipped. Errors never show a key.
func ParseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := decodeKey(line)
		if err != nil {
			return nil, fmt.Errorf("seal: line %d: %w", n, err)
		}
		keys = append(keys, key)
	}
	if lines.Err() != nil {
		return nil, errors.New("seal: a line is too long for a key")
	}
	return keys, nil
}

func decodeKey(line string) ([]byte, error) {
	line = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(line, "="))
	key, err := base64.RawStdEncoding.DecodeString(line)
	if err != nil {
		return nil, errors.New("not base64")
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("key is %d bytes long, must be %d", len(key), KeySize)
	}
	return key, nil
}

// LoadOrCreate reads the ring from the file at path. When there is none, it makes one with a single
// random key, readable by its owner only, and missing folders with it. Processes that start together all
// end with the same ring.
func LoadOrCreate(path string) (*Ring, error) {
	r, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("seal: make key file: %w", err)
	}
	return load(path)
}

func load(path string) (*Ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal: read keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal: read keys: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("seal: key file %s is open to others (mode %04o); run `chmod 600` on it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("seal: read keys: %w", err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("seal: key file %s is over %d bytes", path, maxKeyFile)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	r, err := NewRing(keys...)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return r, nil
}

// create writes a new key beside path and links it into place: the link is atomic, and fails with
// fs.ErrExist where another process was first.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".seal-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := writeKey(f); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeKey(f *os.File) error {
	key := make([]byte, KeySize)
	rand.Read(key)
	_, err := fmt.Fprintf(f, "# Keys of sealed tokens, newest first. Keep old ones until what they sealed has expired.\n%s\n",
		base64.StdEncoding.EncodeToString(key))
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the new name survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
