package filestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// chained are a segment that has ended and the one behind it, with groups in both, and
// what was spent in each.
func chained(f *testing.F) (first, second []byte, ids []replay.ID) {
	dir, ending := folder(f), quick()
	ending.minLog = headerSize + 100 // two claims, and then the segment ends
	for _, h := range []hooks{ending, quick()} {
		s := mustOpen(f, dir, Config{}, h)
		for range 2 {
			r := rightOf(f, s)
			ids = append(ids, r.ID)
			claim(f, s, newOwner(), replay.Won, r)
		}
		must(f, s.Close())
	}
	all := logs(f, dir)
	if len(all) != 2 {
		f.Fatalf("%d segments, want 2", len(all))
	}
	first, err := os.ReadFile(all[0])
	must(f, err)
	return first, read(f, dir), ids
}

// What a change of the log's bytes is followed by, so that it gets behind the checksums.
const (
	unvouched = iota
	vouched   // checksums are made to fit what is there
	rechained // so are the chains
)

// vouch does so to a segment, if the one before it ends in chain, and returns the end
// of this one.
func vouch(b []byte, how byte, chain uint32) uint32 {
	if how == unvouched || len(b) < headerSize {
		return chain
	}
	if how >= rechained {
		binary.BigEndian.PutUint32(b[headerSize-8:], chain)
	}
	binary.BigEndian.PutUint32(b[headerSize-4:], checksum(b[:headerSize-4]))
	h, err := decodeHeader(b[:headerSize])
	if err != nil {
		return chain
	}
	for off := headerSize; off+frameSize+trailerSize <= len(b); {
		size := frameSize + int(binary.BigEndian.Uint32(b[off+4:])) + trailerSize
		if size > len(b)-off {
			break
		}
		if how < rechained {
			chain = frameChain(b[off:])
		}
		group := h.frame(bytes.Clone(b[off:off+size-trailerSize]), int64(off), chain)
		chain = frameSum(group)
		off += copy(b[off:], group)
	}
	return chain
}

// Whatever the log is, Open either refuses it and leaves it alone, or the store
// works and says the same when it is opened again. The log is a segment, and perhaps
// one behind it; patch stands in the two at at, and how says what follows that.
func FuzzLog(f *testing.F) {
	p := newSample(f, 3)
	first, second, ids := chained(f)
	_, foreign, _ := chained(f)
	end := len(first) - trailerSize - endSize
	for _, seed := range []struct {
		first, second []byte
		at            int
		patch         string
		how           byte
	}{
		{p.log, nil, 0, "", unvouched},
		{p.log, nil, 5, "SBgr", unvouched},
		{p.log[:p.last()+7], nil, 0, string(make([]byte, 600)), unvouched},
		{nil, nil, 0, "", unvouched},
		{first, second, 0, "", unvouched},
		{first, second, 0, "", rechained},
		{first, second[:headerSize], 0, "", unvouched},                                     // made, and not used yet
		{first, nil, 0, "", unvouched},                                                     // what should follow is missing
		{first, foreign, 0, "", rechained},                                                 // another store's
		{first[:headerSize], second, 0, "", rechained},                                     // the first has no end
		{first, second, len(first) + headerSize - 8, "\x00\x00", vouched},                  // the second follows another past
		{first, second, len(first) + headerSize + 12, "\x00\x00", vouched},                 // so does its first group
		{first, second, 11, "\x01", vouched},                                               // an older version
		{first, second, len(first) + 19, "\x07", rechained},                                // another number
		{first, second, end, "P", rechained},                                               // no end, and a record cut off
		{first, second, len(first) + headerSize + frameSize, "E", rechained},               // an end in the middle
		{first, second, headerSize + frameSize, "N\x01\x02\x03", rechained},                // a record of another size
		{first, second, headerSize + frameSize + 33, strings.Repeat("\xff", 8), rechained}, // a right kept until -1
	} {
		f.Add(seed.first, seed.second, uint16(seed.at), []byte(seed.patch), seed.how)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, at uint16, patch []byte, how byte) {
		log := append(bytes.Clone(first), second...)
		if int(at) < len(log) {
			copy(log[at:], patch)
		}
		parts := [][]byte{log[:len(first)], log[len(first):]}
		vouch(parts[1], how, vouch(parts[0], how, 0))
		dir := folder(t)
		must(t, os.Mkdir(dir, 0o700))
		for n, part := range parts {
			if n == 0 || len(part) > 0 {
				must(t, os.WriteFile(filepath.Join(dir, segmentName(uint64(n+1))), part, 0o600))
			}
		}
		before := files(t, dir)
		s, err := open(dir, Config{}, quick())
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrRestored) || !maps.EqualFunc(files(t, dir), before, bytes.Equal) {
				t.Fatalf("Open = %v, want a refusal and the log unchanged", err)
			}
			return
		}
		defer s.Close()
		goesOn(t, s, dir, append(ids, p.late[0].ID))
	})
}

// goesOn looks whether a store that was opened takes a claim, and knows when it is
// opened again what it knew, unless its horizon says that it forgot.
func goesOn(t *testing.T, s *Store, dir string, ids []replay.ID) {
	before, known := recalls(t, s, ids)
	s.Claim(t.Context(), newOwner(), rightOf(t, s))
	after, horizon := recalls(t, mustOpen(t, dir, Config{}, quick()), ids)
	if horizon.Equal(known) && !slices.Equal(before, after) {
		t.Fatalf("Spent = %v, then %v", before, after)
	}
}

func recalls(t *testing.T, s *Store, ids []replay.ID) (spent []bool, horizon time.Time) {
	spent, err := s.Spent(t.Context(), ids...)
	must(t, err)
	status, err := s.Status(t.Context())
	must(t, err)
	return spent, status.Horizon
}

// rightOf is one that s must accept.
func rightOf(t testing.TB, s *Store) replay.Right {
	epoch, err := s.Epoch(context.Background())
	must(t, err)
	return replay.Right{ID: newID(), Issued: epoch, KeepUntil: epoch.AddDate(1, 0, 0)}
}

// A group reads back as what was written.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("R"))
	f.Add(appendRecord(nil, replay.Change{Kind: replay.SessionRecord}))
	f.Add(appendRecord(nil, replay.Change{Kind: replay.SessionRecord, State: replay.State{Revoked: true, Next: replay.ID{1}}}))
	f.Add(appendRecord(nil, replay.Change{Kind: replay.SubjectRecord}))
	f.Add([]byte("N" + string(make([]byte, renewedSize-1)))) // no successor
	f.Add(appendBegin(nil, position{3, 70}, noHorizon))
	f.Add(append(appendEpoch(nil, 1), 'E'))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := eachRecord(b, func(r *record) {
			switch r.kind {
			case 'B':
				again = appendBegin(again, r.begin, r.horizon)
			case 'P':
				again = appendEpoch(again, r.epoch)
			case 'E':
				again = append(again, 'E')
			default:
				again = appendRecord(again, r.Change)
			}
		})
		if err != nil {
			return
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("decoded and encoded: %x, want %x", again, b)
		}
	})
}
