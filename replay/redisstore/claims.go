package redisstore

import (
	"context"
	"errors"

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
	a := args{list: make([]string, 0, 2+3*len(rights))}
	a.text(string(owner[:]))
	a.count(len(rights))
	for _, r := range rights {
		a.right(r)
	}
	if a.err != nil {
		return replay.Lost, s.wrap(a.err)
	}
	got, err := s.do(ctx, question{"claim", a.list})
	return got.outcome, err
}

// Spent implements [replay.Rights].
func (s *Store) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	var a args
	a.ids(ids)
	got, err := s.do(ctx, question{"spent", a.list})
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
