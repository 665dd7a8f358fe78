package redisstore

import (
	"fmt"
	"strconv"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// maxNumber bounds what the script counts with: beyond 2^53 its numbers are not
// exact. One less, since a restore adds to a fence.
const maxNumber = 1<<53 - 2

var errNumber = fmt.Errorf("%w: number or time beyond 2^53", replay.ErrArgument)

// args are what the script gets, in order.
type args struct {
	list []string
	err  error
}

func (a *args) text(s string) { a.list = append(a.list, s) }

func (a *args) flag(b bool) { a.text(flag(b)) }

func (a *args) count(n int) { a.text(strconv.Itoa(n)) }

func (a *args) number(n uint64) {
	if n > maxNumber {
		a.err = errNumber
	}
	a.text(strconv.FormatUint(n, 10))
}

// second is t in Unix seconds.
func (a *args) second(t time.Time) { a.unix(t.Unix()) }

// keep is t in Unix seconds, rounded up: a record is kept at least until t.
func (a *args) keep(t time.Time) { a.unix(keepSecond(t)) }

func keepSecond(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

func (a *args) unix(sec int64) {
	if !countable(sec) {
		a.err = errNumber
	}
	a.text(itoa(sec))
}

func countable(sec int64) bool { return -maxNumber <= sec && sec <= maxNumber }

func (a *args) right(r replay.Right) {
	a.text(string(r.ID[:]))
	a.second(r.Issued)
	a.keep(r.KeepUntil)
}

// login has an empty subject for nobody.
func (a *args) login(l replay.Login) {
	if l.Subject == (replay.ID{}) {
		a.text("")
		a.text("0")
		return
	}
	a.text(string(l.Subject[:]))
	a.second(l.Since)
}

func (a *args) place(p replay.Place) {
	a.text(string(p.Session[:]))
	a.number(p.Version.Fence)
	a.number(p.Version.Gen)
	a.keep(p.KeepUntil)
	a.login(p.Login)
}

func (a *args) ids(ids []replay.ID) {
	a.count(len(ids))
	for _, id := range ids {
		a.text(string(id[:]))
	}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
