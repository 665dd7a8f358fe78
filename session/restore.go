package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// MaxHandshake bounds the text of a whole presented set, in bytes.
const MaxHandshake = 256 << 10

// Presented is a set that a client hands back.
type Presented struct {
	// Holder is from the session cookie of the same request.
	Holder Holder
	// Attempt is the client's own token for this episode: a repetition with
	// the same token and set learns the outcome of the first try. The zero one is
	// malformed.
	Attempt  replay.Owner
	Manifest string
	Blobs    map[string]string // envelope by slot
	// Proof is of the key that the manifest names; see [Prove]. Where it names
	// none it plays no part.
	Proof string
}

// Restored is the outcome of a [Manager.Restore] that was not refused.
type Restored struct {
	Session *Session
	// Joined says that nothing was restored because the session lives on this
	// node, at the presented fence or a later one, as far as the store can tell.
	Joined bool
	// Dropped are the presented slots that the session goes on without.
	Dropped []Dropped
}

// Dropped is an attribute that could not be restored, by its rule alone.
type Dropped struct {
	Slot, Name string
	Reason     error // policy.ErrExpired, policy.ErrNotAllowed (rolled back), policy.ErrStoreDown or replay.ErrReplayed
}

// Restore verifies a presented set and brings its session to life on this node.
//
// The order of checks is fixed (docs/SPEC.md §7): sizes, shape, key,
// authenticity and claims of the manifest and of every envelope; session,
// holder and key; policy; exact agreement of set and manifest; and last, in one round
// trip to the store, revocation, fence, floor and watermark. Nothing is
// restored before the last of them, and a refused set changes nothing
// anywhere. The next [Session.Save] seals everything anew, for this node and
// under the new fence; until then there is nothing to push.
//
// Errors wrap the reason: seal.ErrMalformed, seal.ErrUnknownKey, seal.ErrAuth,
// policy's errors, [ErrIncomplete], [ErrSuperseded], [ErrRolledBack],
// [ErrRevoked], replay.ErrBeforeEpoch or replay.ErrBeyondHorizon. Any other
// error means that we could not tell: present the same set with the same
// Attempt again, after [ErrProofRequired] with a proof. [Outward] maps them to what may leave the server.
func (m *Manager) Restore(ctx context.Context, p Presented) (Restored, error) {
	began := time.Now()
	out, err := m.restore(ctx, p)
	m.noteRestore(ctx, p.Holder, out, err, time.Since(began))
	return out, err
}

func (m *Manager) restore(ctx context.Context, p Presented) (Restored, error) {
	if !m.bring(p.Holder) {
		return Restored{}, m.refused(p, fmt.Errorf("%w: %d restores of this holder are under way", ErrUnavailable, maxBringing))
	}
	defer m.brought(p.Holder)
	set := sets.Get().(*verified)
	defer set.leave()
	if p.Attempt == (replay.Owner{}) { // all who forget theirs would be one client
		return Restored{}, m.refused(p, fmt.Errorf("%w: the attempt is zero", seal.ErrMalformed))
	}
	if err := m.verify(ctx, p, set); err != nil {
		return Restored{}, m.refused(p, err)
	}
	if err := m.exclusive(ctx, set.manifest.Session); err != nil {
		return Restored{}, m.refused(p, err)
	}
	defer m.release(set.manifest.Session)
	if s := m.find(p.Holder); s != nil && s.Version().Fence >= set.manifest.Fence && !s.over(set.now) && m.livesHere(ctx, s) {
		if s.Key() != set.key {
			return Restored{}, m.refused(p, errOtherKey)
		}
		return Restored{Session: s, Joined: true}, nil
	}
	s, dropped, err := m.admit(ctx, p, set)
	if err != nil {
		return Restored{}, m.refused(p, err)
	}
	if m.log.Enabled(ctx, slog.LevelInfo) {
		m.log.Info("session restored", "session", short(s.id), "version", FormatVersion(s.Version()), "dropped", whyDropped(dropped))
	}
	return Restored{Session: s, Dropped: dropped}, nil
}

