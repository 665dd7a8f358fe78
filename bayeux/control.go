package bayeux

// Dismiss ends the session so that its client shakes hands again at once: a
// held connect is answered, after the messages that wait, with 402 and the
// advice to do so. Use it when the client belongs elsewhere by now.
func (s *ServerSession) Dismiss() { s.server.remove(s, pollLost, CountEnded) }

// Reopen is Dismiss for a client whose connection speaks for it no longer: a
// WebSocket has the cookies of the moment it was opened. It is closed behind what waits.
func (s *ServerSession) Reopen() {
	s.mu.Lock()
	sock := s.socket
	s.mu.Unlock()
	s.Dismiss()
	if sock != nil {
		sock.goAway()
	}
}

// EndConnect answers a held connect now, after the messages that wait. Over
// long-polling a delivery does that by itself; over a WebSocket it does not,
// and the client says nothing until the connect times out. It does nothing if
// no connect is held.
func (s *ServerSession) EndConnect() {
	s.mu.Lock()
	p := s.takePoll(pollNews)
	s.mu.Unlock()
	p.finish()
}
