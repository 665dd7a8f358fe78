package filestore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
)

// Whatever the log is, Open either refuses it and leaves it alone, or the store
// works and says the same when it is opened again.
func FuzzLog(f *testing.F) {
	p := newSample(f, 3)
	f.Add(p.log, uint16(0), []byte{})
	f.Add(p.log, uint16(5), []byte("SBgr"))
	f.Add(p.log[:p.last()+7], uint16(0), make([]byte, 600))
	f.Add([]byte{}, uint16(0), []byte{})
	f.Fuzz(func(t *testing.T, log []byte, at uint16, patch []byte) {
		log = bytes.Clone(log)
		if int(at) < len(log) {
			copy(log[at:], patch)
		}
		dir := folder(t)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(dir+"/"+logName, log, 0o600))
		s, err := open(dir, Config{}, quick())
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || !bytes.Equal(files(t, dir)[logName], log) {
				t.Fatalf("Open = %v, want ErrCorrupt and the log unchanged", err)
			}
			return
		}
		defer s.Close()
		epoch, err := s.Epoch(context.Background())
		must(t, err)
		r := newRight()
		r.Issued, r.KeepUntil = epoch, epoch.AddDate(1, 0, 0)
		before, err := s.Spent(context.Background(), p.late[0].ID)
		must(t, err)
		s.Claim(context.Background(), newOwner(), r)
		again := mustOpen(t, dir, Config{}, quick())
		after, err := again.Spent(context.Background(), p.late[0].ID)
		must(t, err)
		if before[0] != after[0] {
			t.Fatalf("Spent = %v, then %v", before[0], after[0])
		}
	})
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
