// Clevis runs a node whose keyring opens only while a key service agrees. The
// ring's identity, or the ring itself, lies on this host encrypted by clevis(1),
// to a Tang server on the network, to the host's TPM, or to several of them; in
// the clear it is in memory alone. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// patience is how long one answer of the key service may take.
const patience = 10 * time.Second

// maxStale is how long a node goes on without an answer.
const maxStale = 15 * time.Minute

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	keyring := flag.String("keyring", "keys", "keyring directory, without identity.txt")
	identity := flag.String("identity", "identity.jwe", "identity.txt, encrypted by clevis")
	ring := flag.String("ring", "", "in place of both: the ring's plaintext, encrypted by clevis")
	signer := flag.String("signer", "signer.pub", "with -ring: who signed it")
	seen := flag.String("seen", "ring.version", "with -ring: notes its highest version")
	flag.Parse()
	var keys seal.Source
	if *ring != "" {
		whole, err := newWholeRing(*ring, *signer, *seen, maxStale)
		if err != nil {
			log.Fatal(err)
		}
		go whole.run(context.Background(), seal.ReloadInterval)
		keys = whole
	} else {
		watched, err := follow(*keyring, *identity, seal.ReloadInterval, maxStale)
		if err != nil {
			log.Fatal(err)
		}
		go watched.Run(context.Background(), nil)
		keys = watched
	}
	// A node gives keys to session.Config.Keys. This one only tells whether it can work.
	http.Handle("GET /health", health(keys))
	log.Printf("http://%s/health", *listen)
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// follow is a seal.Source that has the key service open the identity every interval. If the
// service is down, the last good ring serves for maxStale; so that is also how
// long a host that lost its right to the key goes on.
func follow(dir, identity string, interval, maxStale time.Duration) (*seal.Watched, error) {
	return seal.WatchRing(dir, seal.WatchConfig{
		Interval: interval,
		MaxStale: maxStale,
		Options:  []seal.RingOption{seal.WithIdentity(identity, func() ([]byte, error) { return unwrap(identity) })},
		Reloaded: report,
	})
}

func report(ring *seal.Ring, err error) {
	if err != nil {
		log.Printf("keyring: version %d is in use: %v", ring.Version(), err)
		return
	}
	log.Printf("keyring: version %d", ring.Version())
}

// unwrap decrypts a file. That is no secret; what clevis prints goes nowhere but
// into the answer, and what it complains of into the error.
func unwrap(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	wrapped, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer wrapped.Close()
	clevis := exec.CommandContext(ctx, "clevis", "decrypt")
	clevis.Stdin = wrapped
	clevis.WaitDelay = time.Second // its children may hold the pipe
	plain, err := clevis.Output()
	if err != nil {
		return nil, fmt.Errorf("clevis decrypt: %w%s", err, complaint(err))
	}
	return plain, nil
}

// complaint is the last line of what a program wrote on standard error.
func complaint(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
	return fmt.Sprintf(": %.200q", lines[len(lines)-1])
}

// health is for the balancer: a node without keys seals and restores nothing.
func health(keys seal.Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ring, err := keys.Ring(r.Context())
		if err == nil {
			_, err = ring.Primary(time.Now())
		}
		if err != nil {
			http.Error(w, "no keys, try another node", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "ring %d\n", ring.Version())
	})
}