func (m *Manager) refused(p Presented, err error) error {
	if errors.Is(err, ErrProofRequired) { // a step of every restore with a key
		return err
	}
	m.log.Warn("restore refused", "session", short(p.Holder.Session), "outward", Outward(err).Error(), "reason", err.Error())
	return err
}

// short is enough of an id to find a session's lines in a log.
func short(id seal.ID) string { return id.String()[:6] }

func whyDropped(dropped []Dropped) []string {
	out := []string{}
	for _, d := range dropped {
		out = append(out, d.Name+": "+d.Reason.Error())
	}
	return out
}

// verified is a set that passed every check that needs no store.
type verified struct {
	now      time.Time
	manifest *seal.Manifest
	key      string // the manifest's, and proved; empty: none
	session  policy.Decision
	items    []item // ascending by slot
	slots    []string
	plain    []byte // of all items
}

type item struct {
	slot     string
	claims   seal.Claims // its value lies in plain
	opened   seal.Opened
	decision policy.Decision
	gone     error // why the store's answer leaves it out
}

// sets are used again, because they are large and soon over.
var sets = sync.Pool{New: func() any { return new(verified) }}

// leave wipes the plaintext and gives the set back, but for what is so large
// that few sets need it.
func (set *verified) leave() {
	clear(set.plain[:cap(set.plain)])
	clear(set.items)
	clear(set.slots)
	*set = verified{items: set.items[:0], slots: set.slots[:0], plain: set.plain[:0]}
	if cap(set.plain) > MaxHandshake/8 {
		set.plain = nil
	}
	sets.Put(set)
}

// verify is the order of checks up to the store. It fills set.
func (m *Manager) verify(ctx context.Context, p Presented, set *verified) error {
	if err := set.sizes(p, m.cfg.Policy.Session().MaxAttributes); err != nil {
		return err
	}
	ring, err := m.cfg.Keys.Ring(ctx)
	if err != nil {
		return fmt.Errorf("%w: keyring: %w", ErrUnavailable, err)
	}
	set.now = m.now()
	opener, done := m.opener(ring, set.now)
	defer done()
	if err := set.open(opener, p); err != nil {
		return err
	}
	if err := set.belongs(p.Holder, m.find(p.Holder)); err != nil {
		return err
	}
	if err := set.prove(m, ring, p); err != nil {
		return err
	}
	err = set.judge(m.cfg.Policy, p.Holder, m.epoch.seconds.Load())
	if errors.Is(err, policy.ErrNotYetValid) { // to a node that does not know of a new epoch yet
		m.epoch.heed(ctx, true)
		set.now = m.now()
		err = set.judge(m.cfg.Policy, p.Holder, m.epoch.seconds.Load())
	}
	if err != nil {
		return err
	}
	return set.complete()
}

// sizes checks what needs no look inside, and sorts the slots.
func (set *verified) sizes(p Presented, maxAttributes int) error {
	if len(p.Blobs) > min(maxAttributes, seal.MaxEntries) {
		return fmt.Errorf("%w: %d envelopes are over the limit", seal.ErrMalformed, len(p.Blobs))
	}
	total := len(p.Manifest)
	for slot, envelope := range p.Blobs {
		total += len(slot) + len(envelope)
		if len(slot) != seal.SlotLen || len(envelope) > seal.MaxEnvelope {
			return fmt.Errorf("%w: a slot or envelope is over its size", seal.ErrMalformed)
		}
		set.slots = append(set.slots, slot)
	}
	if total > MaxHandshake {
		return fmt.Errorf("%w: %d bytes in all are over the limit", seal.ErrMalformed, total)
	}
	slices.Sort(set.slots)
	set.items, set.plain = slices.Grow(set.items, len(set.slots)), slices.Grow(set.plain, total*3/4)
	return nil
}

// open authenticates the manifest and every envelope.
func (set *verified) open(opener *seal.Opener, p Presented) (err error) {
	if set.manifest, _, err = opener.Manifest(p.Manifest); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	for _, slot := range set.slots {
		set.items = append(set.items, item{slot: slot})
		it := &set.items[len(set.items)-1]
		if set.plain, it.opened, err = opener.AppendAttribute(set.plain, &it.claims, p.Blobs[slot]); err != nil {
			return fmt.Errorf("an envelope: %w", err)
		}
		if it.claims.Binary {
			return fmt.Errorf("%w: %s is binary, a session's attributes are JSON", seal.ErrMalformed, it.claims.Name)
		}
	}
	return nil
}

