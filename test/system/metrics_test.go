package system_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// measured is the value of a series in a scrape, by its name and labels as they stand there; false where there is none.
func measured(t testing.TB, body, series string) (float64, bool) {
	t.Helper()
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return v, true
		}
	}
	return 0, false
}

// scrapeOf are the metrics of a gateway, as alice sees them.
func scrapeOf(t testing.TB, client *http.Client, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+aliceKey)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d, %v: %s", resp.StatusCode, err, body)
	}
	return string(body)
}

// TestMetricsOfFacts: a scrape tells what will end and when, and whether the configuration last given is in force.
func TestMetricsOfFacts(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	ends := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	cert := testenv.Certificate(t, &x509.Certificate{NotAfter: ends, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
	certFile, keyFile := testenv.WriteCertificate(t, dir, "server", cert)
	keys := func(end time.Time) map[string]any {
		return map[string]any{"apiKeys": []any{
			map[string]any{"name": "ci", "key": aliceKey, "expires": end.Format(time.RFC3339)},
			map[string]any{"name": "old", "key": bobKey, "expires": time.Now().Add(-72 * time.Hour).Format(time.RFC3339)},
		}}
	}
	serving := map[string]any{"cert": certFile, "key": keyFile, "clientCA": certFile}
	config := testenv.Config{More: map[string]any{"auth": keys(ends), "tls": serving}}
	g := testenv.ServeAt(t, config, state)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	value := func(series string) float64 {
		v, ok := measured(t, scrapeOf(t, client, g.URL), series)
		if !ok {
			t.Errorf("no %s", series)
		}
		return v
	}
	for series, want := range map[string]float64{
		`toolcrib_certificate_expiry_timestamp_seconds{use="serving"}`:   float64(ends.Unix()),
		`toolcrib_certificate_expiry_timestamp_seconds{use="client_ca"}`: float64(ends.Unix()),
		`toolcrib_credential_expiry_timestamp_seconds{kind="api_key"}`:   float64(ends.Unix()),
		`toolcrib_config_last_apply_successful`:                          1,
		`toolcrib_source_up{source="store"}`:                             1,
	} {
		if got := value(series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	applied, sealed := value("toolcrib_config_last_apply_success_timestamp_seconds"), value("toolcrib_seal_key_created_timestamp_seconds")
	if now := float64(time.Now().Unix()); applied < now-60 || sealed < now-60 || applied > now+1 || sealed > now+1 {
		t.Errorf("applied at %v, sealed since %v; now is %v", applied, sealed, now)
	}

	g.Write([]byte(`{"listen": 7}`))
	testenv.Eventually(t, "a file that cannot be applied shows", func() bool { return value("toolcrib_config_last_apply_successful") == 0 })
	if again := value("toolcrib_config_last_apply_success_timestamp_seconds"); again != applied {
		t.Errorf("applied at %v, which did not change; was %v", again, applied)
	}
	g.Configure(config)
	testenv.Eventually(t, "a file that can be applied shows", func() bool { return value("toolcrib_config_last_apply_successful") == 1 })
	if again := value("toolcrib_seal_key_created_timestamp_seconds"); again != sealed {
		t.Errorf("the same key seals since %v and since %v", sealed, again)
	}
}
