package seal_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/seal"
)

func TestNewRing(t *testing.T) {
	tests := []struct {
		name string
		keys [][]byte
		want string
	}{
		{"none", nil, "no key"},
		{"short", [][]byte{testKey(1), testKey(2)[:31]}, "key 2: 31 bytes"},
		{"long", [][]byte{append(testKey(1), 0)}, "key 1: 33 bytes"},
		{"zeros", [][]byte{make([]byte, 32)}, "not random"},
		{"twice", [][]byte{testKey(1), testKey(2), testKey(1)}, "key 3 is in the ring twice"},
	}
	for _, tt := range tests {
		if _, err := seal.NewRing(tt.keys...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	raw := testKey(1)
	copy(raw[28:], "\xfb\xff\xfe\xff") // has + and / in base64
	text := "# newest\n\n" + base64.StdEncoding.EncodeToString(raw) +
		"\r\n  " + base64.RawURLEncoding.EncodeToString(raw) + "\n#end"
	keys, err := seal.ParseKeys([]byte(text))
	if err != nil || len(keys) != 2 || string(keys[0]) != string(raw) || string(keys[1]) != string(raw) {
		t.Errorf("got %v, %v", keys, err)
	}
	secret := base64.StdEncoding.EncodeToString(testKey(9))
	for name, bad := range map[string]string{
		"line 2: not base64":           "#\n" + secret[:20] + "!" + secret[20:],
		"line 1: key is 24 bytes long": secret[:32],
		"too long":                     strings.Repeat(secret, 2000),
	} {
		if _, err := seal.ParseKeys([]byte(bad)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		} else if strings.Contains(err.Error(), secret[:16]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "deep", "seal.keys")
	first, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", name, info.Mode(), err, want)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left something behind: %v", entries)
	}
	second, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Open("x", nil, first.Seal("x", nil, nil, time.Hour), time.Now()); err != nil {
		t.Errorf("after a restart tokens do not open: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(testKey(1))
	tests := []struct {
		name, text, want string
		mode             os.FileMode
	}{
		{"open to others", good, "chmod 600", 0o640},
		{"empty", "# nothing\n", "no key", 0o600},
		{"garbage", "not a key!\n", "line 1", 0o600},
		{"huge", strings.Repeat("#\n", 64<<10), "over 65536 bytes", 0o600},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "seal.keys")
		if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if text, _ := os.ReadFile(path); string(text) != tt.text {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
	below := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(below, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.LoadOrCreate(filepath.Join(below, "seal.keys")); err == nil {
		t.Error("made a key below a file")
	}
}

const pathVariable = "TOOLCRIB_TEST_SEAL_PATH"

// TestMain also is the child of TestLoadOrCreateRace: it loads the ring and prints a token.
func TestMain(m *testing.M) {
	path := os.Getenv(pathVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	r, err := seal.LoadOrCreate(path)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString(r.Seal("race", nil, nil, time.Hour))
}

func TestLoadOrCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "seal.keys")
	const processes = 12
	tokens := make([]string, processes)
	var all sync.WaitGroup
	for i := range processes {
		all.Go(func() {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), pathVariable+"="+path)
			out, err := child.Output()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			tokens[i] = string(out)
		})
	}
	all.Wait()
	r, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, token := range tokens {
		if _, err := r.Open("race", nil, token, time.Now()); err != nil {
			t.Errorf("process %d ended with another key: %v", i, err)
		}
	}
}
