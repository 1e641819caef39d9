package v1

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
)

// otlpVariable begins the names of the variables that say how OTLP is sent.
const otlpVariable = "OTEL_EXPORTER_OTLP_"

// trust checks the certificates with which a signal is sent over https. The exporters read them themselves, and pass over those that
// they cannot use.
func (d *decoder) trust(signal, endpoint string) {
	if !strings.HasPrefix(strings.ToLower(endpoint), "https:") {
		return
	}
	own := otlpVariable + strings.ToUpper(signal) + "_"
	if file, name := d.env(own+"CERTIFICATE", otlpVariable+"CERTIFICATE"); name != "" {
		if text, ok := d.pem(name, file); ok && !x509.NewCertPool().AppendCertsFromPEM(text) {
			d.unusable(name, file, errors.New("has no certificate in PEM"))
		}
	}
	if _, name := d.env(own+"CLIENT_CERTIFICATE", own+"CLIENT_KEY"); name == "" {
		own = otlpVariable
	}
	d.clientPair(own+"CLIENT_CERTIFICATE", own+"CLIENT_KEY")
}

// clientPair checks a certificate to show, and its key.
func (d *decoder) clientPair(certificate, key string) {
	certFile, _ := d.env(certificate)
	keyFile, _ := d.env(key)
	switch {
	case certFile == "" && keyFile == "":
		return
	case certFile == "":
		d.failOnce(certificate, "is missing beside %s; set both, or neither", key)
		return
	case keyFile == "":
		d.failOnce(key, "is missing beside %s; set both, or neither", certificate)
		return
	}
	cert, ok1 := d.pem(certificate, certFile)
	secret, ok2 := d.pem(key, keyFile)
	if !ok1 || !ok2 {
		return
	}
	if _, err := tls.X509KeyPair(cert, secret); err != nil {
		d.failOnce(certificate, "%q and %q of %s are no certificate with its key in PEM: %v; name files that belong together, or unset both",
			clip(certFile), clip(keyFile), key, err)
	}
}

// pem reads a file that a variable names.
func (d *decoder) pem(name, file string) ([]byte, bool) {
	text, err := d.opts.ReadFile(strings.TrimSpace(file))
	if err != nil {
		d.unusable(name, file, errors.New("cannot be read: "+bare(err).Error()))
	}
	return text, err == nil
}

func (d *decoder) unusable(name, file string, err error) {
	d.failOnce(name, "%q %v; name a file with certificates in PEM that the gateway may read, or unset the variable", clip(file), err)
}

// failOnce tells of a variable, which may be that of several signals.
func (d *decoder) failOnce(name, format string, args ...any) {
	if !told(d.problems, name) {
		d.fail(0, name, format, args...)
	}
}

// warnOnce tells of a variable, which may be that of several signals.
func (d *decoder) warnOnce(name, reason string) {
	if !told(d.warnings, name) {
		d.warn(0, name, reason)
	}
}

func told(list Problems, name string) bool {
	return slices.ContainsFunc(list, func(p Problem) bool { return p.Path == name })
}
