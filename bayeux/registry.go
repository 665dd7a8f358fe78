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
	sess.subs = append(sess.subs, fresh...)
	slices.Sort(sess.subs)
	for _, ch := range fresh {
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
	gone := slices.Sorted(slices.Values(channels))
	sess.subs = slices.DeleteFunc(sess.subs, func(ch string) bool {
		_, drop := slices.BinarySearch(gone, ch)
		if drop {
			r.dropOne(sess, ch)
		}
		return drop
	})
}

func (r *registry) dropAll(sess *ServerSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	for _, ch := range sess.subs {
		r.dropOne(sess, ch)
	}
	sess.subs = nil
}

func (r *registry) dropOne(sess *ServerSession, ch string) {
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
