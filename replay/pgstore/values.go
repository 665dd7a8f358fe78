package pgstore

import (
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sealedblob/sealedblob/replay"
)

// The answers of sql/0002_rights.sql and 0003_sessions.sql. Up to answerWon, and
// for verdicts altogether, the numbers are those of package replay.
const (
	answerWon     = int16(replay.Won)
	answerEpoch   = 3
	answerHorizon = 4
	answerAlone   = 5 // ask again alone
	answerFar     = 6
	answerNoOwner = 7
	answerAhead   = 8
)

// noHorizon is the horizon of a memory that purged nothing.
const noHorizon = math.MinInt64

func uuid[T ~[16]byte](id T) pgtype.UUID { return pgtype.UUID{Bytes: [16]byte(id), Valid: true} }

// ceil is t in Unix seconds, rounded up: a record is kept at least until t.
func ceil(t time.Time) int64 {
	sec := t.Unix()
	if t.Nanosecond() > 0 {
		sec++
	}
	return sec
}

// login is subject and since, or null for nobody.
func login(l replay.Login) (pgtype.UUID, pgtype.Int8) {
	if l.Subject == (replay.ID{}) {
		return pgtype.UUID{}, pgtype.Int8{}
	}
	return uuid(l.Subject), pgtype.Int8{Int64: l.Since.Unix(), Valid: true}
}

// fits says whether numbers fit into the tables' 63 bits, with one to add.
func fits(numbers ...uint64) bool {
	for _, n := range numbers {
		if n >= math.MaxInt64 {
			return false
		}
	}
	return true
}

func verdictOf(n int16) (replay.Verdict, error) {
	if n < 0 || n > int16(replay.Granted) {
		return replay.Refused, errAnswer
	}
	return replay.Verdict(n), nil
}

func outcomeOf(n int16) (replay.Outcome, error) {
	if n < 0 || n > answerWon {
		return replay.Lost, refusal(n)
	}
	return replay.Outcome(n), nil
}

// listed are rights as the columns of a statement.
type listed struct {
	ids          []pgtype.UUID
	issued, keep []int64
}

func (l *listed) add(r replay.Right) {
	l.ids = append(l.ids, uuid(r.ID))
	l.issued = append(l.issued, r.Issued.Unix())
	l.keep = append(l.keep, ceil(r.KeepUntil))
}
