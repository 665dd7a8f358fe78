package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// runAll holds the meetings whose name matches, some at once, and prints a line
// for each. A meeting whose client did not report its very steps has failed.
func runAll(ctx context.Context, all []meeting, only *regexp.Regexp, atOnce int) error {
	slots := make(chan struct{}, atOnce)
	var done sync.WaitGroup
	var mu sync.Mutex
	var passed, failed, count int
	for _, m := range all {
		if !only.MatchString(m.name()) {
			continue
		}
		done.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			got, err := meet(ctx, m)
			if err == nil && !slices.Equal(got, m.steps) {
				err = fmt.Errorf("steps %q, want %q", got, m.steps)
			}
			mu.Lock()
			defer mu.Unlock()
			count += len(got)
			if err != nil {
				failed++
				fmt.Printf("FAIL %s, after %s: %v\n", m.name(), strings.Join(got, " "), err)
				return
			}
			passed++
			fmt.Printf("ok   %s: %d steps in %.1f s\n", m.name(), len(got), time.Since(began).Seconds())
		})
	}
	done.Wait()
	fmt.Printf("peers: %d steps\n%d passed, %d failed\n", count, passed, failed)
	if failed > 0 || passed == 0 {
		return errors.New("not every peer got through")
	}
	return nil
}

// runClient returns what the program printed.
func runClient(ctx context.Context, argv []string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out := new(notes)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.New("took too long")
		}
		return out.String(), fmt.Errorf("client: %w", err)
	}
	return out.String(), nil
}
