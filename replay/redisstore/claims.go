package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/replay"
)

var errNoRights = fmt.Errorf("%w: claim of no rights", replay.ErrArgument)

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
	q, err := s.claim(owner, rights)
	if err != nil {
		return replay.Lost, s.wrap(err)
	}
	got, err := s.do(ctx, q)
	return got.outcome, err
}

func (s *Store) claim(owner replay.Owner, rights []replay.Right) (q question, err error) {
	q.operation = "claim"
	if len(rights) == 1 && owner != (replay.Owner{}) {
		q.single, err = s.single(owner, rights[0])
		return q, err
	}
	q.packed, err = pack(owner, rights)
	return q, err
}

// single is a claim of one right. In most of them Redis has nothing to look at but that the key is new.
type single struct {
	key, record  string // record is the owner, then keep in decimal
	issued, keep int64
}

func (s *Store) single(owner replay.Owner, r replay.Right) (single, error) {
	issued, keep := r.Issued.Unix(), keepSecond(r.KeepUntil)
	if !countable(issued) || !countable(keep) {
		return single{}, errNumber
	}
	b := append(append(make([]byte, 0, 96), s.rights...), r.ID[:]...)
	n := len(b)
	text := rueidis.BinaryString(strconv.AppendInt(append(b, owner[:]...), keep, 10))
	return single{text[:n], text[n:], issued, keep}, nil
}

func (c single) id() string { return c.key[len(c.key)-len(replay.ID{}):] }

func (c single) owner() string { return c.record[:len(replay.Owner{})] }

// packed is the form of any other claim.
func (c single) packed() string {
	return rueidis.BinaryString(appendRight([]byte(c.owner()), c.id(), c.issued, c.keep))
}

// pack makes one argument of a claim: owner, then of each right its ID, issued in 8 bytes, and keep in decimal
// behind its length.
func pack(owner replay.Owner, rights []replay.Right) (string, error) {
	b := make([]byte, 0, len(owner)+40*len(rights))
	b = append(b, owner[:]...)
	for _, r := range rights {
		issued, keep := r.Issued.Unix(), keepSecond(r.KeepUntil)
		if !countable(issued) || !countable(keep) {
			return "", errNumber
		}
		b = appendRight(b, string(r.ID[:]), issued, keep)
	}
	return rueidis.BinaryString(b), nil
}

func appendRight(b []byte, id string, issued, keep int64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, id...), uint64(issued))
	at := len(b)
	b = strconv.AppendInt(append(b, 0), keep, 10)
	b[at] = byte(len(b) - at - 1)
	return b
}

// sheet gathers claims of one right each. The server decides on all of them as on one: by the earliest and
// the latest issued, the earliest keep, and that no key is there. It would not see that one is named twice.
type sheet struct {
	places                 []int
	seen                   map[string]bool
	pairs                  []string // key and record
	issued                 []byte   // 8 bytes each
	due                    map[int64][]byte
	earliest, latest, keep int64
}

func newSheet(size int) *sheet {
	return &sheet{
		seen: make(map[string]bool, size), pairs: make([]string, 0, 2*size), due: make(map[int64][]byte),
		earliest: maxNumber, latest: -maxNumber, keep: maxNumber,
	}
}

// add is false, and adds nothing, where the right is on the sheet already.
func (f *sheet) add(place int, c single) bool {
	if f.seen[c.key] {
		return false
	}
	f.seen[c.key] = true
	f.places = append(f.places, place)
	f.pairs = append(f.pairs, c.key, c.record)
	f.issued = binary.BigEndian.AppendUint64(f.issued, uint64(c.issued))
	f.due[c.keep] = append(f.due[c.keep], c.id()...)
	f.earliest, f.latest, f.keep = min(f.earliest, c.issued), max(f.latest, c.issued), min(f.keep, c.keep)
	return true
}

// args are those of the script, from the number of claims to what is due.
func (f *sheet) args(a *args) {
	a.count(len(f.places))
	a.unix(f.earliest)
	a.unix(f.latest)
	a.unix(f.keep)
	a.text(rueidis.BinaryString(f.issued))
	a.list = append(a.list, f.pairs...)
	a.count(len(f.due))
	for second, ids := range f.due {
		a.unix(second)
		a.text(rueidis.BinaryString(ids))
	}
}

// claims makes one call of all claims of a batch, which are at these places.
func (s *Store) claims(batch []question, places []int) call {
	singles := newSheet(len(places))
	var others []int
	var packed []string
	for _, i := range places {
		switch q := batch[i]; {
		case q.packed != "":
			others, packed = append(others, i), append(packed, q.packed)
		case !singles.add(i, q.single):
			others, packed = append(others, i), append(packed, q.single.packed())
		}
	}
	a := args{list: make([]string, 0, 9+2*len(places))}
	a.count(s.cfg.MaxRights)
	singles.args(&a)
	a.list = append(a.list, packed...)
	return call{
		question: question{operation: "claim", args: a.list},
		places:   append(singles.places, others...), singles: len(singles.places),
	}
}

// tell gives each claim its outcome.
func (c call) tell(r reply, replies []reply) {
	first, errFirst := r.text(0)
	rest, errRest := r.text(1)
	words := strings.Fields(first)
	if first == "won" { // all of them
		words = slices.Repeat(words, c.singles)
	}
	words = append(words, strings.Fields(rest)...)
	for n, i := range c.places {
		if errFirst != nil || errRest != nil || len(words) != len(c.places) {
			replies[i].err = errAnswer
			continue
		}
		replies[i].outcome, replies[i].err = outcomeOf(words[n])
	}
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
