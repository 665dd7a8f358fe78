package bayeux

// SetAttribute keeps what the program knows of the client, as a user's name, for as
// long as this session lives; nil removes it. It stays in this server's memory: clients
// and other nodes don't see it, and a new handshake begins without.
func (s *ServerSession) SetAttribute(name string, v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v == nil {
		delete(s.attributes, name)
		return
	}
	if s.attributes == nil {
		s.attributes = make(map[string]any, 1)
	}
	s.attributes[name] = v
}

// Attribute returns what [ServerSession.SetAttribute] set, or nil. It is there in
// OnRemove functions, too.
func (s *ServerSession) Attribute(name string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attributes[name]
}
