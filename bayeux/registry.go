package bayeux

import (
	"slices"
	"sync"
)

// registry knows who is subscribed to what. Publishing costs one look-up per
// pattern that can cover the channel, whatever the number of subscriptions.
type registry struct {
	mu       sync.RWMutex
	channels map[string]map[*ServerSession]struct{}
}

// add subscribes sess, and reports false if it would then have more than limit
// subscriptions. A repeated subscription is none.
func (r *registry) add(sess *ServerSession, channels []string, limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.removed {
		return false
	}
	fresh := slices.DeleteFunc(slices.Clone(channels), func(ch string) bool {
		_, have := slices.BinarySearch(sess.subs, ch)
		return have
	})
	slices.Sort(fresh)
	fresh = slices.Compact(fresh)
	if len(sess.subs)+len(fresh) > limit {
		return false
	}
	for _, ch := range fresh {
		at, _ := slices.BinarySearch(sess.subs, ch)
		sess.subs = slices.Insert(sess.subs, at, ch)
		if r.channels[ch] == nil {
			r.channels[ch] = make(map[*ServerSession]struct{}, 1)
		}
		r.channels[ch][sess] = struct{}{}
	}
	return true
}

func (r *registry) drop(sess *ServerSession, channels []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	for _, ch := range channels {
		r.dropOne(sess, ch)
	}
}

func (r *registry) dropAll(sess *ServerSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	for n := len(sess.subs); n > 0; n = len(sess.subs) {
		r.dropOne(sess, sess.subs[n-1])
	}
}

func (r *registry) dropOne(sess *ServerSession, ch string) {
	at, have := slices.BinarySearch(sess.subs, ch)
	if !have {
		return
	}
	sess.subs = slices.Delete(sess.subs, at, at+1)
	delete(r.channels[ch], sess)
	if len(r.channels[ch]) == 0 {
		delete(r.channels, ch)
	}
}

func (r *registry) has(channel string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.channels[channel] != nil
}

// subscribers lists each session that channel goes to, once.
func (r *registry) subscribers(channel string) []*ServerSession {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var sets []map[*ServerSession]struct{}
	total := 0
	matching(channel, func(pattern string) {
		if set := r.channels[pattern]; set != nil {
			sets = append(sets, set)
			total += len(set)
		}
	})
	list := make([]*ServerSession, 0, total)
	var seen map[*ServerSession]struct{}
	if len(sets) > 1 {
		seen = make(map[*ServerSession]struct{}, total)
	}
	for _, set := range sets {
		for sess := range set {
			if seen != nil {
				if _, twice := seen[sess]; twice {
					continue
				}
				seen[sess] = struct{}{}
			}
			list = append(list, sess)
		}
	}
	return list
}
