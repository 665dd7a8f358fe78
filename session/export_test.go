package session

// CookieValueForTest is the text that the middleware puts into the cookie.
func CookieValueForTest(h Holder) string { return h.cookieValue() }
