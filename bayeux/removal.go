package bayeux

// remove ends sess once, and calls its OnRemove functions; further calls do nothing.
// reason is the counter that tells of it.
func (s *Server) remove(sess *ServerSession, why pollEnd, reason EventKind) {
	if rest := s.end(sess, why, reason); rest != nil {
		rest()
	}
}

// removeElsewhere is remove for callers that may hold locks of the application, or
// have many sessions to remove: the OnRemove functions are called by the server's own
// goroutine, in the order of the removals. What waits there counts for MaxSessions.
func (s *Server) removeElsewhere(sess *ServerSession, why pollEnd, reason EventKind) {
	rest := s.end(sess, why, reason)
	if rest == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later = append(s.later, rest)
	if !s.atWork {
		s.atWork = true
		go s.work()
	}
}

// work does what waits, and ends. A function that ends its goroutine leaves the rest to
// another.
func (s *Server) work() {
	done := false
	defer func() {
		if !done {
			go s.work()
		}
	}()
	for {
		s.mu.Lock()
		if len(s.later) == 0 {
			s.atWork, s.later = false, nil
			s.mu.Unlock()
			done = true
			return
		}
		f := s.later[0]
		s.later[0], s.later = nil, s.later[1:]
		s.mu.Unlock()
		f()
	}
}

// end ends sess but for its OnRemove functions: the result calls them. It is nil if
// the session had ended.
func (s *Server) end(sess *ServerSession, why pollEnd, reason EventKind) (rest func()) {
	sess.mu.Lock()
	if sess.removed {
		sess.mu.Unlock()
		return nil
	}
	expired := reason == CountExpired
	sess.removed, sess.expired, sess.dismissed = true, expired, why == pollDisconnect
	if sess.timer != nil {
		sess.timer.Stop()
	}
	sess.queue.settled()
	p := sess.takePoll(why)
	sock := sess.socket
	hooks := sess.onRemove
	sess.onRemove = nil
	sess.mu.Unlock()

	if sock != nil && reason == CountOverflowed {
		sock.abort() // at once: a client that knows of it may have shaken hands again on it
	}
	s.forget(sess)
	s.observe(GaugeSessions, -1)
	s.observe(reason, 1)
	p.finish()
	if sock != nil {
		sock.kick()
	}
	return func() { s.callRemoved(hooks, expired) }
}

// callRemoved calls a session's OnRemove functions, each of which may end its goroutine,
// and lets the session go.
func (s *Server) callRemoved(hooks []func(expired bool), expired bool) {
	if len(hooks) > 0 {
		defer s.callRemoved(hooks[1:], expired)
		s.safely("OnRemove", func() { hooks[0](expired) })
		return
	}
	s.mu.Lock()
	s.leaving--
	s.mu.Unlock()
	s.left.Broadcast()
}

// awaitRemovals waits until all sessions are gone, and their OnRemove functions have
// returned.
func (s *Server) awaitRemovals() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.sessions)+s.leaving > 0 {
		s.left.Wait()
	}
}
