// Command proxies runs two of this module's Bayeux servers behind real proxies, nginx
// and HAProxy, with the configurations beside it, which docs/operations.md shows. It
// checks with our client, with CometD's in Node.js and byte by byte what must hold there.
//
//	proxies [-only REGEXP] [-at-once N] [-times N]
//
// The proxies wait for 2 s, and connects are held for 1; with -times 30 for what the
// configurations say, 60 s, and for 30.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only := flag.String("only", "", "run those whose name matches")
	atOnce := flag.Int("at-once", 6, "how many run at the same time")
	times := flag.Int("times", 1, "how many times as long all takes")
	flag.Parse()
	for _, d := range []*time.Duration{&proxyTimeout, &hold, &patience} {
		*d *= time.Duration(*times)
	}
	if err := run(ctx, *only, *atOnce); err != nil {
		fmt.Fprintln(os.Stderr, "proxies:", err)
		os.Exit(1)
	}
}

// trial is one check in one place.
type trial struct {
	check check
	proxy proxyKind
	park  bool
}

func (t trial) name() string {
	name := t.check.name + " behind " + t.proxy.name
	if t.park {
		name += ", parking"
	}
	return name
}

// trials has each check behind each proxy, with net/http holding connects and without.
func trials() []trial {
	var all []trial
	for _, c := range checks {
		for _, p := range []proxyKind{nginx, haproxy} {
			for _, park := range []bool{false, true} {
				all = append(all, trial{c, p, park})
			}
		}
	}
	return all
}

// patience bounds one trial.
var patience = 30 * time.Second

func (t trial) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := newPlace(ctx, t)
	if err != nil {
		return err
	}
	defer p.close()
	if err := t.check.run(ctx, p); err != nil {
		return fmt.Errorf("%w\n%s", err, p.proxy.log())
	}
	return p.fault()
}

func run(ctx context.Context, only string, atOnce int) error {
	pattern, err := regexp.Compile(only)
	if err != nil || atOnce < 1 || flag.NArg() > 0 {
		return errors.New("usage: proxies [-only REGEXP] [-at-once N] [-times N]")
	}
	slots := make(chan struct{}, atOnce)
	var done sync.WaitGroup
	var mu sync.Mutex
	var passed, failed int
	for _, t := range trials() {
		if !pattern.MatchString(t.name()) {
			continue
		}
		done.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			err := t.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				fmt.Printf("FAIL %s: %v\n", t.name(), err)
				return
			}
			passed++
			fmt.Printf("ok   %s in %.1f s\n", t.name(), time.Since(began).Seconds())
		})
	}
	done.Wait()
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		return errors.New("not everything holds behind the proxies")
	}
	return nil
}