// belongs checks that all of it is of one session: the holder's. That is here
// already after a renewal, of which the client has seen only the cookie.
func (set *verified) belongs(h Holder, here *Session) error {
	if set.manifest.Session != h.Session && h.bearer == "" {
		if here != nil && set.manifest.Session == here.formerID {
			return fmt.Errorf("%w: the set is of the session's former ID", ErrSuperseded)
		}
		return fmt.Errorf("%w: the manifest is of another session than the cookie", policy.ErrBinding)
	}
	for i := range set.items {
		it := &set.items[i]
		if it.claims.Session != set.manifest.Session {
			return fmt.Errorf("%w: %s is of another session", ErrIncomplete, it.claims.Name)
		}
	}
	return nil
}

// judge asks today's policy about the set and about every attribute, and
// refuses with all reasons. Of a right from before the store's epoch, in a set
// that was sealed since, the store could not tell.
func (set *verified) judge(p *policy.Policy, h Holder, epoch int64) error {
	holder, _ := splitBinding(set.manifest.Binding)
	f := policy.SessionFacts{
		Now: set.now, IssuedAt: time.Unix(set.manifest.IssuedAt, 0), Expires: time.Unix(set.manifest.Expires, 0),
		AbsoluteExpires: time.Unix(set.manifest.AbsoluteExpires, 0), Bound: h.holds(holder), KeyProved: set.key != "", Attributes: len(set.items), Bytes: set.bytes(),
		Names: make([]string, 0, len(set.items)),
	}
	var errs []error
	for i := range set.items {
		it := &set.items[i]
		it.decision = p.Judge(facts(&it.claims, set.now, set.key != ""))
		if it.claims.Once && it.claims.IssuedAt < epoch && set.manifest.IssuedAt >= epoch && it.decision.Verdict == policy.AcceptAttribute {
			it.decision = p.JudgeStore(policy.StoreFacts{Name: it.claims.Name})
		}
		if it.decision.Verdict == policy.RefuseSet {
			errs = append(errs, it.decision.Err())
		}
		f.Names = append(f.Names, it.claims.Name)
	}
	set.session = p.JudgeSession(f)
	if set.session.Verdict != policy.AcceptAttribute {
		errs = append(errs, set.session.Err())
	}
	return errors.Join(errs...)
}

func facts(c *seal.Claims, now time.Time, keyProved bool) policy.Facts {
	f := policy.Facts{
		Now: now, Name: c.Name, IssuedAt: time.Unix(c.IssuedAt, 0), Expires: time.Unix(c.Expires, 0),
		Once: c.Once, Bytes: len(c.Value), KeyProved: keyProved,
	}
	if c.AbsoluteExpires != 0 {
		f.AbsoluteExpires = time.Unix(c.AbsoluteExpires, 0)
	}
	return f
}

// complete checks that set and manifest agree exactly: the same slots, in each
// the very envelope that the manifest names, under the slot of its own name,
// none newer than the manifest, no name twice.
func (set *verified) complete() error {
	if len(set.items) != len(set.manifest.Entries) {
		return fmt.Errorf("%w: the manifest lists %d envelopes, %d are there", ErrIncomplete, len(set.manifest.Entries), len(set.items))
	}
	for i, entry := range set.manifest.Entries { // both ascend by slot
		it := &set.items[i]
		inSlot, err := it.opened.InSlot(it.slot, it.claims.Name)
		switch {
		case err != nil:
			return err
		case it.slot != entry.Slot || !inSlot:
			return fmt.Errorf("%w: %s is not in its slot", ErrIncomplete, it.claims.Name)
		case it.claims.JTI != entry.JTI || it.claims.Expires != entry.Expires:
			return fmt.Errorf("%w: %s is of another generation", ErrIncomplete, it.claims.Name)
		case it.claims.Gen > set.manifest.Gen || set.names(it.claims.Name, i):
			return fmt.Errorf("%w: %s is newer than the manifest, or there twice", ErrIncomplete, it.claims.Name)
		}
	}
	return nil
}

