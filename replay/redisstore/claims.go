package redisstore

import (
	"context"
	"errors"
	"strings"

	"github.com/sealedblob/sealedblob/replay"
)

var errNoRights = errors.New("replay/redisstore: claim of no rights")

// claim is a claim on its way, replayed the answer to it.
type claim struct {
	args []string // owner, how many, and the rights
}

type replayed struct {
	outcome replay.Outcome
	err     error
}

// words are what the script says of a claim; the rest are refusals.
var words = map[string]replay.Outcome{"lost": replay.Lost, "mine": replay.Mine, "won": replay.Won}

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
		return replay.Lost, s.wrap(ctx, a.err)
	}
	got, err := s.claims.Do(ctx, claim{a.list})
	if err == nil {
		err = got.err
	}
	if err != nil {
		return replay.Lost, err
	}
	return got.outcome, nil
}

// carry decides on a batch of claims in one round trip.
func (s *Store) carry(batch []claim, answers []replayed) error {
	a := args{}
	a.count(s.cfg.MaxRights)
	a.count(len(batch))
	for _, c := range batch {
		a.list = append(a.list, c.args...)
	}
	got, err := s.do(context.Background(), "claim", a.list...)
	if err != nil {
		return err
	}
	text, err := got.text(0)
	said := strings.Fields(text)
	if err != nil || len(said) != len(batch) {
		return s.wrap(context.Background(), errAnswer)
	}
	for i, word := range said {
		outcome, known := words[word]
		answers[i].outcome = outcome
		if !known {
			answers[i].err = s.refusal(word)
		}
	}
	return nil
}

// refusal is the error for a word of the script.
func (s *Store) refusal(word string) error {
	if err := refusals[word]; err != nil {
		return s.wrap(context.Background(), err)
	}
	return s.wrap(context.Background(), errAnswer)
}

// Spent implements [replay.Rights].
func (s *Store) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	var a args
	a.ids(ids)
	got, err := s.do(ctx, "spent", a.list...)
	if err != nil {
		return nil, err
	}
	list, err := got.numbers(0, 1)
	if err != nil || len(list) != len(ids) {
		return nil, s.wrap(ctx, errAnswer)
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
