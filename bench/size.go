package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/replay/pgstore"
)

// sized is a store whose records are weighed where it keeps them.
type sized struct {
	name   string
	places []string // what bytes tells, in this order
	open   func(h *host) (weighed, error)
}

type weighed struct {
	store replay.Store
	bytes func() ([]int64, error)
}

// heap is what lives on this process's heap.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

var sizedStores = []sized{
	{"memory", []string{"heap"}, func(*host) (weighed, error) {
		s := replay.NewMemory(replay.MemoryConfig{MaxRights: room})
		return weighed{s, func() ([]int64, error) { return []int64{heap()}, nil }}, nil
	}},
	{"filestore", []string{"heap of each process", "disk"}, weighFilestore},
	{"redisstore", []string{"Redis"}, weighRedis},
	{"pgstore", []string{"tables and indexes"}, weighPostgres},
}

func weighFilestore(h *host) (weighed, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return weighed{}, err
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	s, err := filestore.Open(filepath.Join(dir, "replay"), filestore.Config{MaxRights: room})
	if err != nil {
		return weighed{}, err
	}
	return weighed{s, func() ([]int64, error) {
		status, err := s.Status(context.Background())
		return []int64{heap(), status.Bytes}, err
	}}, nil
}

func weighRedis(h *host) (weighed, error) {
	server := services.Redis(h, services.Durable()...)
	s, err := openRedisStore(server.Addr)
	if err != nil {
		return weighed{}, err
	}
	return weighed{s, func() ([]int64, error) {
		memory, err := infoOf(server.Redis("INFO", "memory"), "used_memory")
		return []int64{memory}, err
	}}, nil
}

// infoOf finds a number in what INFO says.
func infoOf(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("INFO has no %s", name)
}

func weighPostgres(h *host) (weighed, error) {
	dsn := services.PostgresServer(h).DSN
	if err := pgstore.Migrate(context.Background(), dsn); err != nil {
		return weighed{}, err
	}
	s, err := pgstore.Open(context.Background(), pgstore.Config{URL: dsn})
	if err != nil {
		return weighed{}, err
	}
	return weighed{s, func() ([]int64, error) {
		status, err := s.Status(context.Background())
		return []int64{status.Bytes}, err
	}}, nil
}

// sizesOf weighs records: a right, a session with a protected change, and the cut of a
// subject. There are o.live rights, and a twentieth of that of the others.
func sizesOf(o options) (out []Result, err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	fmt.Printf("\nsize: bytes for each record, %d rights, %d sessions, %d subjects\n\n", o.live, o.live/20, o.live/20)
	fmt.Println("| store | where | a right | a session | a subject |\n|---|---|---:|---:|---:|")
	for _, kind := range sizedStores {
		results, err := kind.weigh(o.live)
		if err != nil {
			return nil, fmt.Errorf("size %s: %w", kind.name, err)
		}
		out = append(out, results...)
	}
	return out, nil
}

func (kind sized) weigh(live int) (out []Result, err error) {
	_, release, err := onServer(func(h *host) string {
		s, errOpen := kind.open(h)
		if errOpen != nil {
			h.Fatal(errOpen)
		}
		h.Cleanup(func() { _ = s.store.Close() })
		if out, errOpen = kind.fill(s, live); errOpen != nil {
			h.Fatal(errOpen)
		}
		return ""
	})()
	if err == nil {
		release()
	}
	return out, err
}

// fill writes the records and tells how much each of them took.
func (kind sized) fill(s weighed, live int) ([]Result, error) {
	ctx := context.Background()
	epoch, err := s.store.Epoch(ctx)
	if err != nil {
		return nil, err
	}
	// The many last: a table that grows is charged to those who make it grow.
	steps := []struct {
		name  string
		n     int
		write func(claim) error
	}{
		{"subject", live / 20, func(c claim) error { return s.store.RevokeSubject(ctx, c.id, epoch, c.keepUntil) }},
		{"session", live / 20, func(c claim) error {
			v, err := s.store.Protect(ctx, replay.Place{Session: c.id, Version: replay.Version{Gen: 1}, KeepUntil: c.keepUntil})
			if err == nil && v != replay.Granted {
				err = fmt.Errorf("a new session is %v", v)
			}
			return err
		}},
		{"right", live, func(c claim) error {
			o, err := s.store.Claim(ctx, c.owner, replay.Right{ID: c.id, Issued: epoch, KeepUntil: c.keepUntil})
			if err == nil && o != replay.Won {
				err = errSpent
			}
			return err
		}},
	}
	var out []Result
	was, err := s.bytes()
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		if err := times256(step.n, step.write); err != nil {
			return nil, err
		}
		is, err := s.bytes()
		if err != nil {
			return nil, err
		}
		for i, place := range kind.places {
			out = append(out, Result{Group: "size", Case: step.name, System: kind.name + ", " + place, Bytes: int((is[i] - was[i]) / int64(step.n))})
		}
		was = is
	}
	n := len(kind.places)
	for i, place := range kind.places {
		fmt.Printf("| %s | %s | %d | %d | %d |\n", kind.name, place, out[2*n+i].Bytes, out[n+i].Bytes, out[i].Bytes)
	}
	return out, nil
}

// times256 writes n records by 256 callers.
func times256(n int, write func(claim) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	failures := make([]error, 256)
	var running sync.WaitGroup
	for i := range failures {
		source := newFresh()
		running.Go(func() {
			for left.Add(-1) >= 0 && failures[i] == nil {
				failures[i] = write(source.next())
			}
		})
	}
	running.Wait()
	return errors.Join(failures...)
}
