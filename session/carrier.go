package session

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sealedblob/sealedblob/seal"
)

// StatelessCookieName is the name of the cookies that carry a set, before the
// number of the part: "0", "1" and so on. The other one is for plain loopback.
const (
	StatelessCookieName         = "__Host-sealed-set-"
	LoopbackStatelessCookieName = "sealed-set-"
)

const (
	// maxPart is how much of a set one cookie carries: with its name and
	// attributes it stays below 4,096 bytes (RFC 6265 §6.1).
	maxPart  = 3900
	maxParts = (MaxMaxText + 2 + maxPart - 1) / maxPart

	between = '~' // no character of an envelope, and allowed in a cookie
)

// appendSet appends the one text of a set: the manifest, then each envelope behind
// a tilde and its slot, ascending by slot.
func appendSet(b []byte, p Push) []byte {
	b = append(b, p.Manifest...)
	for _, slot := range slices.Sorted(maps.Keys(p.Set)) {
		b = append(b, between)
		b = append(b, slot...)
		b = append(b, p.Set[slot]...)
	}
	return b
}

// parseSet reads the one text of a set, and nothing else.
func parseSet(text string) (Presented, error) {
	manifest, rest, more := strings.Cut(text, string(between))
	p := Presented{Manifest: manifest, Blobs: make(map[string]string, strings.Count(text, string(between)))}
	last := ""
	for more {
		var item string
		item, rest, more = strings.Cut(rest, string(between))
		if len(item) < seal.SlotLen || item[:seal.SlotLen] <= last {
			return Presented{}, fmt.Errorf("%w: the set's text", seal.ErrMalformed)
		}
		last = item[:seal.SlotLen]
		p.Blobs[last] = item[seal.SlotLen:]
	}
	return p, nil
}

// brought is what a request carries of a set.
type brought struct {
	header  []string         // of a header
	cookies [maxParts]string // of cookies, by number
	there   [maxParts]bool
	wrong   bool // a cookie is there twice
	any     bool
}

func (b *brought) empty() bool { return !b.any }

// brought collects the parts of a set, and whether there are any: what is no good
// must not pass for an empty session.
func (st *Stateless) brought(r *http.Request) (b brought) {
	if st.header {
		b.header = r.Header.Values(StatusHeader)
		b.any = len(b.header) > 0
		return b
	}
	b.collect(r, StatelessCookieName+st.infix())
	if !b.any && st.m.plainLoopback(r) {
		b.collect(r, LoopbackStatelessCookieName+st.infix())
	}
	return b
}

// infix is what [Config.CookieSuffix] puts before the number of a part.
func (st *Stateless) infix() string {
	if st.m.cfg.CookieSuffix == "" {
		return ""
	}
	return st.m.cfg.CookieSuffix + "-"
}

// collect reads the cookies by itself: all that net/http would check of a value,
// and more, is checked when it is opened.
func (b *brought) collect(r *http.Request, prefix string) {
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			number, ours := strings.CutPrefix(name, prefix)
			if !ours || len(number) != 1 || number[0] < '0' || number[0] >= '0'+maxParts {
				continue // no part of any set
			}
			i := number[0] - '0'
			b.any, b.wrong = true, b.wrong || b.there[i]
			b.there[i], b.cookies[i] = true, value
		}
	}
}

// text joins the parts: all that the first one counts, and no other.
func (b *brought) text(limit int) (string, error) {
	if len(b.header) > 0 {
		if len(b.header) != 1 || len(b.header[0]) > limit {
			return "", fmt.Errorf("%w: a header too many, or over the limit", seal.ErrMalformed)
		}
		return b.header[0], nil
	}
	count, first, ok := strings.Cut(b.cookies[0], ".")
	n := 0
	if ok && len(count) == 1 && count[0] >= '1' {
		n = int(count[0] - '0')
	}
	total := len(first)
	for i, there := range b.there {
		b.wrong = b.wrong || there != (i < n)
		if i > 0 {
			total += len(b.cookies[i])
		}
	}
	if b.wrong || n == 0 || total > limit {
		return "", fmt.Errorf("%w: the set's cookies", seal.ErrMalformed)
	}
	if n == 1 {
		return first, nil
	}
	return first + strings.Join(b.cookies[1:n], ""), nil
}

