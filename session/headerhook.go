package session

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
)

// errReplaced is what a handler gets that writes to a response which the
// middleware had to replace.
var errReplaced = errors.New("session: the response was replaced by an error")

// headerHook is the response writer of a request with a session. It calls before
// once, just before the header is sent.
type headerHook struct {
	http.ResponseWriter
	session   atomic.Pointer[Session]
	before    func()
	committed atomic.Bool // others may ask
	replaced  bool        // before has answered itself
	ended     atomic.Bool // the session of the request's cookie has ended, by this request or before it
}

func (w *headerHook) commit() {
	if !w.committed.Swap(true) {
		w.before()
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *headerHook) WriteHeader(status int) {
	if status >= 200 {
		w.commit()
	}
	if !w.replaced {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *headerHook) Write(b []byte) (int, error) {
	w.commit()
	if w.replaced {
		return 0, errReplaced
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the underlying writer.
func (w *headerHook) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// FlushError implements flushing for http.ResponseController.
func (w *headerHook) FlushError() error {
	w.commit()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *headerHook) Flush() { _ = w.FlushError() }

// Hijack implements http.Hijacker. No header can be set afterwards.
func (w *headerHook) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.committed.Store(true)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
