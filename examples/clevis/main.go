// Clevis runs a node whose keyring opens only while a key service agrees. The
// ring's identity lies on this host encrypted by clevis(1), to a Tang server on
// the network, to the host's TPM, or to several of them; in the clear it is in
// memory alone. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// patience is how long one answer of the key service may take.
const patience = 10 * time.Second

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	keyring := flag.String("keyring", "keys", "keyring directory, without identity.txt")
	identity := flag.String("identity", "identity.jwe", "identity.txt, encrypted by clevis")
	flag.Parse()
	keys, err := follow(*keyring, *identity, seal.ReloadInterval, 15*time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	go keys.Run(context.Background(), nil)
	// A node gives keys to session.Config.Keys. This one only tells whether it can work.
	http.Handle("GET /health", health(keys))
	log.Printf("http://%s/health", *listen)
	log.Fatal(http.ListenAndServe(*listen, nil))
}

// follow is a seal.Source that asks the key service every interval. If the
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
		log.Printf("keyring: version %d stays for now: %v", ring.Version(), err)
		return
	}
	log.Printf("keyring: version %d", ring.Version())
}

// unwrap decrypts the identity. The file is no secret; what clevis prints goes
// nowhere but into the answer.
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
	identity, err := clevis.Output()
	if err != nil {
		return nil, fmt.Errorf("clevis decrypt: %w", err)
	}
	return identity, nil
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
