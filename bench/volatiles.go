package main

import (
	"sync"

	"github.com/maypok86/otter/v2"

	"github.com/sealedblob/sealedblob/replay"
)

// volatiles are stores in the memory of one process.
var volatiles = []maker{
	{"memory", func(string) (claimer, error) { return ofStore(replay.NewMemory(replay.MemoryConfig{MaxRights: room})) }},
	{"sync.Map", openSyncMap},
	{"otter", openOtter},
}

// kept is what a peer in memory keeps of a claim.
type kept struct {
	owner [16]byte
	until int64
}

func keptOf(c claim) kept { return kept{c.owner, c.keepUntil.Unix()} }

// openSyncMap never forgets.
func openSyncMap(string) (claimer, error) {
	var all sync.Map
	return claimer{
		claim: func(c claim) (bool, error) {
			_, spent := all.LoadOrStore(c.id, keptOf(c))
			return !spent, nil
		},
		close: func() error { return nil },
	}, nil
}

// openOtter has no bound: a cache that evicts lets a right be spent again.
func openOtter(string) (claimer, error) {
	all, err := otter.New(&otter.Options[[16]byte, kept]{ExpiryCalculator: otter.ExpiryCreating[[16]byte, kept](keep)})
	if err != nil {
		return claimer{}, err
	}
	return claimer{
		claim: func(c claim) (bool, error) {
			_, won := all.SetIfAbsent(c.id, keptOf(c))
			return won, nil
		},
		close: func() error { all.StopAllGoroutines(); return nil },
	}, nil
}
