package session

// CookieValueForTest is the text that the middleware puts into the cookie.
func CookieValueForTest(h Holder) string { return h.cookieValue() }

// WaitersForTest is for how many holders requests wait.
func (m *Manager) WaitersForTest() int {
	m.arrivals.mu.Lock()
	defer m.arrivals.mu.Unlock()
	return len(m.arrivals.byHolder)
}
