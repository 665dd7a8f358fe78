package session_test

import (
	"fmt"
	"maps"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// The oracle says what the owner of a session may expect. It knows no fence, no
// watermark and no record: it knows that a session is in one place at a time, what
// was in each set that was given away, and which promises were made since.

// trait is what the oracle must know of an attribute's rule.
type trait struct {
	ttl, idle time.Duration // zero: none
	once      bool
	burns     bool // spent when it is restored
	local     bool // never leaves the node
	protected bool
}

const (
	idleLimit     = 30*time.Minute + 30*time.Second
	absoluteLimit = 3*time.Hour + 30*time.Second
)

var traits = map[string]trait{
	"cart": {}, "login": {ttl: 5*time.Minute + 30*time.Second}, "note": {idle: 10*time.Minute + 30*time.Second},
	"role": {protected: true}, "here": {local: true},
	"ticket": {ttl: 20*time.Minute + 30*time.Second, once: true}, "voucher": {ttl: 20*time.Minute + 30*time.Second, once: true, burns: true},
}

// value is what was set once; no two have the same number.
type value struct {
	number  int
	taker   *replay.Owner // for whom the store noted it, as a right
	effects int           // Takes that succeeded
	burner  *replay.Owner // the attempt whose restore spent it
	void    bool          // deleted or replaced: a right that must not come back
	given   bool          // it is in a set
}

// kept is a value in one place: surely there before until, surely not from gone on.
type kept struct {
	*value
	until, gone time.Time
	burnt       bool // it came by a restore that spent it
}

// String leaves out where it is in memory.
func (k kept) String() string {
	if k.value == nil {
		return "nothing"
	}
	return fmt.Sprintf("%d, there until %s, used %d times, taken %t, burnt %t, void %t", k.number, k.until.Format(time.TimeOnly), k.effects, k.taker != nil, k.burner != nil, k.void)
}

// unsure is a right whose Take got no answer.
type unsure struct {
	kept
	owner replay.Owner
}

// life is one session ID.
type life struct {
	id       seal.ID
	former   *life // in whose place a renewal put this one; nil: none
	subject  string
	absolute time.Time
	ended    bool    // logged out, renewed, or its login was ended
	at       *branch // the one place from where it may go on
	role     *value  // the newest protected change that was answered; nil: deleted
}

// was says that the session had the other ID, or has it.
func (l *life) was(other *life) bool {
	for ; l != nil; l = l.former {
		if l == other {
			return true
		}
	}
	return false
}

// branch is a session as one node has it. A restore elsewhere begins another.
type branch struct {
	life      *life
	node      int
	s         *session.Session // nil: the node died before it answered
	gone      bool
	content   map[string]kept
	unsure    map[string]unsure // rights whose Take got no answer
	used      time.Time
	left      time.Time // when its last client said so
	base      uint64    // the generation that it began from
	sets      map[uint64]*sealedSet
	protected uint64 // the first set with the newest protected change; zero: none
	floorSure uint64 // sets before it were acknowledged away
	floorMay  uint64 // sets before it may have been: they hold the same
	from      *sealedSet
	attempt   replay.Owner
	behind    bool // from was older than a protected change
}

// sealedSet is what was given to a client: the same content for good.
type sealedSet struct {
	by       *branch
	version  session.Version
	content  map[string]kept
	sealed   time.Time
	manifest string // empty: nobody was given it
	blobs    map[string]string
	attempt  replay.Owner // with which it was last presented
}

// doomed says that nothing that counts may happen to b any more.
func (b *branch) doomed() bool { return b.life.ended || b.life.at != b }

// over says that nobody used the session for too long, or that its time is up.
func (b *branch) over(now time.Time) bool {
	return !now.Before(b.used.Add(idleLimit)) || !now.Before(b.life.absolute)
}

// forecast is what the oracle says of a question.
type forecast int

const (
	no forecast = iota
	either
	yes
)

// has says whether the attribute is there.
func (b *branch) has(name string, now time.Time) forecast {
	k, set := b.content[name]
	switch {
	case !set || !now.Before(k.gone):
		return no
	case now.Before(k.until):
		return yes
	}
	return either
}

// put sets an attribute.
func (b *branch) put(name string, v *value, now time.Time) {
	end := b.life.absolute
	if ttl := traits[name].ttl; ttl > 0 && now.Add(ttl).Before(end) {
		end = now.Add(ttl)
	}
	b.content[name] = kept{value: v, until: end, gone: end}
	b.use(name, now)
}

// use moves an idle end, which a node does in steps of a quarter.
func (b *branch) use(name string, now time.Time) {
	if idle := traits[name].idle; idle > 0 {
		k := b.content[name]
		k.until, k.gone = now.Add(idle-idle/4), now.Add(idle+time.Second)
		b.content[name] = k
	}
}

// drop removes an attribute; a right must not come back.
func (b *branch) drop(name string) {
	if k, set := b.content[name]; set && traits[name].once {
		k.void = true
	}
	delete(b.content, name)
}

// protect notes a protected change: it is in the next set.
func (b *branch) protect() { b.protected = b.s.Version().Gen + 1 }

// note remembers what is in the set of this version.
func (b *branch) note(v session.Version, now time.Time) *sealedSet {
	if q := b.sets[v.Gen]; q != nil {
		return q
	}
	q := &sealedSet{by: b, version: v, content: map[string]kept{}, sealed: now}
	for name, k := range b.content {
		if !traits[name].local && !k.burnt {
			q.content[name], k.given = k, true
		}
	}
	b.sets[v.Gen] = q
	return q
}

// told notes that the store hears that every client holds set gen. Older sets are
// of no use then, but for those with the same content.
func (b *branch) told(gen uint64) {
	q := b.sets[gen]
	if q == nil || b.doomed() {
		return
	}
	b.floorMay = max(b.floorMay, gen)
	for older := b.sets[gen-1]; older != nil && sameContent(older, q); older = b.sets[gen-1] {
		gen--
	}
	b.floorSure = max(b.floorSure, gen)
}

func sameContent(a, b *sealedSet) bool {
	return maps.EqualFunc(a.content, b.content, func(x, y kept) bool { return x.value == y.value })
}

// restores says whether q may be restored by attempt, and whether that is behind a
// protected change. Strict: the policy refuses what is.
func (q *sealedSet) restores(attempt replay.Owner, now time.Time, strict bool) (a forecast, behind bool) {
	l := q.by.life
	behind = q.version.Gen < q.by.protected
	switch at := l.at; {
	case l.ended || q.over(now) || attempt == (replay.Owner{}):
		return no, false
	case at.from == q && at.attempt == attempt && at.floorMay == 0 && at.protected == 0:
		behind = at.behind // the same try again, of which nothing came yet
	case at != q.by || q.version.Gen < q.by.floorSure:
		return no, false
	case q.version.Gen < q.by.floorMay:
		a = either
	}
	if behind && strict {
		return no, true
	}
	if a != either {
		a = yes
	}
	return a, behind
}

// over says that the set's own time is up.
func (q *sealedSet) over(now time.Time) bool {
	return !now.Before(q.sealed.Add(idleLimit)) || !now.Before(q.by.life.absolute)
}

// restored begins the branch of a restore that was granted: all of the set, but
// for what is spent, expired or withheld.
func (q *sealedSet) restored(node int, s *session.Session, attempt replay.Owner, behind bool, now time.Time) *branch {
	b := &branch{
		life: q.by.life, node: node, s: s, gone: s == nil, content: map[string]kept{}, unsure: map[string]unsure{},
		used: now, base: q.version.Gen, sets: map[uint64]*sealedSet{}, from: q, attempt: attempt, behind: behind,
	}
	for name, k := range q.content {
		rule := traits[name]
		spent := k.taker != nil || k.void || k.burner != nil && *k.burner != attempt
		if rule.once && spent || rule.protected && behind || !now.Before(k.gone) {
			continue
		}
		if rule.burns {
			k.burner, k.burnt = &attempt, true
		}
		b.content[name] = k
	}
	b.life.at = b
	return b
}