// names reports whether one of the first n items has the name: few, so that a
// map would cost more.
func (set *verified) names(name string, n int) bool {
	return slices.ContainsFunc(set.items[:n], func(it item) bool { return it.claims.Name == name })
}

// admit is the last check, one round trip, and then the restore itself.
func (m *Manager) admit(ctx context.Context, p Presented, set *verified) (*Session, []Dropped, error) {
	took, err := m.reserve(set.manifest.Session)
	if err != nil {
		return nil, nil, err
	}
	if took {
		defer m.vacate()
	}
	look, burn := m.rights(set)
	answer, err := m.cfg.Store.Restore(ctx, replay.RestoreRequest{
		Session: m.sessionKey(set.manifest.Session), Set: Version{Fence: set.manifest.Fence, Gen: set.manifest.Gen},
		Issued: time.Unix(set.manifest.IssuedAt, 0), KeepUntil: m.keepUntil(time.Unix(set.manifest.AbsoluteExpires, 0)),
		Login: m.loginOf(set.manifest), Attempt: p.Attempt, Strict: m.strict, Burn: burn, Look: look,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := refusal(answer.Verdict); err != nil {
		return nil, nil, err
	}
	if err := set.withhold(m.cfg.Policy, answer); err != nil {
		return nil, nil, err
	}
	s, dropped := m.revive(p, set, answer.Fence)
	m.put(s)
	return s, dropped, nil
}

func (m *Manager) loginOf(manifest *seal.Manifest) (l replay.Login) {
	if manifest.Subject != "" {
		l = replay.Login{Subject: m.subjectKey(manifest.Subject), Since: time.Unix(manifest.SubjectSince, 0)}
	}
	return l
}

// reserve keeps a place in memory before the store is asked, so that a full
// node, or one that is being drained, fences nobody. A session that is there needs none.
func (m *Manager) reserve(id seal.ID) (took bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.draining.Load() {
		return false, errDraining
	}
	if m.sessions[id] != nil {
		return false, nil
	}
	if len(m.sessions)+m.places >= m.cfg.MaxSessions {
		return false, fmt.Errorf("%w: %d sessions in memory", ErrUnavailable, m.cfg.MaxSessions)
	}
	m.places++
	return true, nil
}

// vacate gives back what reserve took.
func (m *Manager) vacate() {
	m.mu.Lock()
	m.places--
	m.mu.Unlock()
}

// rights lists the once-only attributes' records, ascending by slot: one of each
// to be looked at, and those that this restore spends. Of these it looks at the
// use, which must not come back with the same attempt.
func (m *Manager) rights(set *verified) (look []replay.ID, burn []replay.Burn) {
	for i := range set.items {
		switch it := &set.items[i]; {
		case it.decision.Burn:
			look = append(look, useOf(m.scope, it.claims.UID))
			burn = append(burn, replay.Burn{Right: right(m.scope, m.cfg.Policy, it.claims.UID, time.Unix(it.claims.IssuedAt, 0), time.Unix(it.claims.AbsoluteExpires, 0))})
		case it.claims.Once:
			look = append(look, record(m.scope, "right", it.claims.UID[:]))
		}
	}
	return look, burn
}

// withhold notes of each item why the store's answer leaves it out. A store that
// does not answer as it was asked is no pass.
func (set *verified) withhold(p *policy.Policy, answer replay.Restored) error {
	look, burn := answer.Spent, answer.Burnt
	for i := range set.items {
		it := &set.items[i]
		if it.claims.Once {
			if len(look) == 0 || it.decision.Burn && len(burn) == 0 {
				return errAnswer
			}
			if look[0] || it.decision.Burn && !burn[0].Granted() {
				it.gone = replay.ErrReplayed
			}
			if look = look[1:]; it.decision.Burn {
				burn = burn[1:]
			}
		}
		if !answer.BehindWatermark || it.gone != nil {
			continue
		}
		switch d := p.JudgeStore(policy.StoreFacts{Name: it.claims.Name, Known: true, RolledBack: true}); d.Verdict {
		case policy.AcceptAttribute:
		case policy.DropAttribute:
			it.gone = d.Err()
		default:
			return fmt.Errorf("%w: %w", ErrRolledBack, d.Err())
		}
	}
	return nil
}

var errAnswer = fmt.Errorf("%w: the store's answer is not what was asked", ErrUnavailable)

func refusal(v replay.Verdict) error {
	switch v {
	case replay.Granted:
		return nil
	case replay.Superseded:
		return ErrSuperseded
	case replay.RolledBack:
		return ErrRolledBack
	case replay.Revoked:
		return ErrRevoked
	case replay.Spent:
		return replay.ErrReplayed
	}
	return fmt.Errorf("%w: the store gave no verdict", ErrUnavailable)
}

// revive builds the session from a verified set. Everything is dirty, so that
// the next Save seals it as this node's own, under the new fence.
func (m *Manager) revive(p Presented, set *verified, fence uint64) (*Session, []Dropped) {
	holder, _ := splitBinding(set.manifest.Binding)
	s := m.session(p.Holder, holder, set.now, len(set.items))
	s.key = set.key
	s.absolute, s.version = set.session.AbsoluteExpires, Version{Fence: fence, Gen: set.manifest.Gen}
	s.login = login{set.manifest.Subject, set.manifest.SubjectSince}
	s.replica.dirty = true
	kept, values := make([]attribute, 0, len(set.items)), make([]byte, 0, set.bytes())
	var dropped []Dropped
	for i := range set.items {
		it := &set.items[i]
		switch {
		case it.gone != nil:
			dropped = append(dropped, Dropped{it.slot, it.claims.Name, it.gone})
		case it.decision.Verdict != policy.AcceptAttribute:
			dropped = append(dropped, Dropped{it.slot, it.claims.Name, it.decision.Err()})
		default:
			start := len(values)
			values = append(values, it.claims.Value...)
			a := it.attribute(values[start:len(values):len(values)], m.cfg.Policy.Session().Leeway)
			if it.decision.Burn { // it came here, and goes nowhere else
				a.local, a.dirty, a.burnt = true, false, true
			}
			kept = append(kept, a)
			s.attrs[it.claims.Name] = &kept[len(kept)-1]
		}
	}
	return s, dropped
}

func (set *verified) bytes() (n int) {
	for i := range set.items {
		n += len(set.items[i].claims.Value)
	}
	return n
}

// attribute judges its end as the restore did: with leeway, but for a right.
func (it *item) attribute(value []byte, leeway time.Duration) attribute {
	a := attribute{
		value: value, uid: it.claims.UID, dirty: true, shown: true,
		issued: time.Unix(it.claims.IssuedAt, 0), expires: it.decision.Expires,
	}
	if !it.claims.Once {
		a.grace = leeway
	}
	if it.claims.AbsoluteExpires != 0 {
		a.absolute = time.Unix(it.claims.AbsoluteExpires, 0)
	}
	return a
}

// maxBringing bounds the restores of one holder that are under way on this node: who
// repeats himself has no more than so many sets verified, or kept in memory, at a time.
// A browser with more tabs than that tries again. Who knows no secret takes no place of
// its holder's.
const maxBringing = 16

// bring takes one of the holder's places, until brought.
func (m *Manager) bring(h Holder) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bringing[waiter(h)] >= maxBringing {
		return false
	}
	m.bringing[waiter(h)]++
	return true
}

func (m *Manager) brought(h Holder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bringing[waiter(h)]--; m.bringing[waiter(h)] == 0 {
		delete(m.bringing, waiter(h))
	}
}

// exclusive lets one restore of a session run at a time on this node, until its release.
// The others wait for no longer than an answer of the store's may take: each keeps
// a whole set in memory.
func (m *Manager) exclusive(ctx context.Context, id seal.ID) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	for {
		m.mu.Lock()
		done, busy := m.restores[id]
		if !busy {
			m.restores[id] = nil // nobody waits yet
			m.mu.Unlock()
			return nil
		}
		if done == nil {
			done = make(chan struct{})
			m.restores[id] = done
		}
		m.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// release lets those go on that wait in exclusive.
func (m *Manager) release(id seal.ID) {
	m.mu.Lock()
	done := m.restores[id]
	delete(m.restores, id)
	m.mu.Unlock()
	if done != nil {
		close(done)
	}
}