// statelessWriter sends the changed set with the response's header. It is the
// one client of the request's session.
type statelessWriter struct {
	headerHook
	st   *Stateless
	r    *http.Request
	held brought
	push *Push // the newest set, if there is one to send
	// spare says that what it brought may be over because another request of the
	// client logged in meanwhile, whose new set must not be dropped.
	spare   bool
	late    late // what was brought, if a newer set may be on its way
	settled bool // but it did not come in time
}

// Push implements [Client].
func (w *statelessWriter) Push(p Push) { w.push = &p }

// Renewed implements [Client].
func (w *statelessWriter) Renewed(s *Session) { w.session.Store(s) }

// Detached implements [Client].
func (w *statelessWriter) Detached() {}

// send seals what has changed and tells the client.
func (w *statelessWriter) send() {
	s := w.session.Load()
	if s.unborn() {
		if !w.held.empty() && !w.spare { // what it brought is over
			w.forget()
		}
		return
	}
	ctx := w.r.Context() // who went away gets nothing, and nothing is left here
	err := s.Save(ctx)
	if err == nil && w.push != nil {
		if err = s.visit.newest(ctx, s); errors.Is(err, ErrMoved) {
			s.m.unsealed(ctx, s, err)
			w.replace(err) // the handler does not know that its changes are lost
			return
		}
	}
	s.m.unsealed(ctx, s, err)
	switch {
	case w.push != nil && w.push.End:
		w.forget()
	case err == nil && w.push == nil, errors.Is(err, ErrMoved): // of a move the handler was told
	case err == nil:
		w.keep(*w.push)
	default:
		w.replace(err)
	}
}

// replace answers in the handler's place.
func (w *statelessWriter) replace(err error) {
	w.replaced = true
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w.ResponseWriter, "the session could not be kept", HTTPStatus(err))
}

// texts are where sets are put together, used again because they are large.
var texts = sync.Pool{New: func() any { return new([]byte) }}

// keep tells the client to carry p's set from now on.
func (w *statelessWriter) keep(p Push) {
	room := texts.Get().(*[]byte)
	defer texts.Put(room)
	*room = appendSet((*room)[:0], p)
	text, s := *room, w.session.Load()
	if len(text) > w.st.maxText {
		err := fmt.Errorf("%w: a set of %d characters, the limit is %d", ErrTooLarge, len(text), w.st.maxText)
		s.m.unsealed(w.r.Context(), s, err)
		w.replace(err)
		return
	}
	if w.st.header {
		w.Header().Set(StatusHeader, string(text))
		private(w.Header(), StatusHeader)
		return
	}
	age := s.secondsLeft()
	parts := (len(text) + maxPart - 1) / maxPart
	for i := range parts {
		count := ""
		if i == 0 {
			count = strconv.Itoa(parts) + "."
		}
		w.setCookie(i, count, text[i*maxPart:min((i+1)*maxPart, len(text))], age)
	}
	w.drop(parts)
	private(w.Header(), "Cookie")
}

// forget tells the client to drop what it brought.
func (w *statelessWriter) forget() {
	if w.st.header {
		w.Header().Set(StatusHeader, StatusNone)
		private(w.Header(), StatusHeader)
		return
	}
	w.drop(0)
	w.late.drop(w)
	private(w.Header(), "Cookie")
}

// drop ends the cookies from a number on that the client brought.
func (w *statelessWriter) drop(from int) {
	for i := from; i < maxParts; i++ {
		if w.held.there[i] {
			w.setCookie(i, "", nil, 0)
		}
	}
}

// setCookie writes the line that http.SetCookie would: a set's text needs none of
// its checks, which cost as much as sealing it. Without an age the cookie ends.
func (w *statelessWriter) setCookie(number int, count string, part []byte, age int) {
	prefix, secure := StatelessCookieName, "; Secure"
	if w.st.m.plainLoopback(w.r) {
		prefix, secure = LoopbackStatelessCookieName, ""
	}
	line := prefix + w.st.infix() + strconv.Itoa(number) + "=" + count + string(part) + "; Path=/; Max-Age=" + strconv.Itoa(age) + "; HttpOnly" + secure + "; SameSite=Lax"
	w.Header().Add("Set-Cookie", line)
}
