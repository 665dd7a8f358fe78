package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed nginx.conf
var nginxConf string

//go:embed haproxy.cfg
var haproxyCfg string

// What the configurations say of addresses and times, which a trial has of its own.
const (
	siteAddr  = "127.0.0.1:8443"
	nodeAddrA = "127.0.0.1:8081"
	nodeAddrB = "127.0.0.1:8082"
	longest   = "60s"
)

// proxyTimeout is how long the proxies wait for an answer here.
var proxyTimeout = 2 * time.Second

// proxyKind is a program and its configuration.
type proxyKind struct {
	name, config string
	// argv writes what else the program wants into dir, and starts it with config there.
	argv func(dir, config string) ([]string, error)
}

var nginx = proxyKind{"nginx", nginxConf, func(dir, config string) ([]string, error) {
	around := "daemon off;\nworker_processes 1;\npid " + dir + "/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"
	if os.Getuid() == 0 {
		around = "user root;\n" + around // the folder is ours alone
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		around += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	main := filepath.Join(dir, "main.conf")
	err := os.WriteFile(main, []byte(around+"include "+config+";\n}\n"), 0o600)
	return []string{"nginx", "-e", "stderr", "-p", dir, "-c", main}, err
}}

var haproxy = proxyKind{"HAProxy", haproxyCfg, func(_, config string) ([]string, error) {
	return []string{"haproxy", "-db", "-f", config}, nil
}}

// proxy is one that runs.
type proxy struct {
	addr  string
	roots *x509.CertPool
	pem   string // the file with its certificate
	dir   string
	cmd   *exec.Cmd
	out   bytes.Buffer // of the process; after its end
	ended chan struct{}
}

// startProxy runs kind in front of two nodes. Edits are pairs of what to write anew in
// its configuration.
func startProxy(ctx context.Context, kind proxyKind, nodes [2]string, edits ...string) (p *proxy, err error) {
	p = &proxy{roots: x509.NewCertPool(), ended: make(chan struct{})}
	if p.dir, err = os.MkdirTemp("", "proxies"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(p.dir)
		}
	}()
	if p.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	p.pem = filepath.Join(p.dir, "site.pem")
	if err := p.writeCertificate(); err != nil {
		return nil, err
	}
	edits = append(edits, siteAddr, p.addr, nodeAddrA, nodes[0], nodeAddrB, nodes[1], longest, fmt.Sprint(proxyTimeout), "site.pem", p.pem)
	text := kind.config
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			return nil, fmt.Errorf("%s's configuration lacks %q", kind.name, edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	config := filepath.Join(p.dir, "config")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	argv, err := kind.argv(p.dir, config)
	if err != nil {
		return nil, err
	}
	return p, p.start(ctx, argv)
}

func (p *proxy) start(ctx context.Context, argv []string) error {
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) } // nginx's workers end with it
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait() // what it said is in out
		close(p.ended)
	}()
	for {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return errors.New(p.log())
		case <-ctx.Done():
			p.stop()
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *proxy) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	os.RemoveAll(p.dir)
}

// maxLog is how many bytes of a proxy's output are shown.
const maxLog = 1000

// log ends the proxy, and returns the end of what it said.
func (p *proxy) log() string {
	p.stop()
	text := strings.TrimSpace(p.out.String())
	return text[max(0, len(text)-maxLog):]
}

func (p *proxy) writeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	p.roots.AppendCertsFromPEM(cert)
	return os.WriteFile(p.pem, append(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...), 0o600)
}

func (p *proxy) tls() *tls.Config { return &tls.Config{RootCAs: p.roots} }

func (p *proxy) url() string { return "https://" + p.addr + "/bayeux" }

var lastPort atomic.Int32

// freeAddr has a port below those that outgoing connections take, so that it stays free
// until the proxy listens.
func freeAddr() (string, error) {
	for range 1000 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+lastPort.Add(1)))
		if err == nil {
			return ln.Addr().String(), ln.Close()
		}
	}
	return "", errors.New("no free port")
}
