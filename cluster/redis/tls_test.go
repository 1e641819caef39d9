package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestTLS reaches Redis over TLS, whose certificate must be one that the system trusts.
func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	r := testenv.StartRedis(t)
	port := r.Port + 10_000 // which is kept free with it
	for _, set := range [][2]string{
		{"tls-auth-clients", "no"}, {"tls-cert-file", cert}, {"tls-key-file", key}, {"tls-port", strconv.Itoa(port)},
	} {
		if answer, err := r.Do("CONFIG", "SET", set[0], set[1]); err != nil || answer != "OK" {
			t.Fatalf("%s: %s, %v", set[0], answer, err)
		}
	}
	t.Setenv("SSL_CERT_FILE", cert) // read once, when the first certificate is checked
	t.Setenv("SSL_CERT_DIR", t.TempDir())
	p := nodes(t, "rediss://127.0.0.1:"+strconv.Itoa(port))
	testenv.Eventually(t, "both work", p.works)
	stranger := cluster.New(cluster.Options{Backend: open(t, "rediss://localhost:"+strconv.Itoa(port))})
	t.Cleanup(stranger.Close)
	testenv.Eventually(t, "a certificate of another name is refused", func() bool {
		return strings.Contains(stranger.Status().Reason, "certificate")
	})
}

// certificate makes a certificate of 127.0.0.1 that signs itself, and writes it and its key to files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
