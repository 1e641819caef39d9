package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// tlsFiles serve what the files of the key tls hold, and what they hold later.
type tlsFiles struct {
	spec  v1.TLS
	log   *slog.Logger
	trust func(*x509.CertPool) // is told who signs clients' certificates

	config atomic.Pointer[tls.Config]
	ends   atomic.Pointer[map[string]time.Time] // of the certificates, by what they are for
	seen   stamps                               // of the files, when they were read last
}

// stamps tell whether files changed.
type stamps [3]struct {
	at   time.Time
	size int64
}

// newTLSFiles reads the files; nil where the key tls is not set.
func newTLSFiles(spec v1.TLS, log *slog.Logger, trust func(*x509.CertPool)) (*tlsFiles, error) {
	if spec.Cert == "" {
		return nil, nil //nolint:nilnil // no TLS
	}
	f := &tlsFiles{spec: spec, log: log, trust: trust}
	f.seen = f.stamps()
	return f, f.read()
}

func (f *tlsFiles) stamps() (now stamps) {
	for i, name := range []string{f.spec.Cert, f.spec.Key, f.spec.ClientCA} {
		var info fs.FileInfo
		var err error
		if name != "" {
			if info, err = os.Stat(name); err == nil {
				now[i].at, now[i].size = info.ModTime(), info.Size()
			}
		}
	}
	return now
}

// read takes what the files hold now.
func (f *tlsFiles) read() error {
	pair, err := tls.LoadX509KeyPair(f.spec.Cert, f.spec.Key)
	if err != nil {
		return fmt.Errorf("tls: %w; tls.cert and tls.key name files in PEM that belong together", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	ends := map[string]time.Time{"serving": pair.Leaf.NotAfter}
	if f.spec.ClientCA != "" {
		text, err := os.ReadFile(f.spec.ClientCA)
		if err != nil {
			return fmt.Errorf("tls.clientCA: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("tls.clientCA: %s holds no certificate in PEM", f.spec.ClientCA)
		}
		c.ClientAuth = tls.VerifyClientCertIfGiven
		f.trust(c.ClientCAs)
		ends["client_ca"] = firstEnd(text)
	}
	f.config.Store(c)
	f.ends.Store(&ends)
	return nil
}

// firstEnd is when the first of the certificates ends that are in a file; zero when that cannot be read.
func firstEnd(file []byte) (first time.Time) {
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			return first
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (first.IsZero() || c.NotAfter.Before(first)) {
			first = c.NotAfter
		}
	}
}

// serving is the configuration of a listener, which follows the files.
func (f *tlsFiles) serving() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.config.Load(), nil },
	}
}

// look reads the files again when they changed; what cannot be used leaves what was there before.
func (f *tlsFiles) look() {
	now := f.stamps()
	if now == f.seen {
		return
	}
	f.seen = now
	if err := f.read(); err != nil {
		f.log.Error("the files of tls changed and cannot be used; what they held before stays", "error", err)
		return
	}
	f.log.Info("the files of tls changed, and are in use")
}
