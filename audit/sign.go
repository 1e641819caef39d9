package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// signer signs checkpoints.
type signer struct {
	key  ed25519.PrivateKey
	id   string // names the key
	file string // where it was read; empty where the configuration has it
	// salt is mixed into the hashes of arguments: what is guessed cannot be compared without the key.
	salt [sha256.Size]byte
}

const pemPrivate, pemPublic = "PRIVATE KEY", "PUBLIC KEY"

// keyFile is where the key is kept that the first start makes.
func keyFile(stateDir string) string { return filepath.Join(stateDir, "audit", "audit.key") }

func newSigner(key ed25519.PrivateKey) *signer {
	s := &signer{key: key, id: keyID(key.Public().(ed25519.PublicKey))}
	s.salt = sha256.Sum256(append([]byte("toolcrib audit arguments\n"), key.Seed()...))
	return s
}

// keyID names a public key.
func keyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// loadSigner takes the key from the configuration, else from the state directory, where the first start makes one.
func loadSigner(c *v1.Config, stateDir string) (*signer, error) {
	if c.Audit.Key != "" {
		key, err := parseKey([]byte(c.Audit.Key))
		if err != nil {
			return nil, fmt.Errorf("audit.key %w", err)
		}
		return newSigner(key), nil
	}
	path := keyFile(stateDir)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the audit log: %w; set stateDir to a folder that can be written to, or audit.key", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	s := newSigner(key)
	s.file = path
	return s, nil
}

// keep puts the key back if its file was removed.
func (s *signer) keep() error {
	if s.file == "" {
		return nil
	}
	if _, err := os.Lstat(s.file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeKey(s.file, s.key)
}

// makeKey makes a key, unless another process was quicker.
func makeKey(path string) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err == nil {
		err = writeKey(path, key)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// writeKey writes a key to a file, unless there is one.
func writeKey(path string, key ed25519.PrivateKey) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

var errKey = errors.New("is not an Ed25519 private key in PEM (PKCS #8); make one with: openssl genpkey -algorithm ed25519")

func parseKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemPrivate {
		return nil, errKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, errKey
	}
	return key, nil
}

// PublicKey is the public key, in PEM, of the signatures of a log with that configuration. It makes no key.
func PublicKey(c *v1.Config) ([]byte, error) {
	text := []byte(c.Audit.Key)
	if len(text) == 0 {
		var err error
		if text, err = os.ReadFile(keyFile(c.StateDir)); err != nil {
			return nil, err
		}
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("audit.key %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), nil
}

// ParseKeys reads public keys in PEM, one or several.
func ParseKeys(text []byte) (map[string]ed25519.PublicKey, error) {
	keys := map[string]ed25519.PublicKey{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		pub, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok || block.Type != pemPublic {
			return nil, errors.New("is not an Ed25519 public key in PEM, as toolcrib audit key prints it")
		}
		keys[keyID(pub)] = pub
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no public key in PEM, as toolcrib audit key prints it")
	}
	return keys, nil
}

// mark is a signed statement that a log went as far as a line, and from which one it is kept.
type mark struct {
	What      string `json:"what"` // checkpoint, in the log; head, beside it
	Log       string `json:"log"`  // names the log
	Sequence  uint64 `json:"sequence"`
	Hash      string `json:"hash"`
	From      uint64 `json:"from"`
	Time      int64  `json:"time"` // milliseconds since 1970
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// The values of mark.What.
const (
	markCheckpoint = "checkpoint"
	markHead       = "head"
)

// signed is what the signature is over.
func (m *mark) signed() []byte {
	b := append([]byte("toolcrib audit 1\n"), m.What...)
	b = append(append(b, '\n'), m.Log...)
	b = strconv.AppendUint(append(b, '\n'), m.Sequence, 10)
	b = append(append(b, '\n'), m.Hash...)
	b = strconv.AppendUint(append(b, '\n'), m.From, 10)
	b = strconv.AppendInt(append(b, '\n'), m.Time, 10)
	return append(b, '\n')
}

func (s *signer) sign(m *mark, now time.Time) []byte {
	m.Time, m.Key = now.UnixMilli(), s.id
	m.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, m.signed()))
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // there are only texts and numbers
	}
	return text
}

// good tells whether the mark was signed with one of these keys.
func (m *mark) good(keys map[string]ed25519.PublicKey) bool {
	pub := keys[m.Key]
	sig, err := base64.StdEncoding.DecodeString(m.Signature)
	return pub != nil && err == nil && ed25519.Verify(pub, m.signed(), sig)
}

// headName is the file beside a log that tells how far it went.
func headName(path string) string { return path + ".head" }

// readMark reads a head file; nil when there is none, which is no error.
func readMark(path string) (*mark, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	m := &mark{}
	if err := json.Unmarshal(text, m); err != nil || m.What != markHead || len(m.Log) != 2*logIDLen {
		return nil, fmt.Errorf("%s is not the head of an audit log", path)
	}
	return m, nil
}

const logIDLen = 8

func newLogID() string {
	var b [logIDLen]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
