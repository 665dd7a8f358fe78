package redisstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// authority signs certificates of this test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	_, cert, key := sign(t, template, nil)
	return authority{cert, key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// sign makes a certificate for an hour; without an authority it signs itself.
func sign(t *testing.T, template *x509.Certificate, by *authority) (der []byte, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: rand.Text()}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if by == nil {
		by = &authority{template, key}
	}
	der, err = x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	must(t, err)
	cert, err = x509.ParseCertificate(der)
	must(t, err)
	return der, cert, key
}

// tlsRedis starts a server that speaks TLS on a port besides, with a certificate for 127.0.0.1.
func tlsRedis(t *testing.T, a authority) (addr string) {
	t.Helper()
	der, _, key := sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, &a)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	port := services.FreePort(t)
	services.Redis(t, "--tls-port", port, "--tls-auth-clients", "no", "--tls-ca-cert-file", file("ca", "CERTIFICATE", a.cert.Raw),
		"--tls-cert-file", file("cert", "CERTIFICATE", der), "--tls-key-file", file("key", "PRIVATE KEY", secret))
	return net.JoinHostPort("127.0.0.1", port)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	addr := tlsRedis(t, a)
	config := func(change func(c *tls.Config)) Config {
		cfg, err := ParseURL("rediss://default:hunter2@" + addr + "?name=test")
		must(t, err)
		cfg.Client.Password, cfg.Timeout = "", 2*time.Second
		change(cfg.Client.TLSConfig)
		return cfg
	}
	s := mustOpen(t, config(func(c *tls.Config) { c.RootCAs = a.pool() }))
	owner, right := newOwner(), newRight(s)
	expect(t, s, owner, right, replay.Won, nil)
	expect(t, s, newOwner(), right, replay.Lost, nil)

	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	for name, c := range map[string]struct {
		change func(c *tls.Config)
		want   any
	}{
		"system's roots":    {func(*tls.Config) {}, &unknown},
		"another authority": {func(c *tls.Config) { c.RootCAs = newAuthority(t).pool() }, &unknown},
		"another name":      {func(c *tls.Config) { c.RootCAs, c.ServerName = a.pool(), "redis.example" }, &wrongName},
	} {
		got, err := Open(t.Context(), config(c.change))
		if err == nil {
			got.Close()
		}
		if !errors.As(err, c.want) || len(err.Error()) > 200 {
			t.Errorf("Open with %s = %v, want %T", name, err, c.want)
		}
	}
	plain := configOf(addr, "test")
	if s, err := Open(t.Context(), plain); err == nil {
		s.Close()
		t.Error("Open without TLS on a port with it")
	}
}
