package replaytest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// raise raises the floors of what was granted, whatever the room.
func raise(b *backend, acks []replay.Place, verdicts []replay.Verdict) {
	for i, v := range verdicts {
		if v == replay.Granted {
			b.edit(acks[i].Session, func(s *replay.State) { s.Floor = max(s.Floor, acks[i].Version.Gen) })
		}
	}
}

var ackFaults = []fault{
	{"floor lowered", []string{cLowers, cMany, cWalk}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if v == replay.Granted {
				b.edit(acks[i].Session, func(s *replay.State) { s.Floor = acks[i].Version.Gen })
			}
		}
		return verdicts, err
	})},
	{"floor of any fence", []string{cFenced, cWalk}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for _, a := range acks {
				a.Version.Fence = b.state(a.Session).State.Fence
				f.Store.Acknowledge(ctx, a)
			}
			return verdicts, err
		}
	}},
	{"only the first is acknowledged", []string{cMany, cWalk}, func(f *faulty, _ *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks[:min(1, len(acks))]...)
			for len(verdicts) < len(acks) {
				v, _ := f.Store.Acknowledge(ctx, replay.Place{
					Session: acks[len(verdicts)].Session, Version: replay.Version{Fence: acks[len(verdicts)].Version.Fence}, KeepUntil: acks[len(verdicts)].KeepUntil,
				})
				verdicts = append(verdicts, v...)
			}
			return verdicts, err
		}
	}},
	{"always granted", []string{cFenced, cRevoked, cMany, cReach, cReserve, "revoke/refuses everything", "instances/two on one backend agree", cWalk},
		onVerdict(func(*backend, replay.Place, replay.Verdict) replay.Verdict { return replay.Granted })},
	{"a logout is told as a move", []string{cRevoked, cMany, "revoke/refuses everything", "instances/two on one backend agree", cWalk}, onVerdict(func(_ *backend, _ replay.Place, v replay.Verdict) replay.Verdict {
		if v == replay.Revoked {
			v = replay.Superseded
		}
		return v
	})},
	{"a logout is told under its fence only", []string{cRevoked, "revoke/refuses everything", cWalk}, onVerdict(func(b *backend, a replay.Place, v replay.Verdict) replay.Verdict {
		if v == replay.Revoked && b.state(a.Session).State.Fence != a.Version.Fence {
			v = replay.Superseded
		}
		return v
	})},
	{"below the floor is superseded", []string{cLowers, cMany, cWalk}, onVerdict(func(b *backend, a replay.Place, v replay.Verdict) replay.Verdict {
		if v == replay.Granted && a.Version.Gen < b.state(a.Session).State.Floor {
			v = replay.Superseded
		}
		return v
	})},
	{"only what is raised is granted", []string{cLowers, cAsks, cNoRecord, cWalk}, onVerdict(func(_ *backend, a replay.Place, v replay.Verdict) replay.Verdict {
		if a.Version.Gen == 0 {
			v = replay.Refused
		}
		return v
	})},
	{"verdicts out of order", []string{cMany, cWalk}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		slices.Reverse(verdicts)
		return verdicts, err
	})},
	{"one verdict for each session", []string{cMany, cWalk}, onAcknowledged(func(_ *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		var once []replay.Verdict
		for i, v := range verdicts {
			if !slices.ContainsFunc(acks[:i], func(a replay.Place) bool { return a.Session == acks[i].Session }) {
				once = append(once, v)
			}
		}
		return once, err
	})},
	{"generation 0 counts as an acknowledgement", []string{cAsks, cWalk}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if v == replay.Granted && acks[i].Version.Gen == 0 {
				b.edit(acks[i].Session, func(s *replay.State) { s.Floor = max(s.Floor, 1) })
			}
		}
		return verdicts, err
	})},
	{"generation 0 makes a record", []string{cNoRecord}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		raise(b, acks, verdicts)
		return verdicts, err
	})},
	{"what is refused makes a record", []string{cNoRecord}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if v == replay.Superseded {
				b.edit(acks[i].Session, func(*replay.State) {})
			}
		}
		return verdicts, err
	})},
	{"out of reach is an error", []string{cReach}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if slices.Contains(verdicts, replay.Refused) {
			return nil, replay.ErrBeyondHorizon
		}
		return verdicts, err
	})},
	{"out of reach is raised", []string{cReach}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for i, v := range verdicts {
				if a := acks[i]; v == replay.Refused {
					a.KeepUntil = b.now().Add(time.Hour)
					f.Store.Acknowledge(ctx, a)
				}
			}
			return verdicts, err
		}
	}},
	{"out of reach reads as absent", []string{cReach, cBack}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			late := slices.Clone(acks)
			for i := range late {
				late[i].KeepUntil = b.now().Add(time.Hour)
			}
			return f.Store.Acknowledge(ctx, late...)
		}
	}},
	{"no reserve", []string{cReserve}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if errors.Is(err, replay.ErrFull) {
			raise(b, acks, verdicts)
			err = nil
		}
		return verdicts, err
	})},
	{"the reserve is taken in silence", []string{cReserve}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if errors.Is(err, replay.ErrFull) {
			raise(b, acks, verdicts)
		}
		return verdicts, err
	})},
	{"a floor is lost in silence", []string{cReserve}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if errors.Is(err, replay.ErrFull) {
			err = nil
		}
		return verdicts, err
	})},
	{"full says nothing of the sessions", []string{cReserve, "bounds/full of sessions refuses and evicts nothing"}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if err != nil {
			verdicts = nil
		}
		return verdicts, err
	})},
	{"full refuses those it cannot raise", []string{cReserve, "bounds/full of sessions refuses and evicts nothing"}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if err != nil && v == replay.Granted && b.state(acks[i].Session).State.Floor < acks[i].Version.Gen {
				verdicts[i] = replay.Refused
			}
		}
		return verdicts, err
	})},
	{"full raises nothing at all", []string{cReserve, "bounds/full of sessions refuses and evicts nothing"}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			var before []uint64
			for _, a := range acks {
				before = append(before, b.state(a.Session).State.Floor)
			}
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for i, v := range verdicts {
				if errors.Is(err, replay.ErrFull) && v == replay.Granted {
					b.edit(acks[i].Session, func(s *replay.State) { s.Floor = before[i] })
				}
			}
			return verdicts, err
		}
	}},
	{"grants sessions beside an error", []string{cClosed, cBroken, "failure/cancelled context"}, onAcknowledged(func(_ *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for len(verdicts) < len(acks) {
			verdicts = append(verdicts, replay.Granted)
		}
		return verdicts, err
	})},
}
