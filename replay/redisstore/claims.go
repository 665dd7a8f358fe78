package redisstore

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/replay"
)

var errNoRights = errors.New("replay/redisstore: claim of no rights")

// outcomeOf is what the script says of a claim.
func outcomeOf(word string) (replay.Outcome, error) {
	switch word {
	case "lost":
		return replay.Lost, nil
	case "mine":
		return replay.Mine, nil
	case "won":
		return replay.Won, nil
	}
	if err := refusals[word]; err != nil {
		return replay.Lost, err
	}
	return replay.Lost, errAnswer
}

// Claim implements [replay.Rights].
func (s *Store) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if err := s.usable(ctx, true); err != nil {
		return replay.Lost, err
	}
	if len(rights) == 0 {
		return replay.Lost, errNoRights
	}
	packed, err := pack(owner, rights)
	if err != nil {
		return replay.Lost, s.wrap(err)
	}
	got, err := s.do(ctx, question{operation: "claim", packed: packed})
	return got.outcome, err
}

// pack makes one argument of a claim, since each costs server and client: owner, then of each right its
// ID, issued in 8 bytes, and keep in decimal behind its length.
func pack(owner replay.Owner, rights []replay.Right) (string, error) {
	b := make([]byte, 0, len(owner)+40*len(rights))
	b = append(b, owner[:]...)
	for _, r := range rights {
		issued, keep := r.Issued.Unix(), keepSecond(r.KeepUntil)
		if !countable(issued) || !countable(keep) {
			return "", errNumber
		}
		b = append(b, r.ID[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(issued))
		at := len(b)
		b = strconv.AppendInt(append(b, 0), keep, 10)
		b[at] = byte(len(b) - at - 1)
	}
	return rueidis.BinaryString(b), nil
}

// Spent implements [replay.Rights].
func (s *Store) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	var a args
	a.ids(ids)
	got, err := s.do(ctx, question{operation: "spent", args: a.list})
	if err != nil {
		return nil, err
	}
	list, err := got.numbers(0, 1)
	if err != nil || len(list) != len(ids) {
		return nil, s.wrap(errAnswer)
	}
	return bools(list), nil
}

func bools(list []int64) []bool {
	out := make([]bool, len(list))
	for i, n := range list {
		out[i] = n == 1
	}
	return out
}
