package bayeux

import (
	"errors"
	"strings"
)

// The limits of a channel name.
const (
	MaxChannelLength   = 256
	MaxChannelSegments = 32
)

// ErrChannel is wrapped by the error of a call whose channel name is not valid
// for it.
var ErrChannel = errors.New("bayeux: invalid channel")

// trimChannel drops one trailing slash, which CometD's clients may send.
func trimChannel(ch string) string {
	if len(ch) > 1 {
		return strings.TrimSuffix(ch, "/")
	}
	return ch
}

// validChannel reports whether ch is a channel name: slash-led, non-empty
// segments of CometD's character set, a wildcard only as the whole last
// segment. One pass, no allocation.
func validChannel(ch string) bool {
	if len(ch) < 2 || len(ch) > MaxChannelLength || ch[0] != '/' {
		return false
	}
	segments, start := 0, 1
	for i := 1; i <= len(ch); i++ {
		if i < len(ch) && ch[i] != '/' {
			if !channelByte[ch[i]] {
				return false
			}
			continue
		}
		seg := ch[start:i]
		if segments++; segments > MaxChannelSegments || seg == "" {
			return false
		}
		if strings.Contains(seg, "*") && (i < len(ch) || (seg != "*" && seg != "**")) {
			return false
		}
		start = i + 1
	}
	return true
}

var channelByte = func() (ok [256]bool) {
	for c := range ok {
		ok[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	for _, c := range []byte("-_!~()$@ #*+.{}") {
		ok[c] = true
	}
	return ok
}()

func isWild(ch string) bool    { return strings.HasSuffix(ch, "*") }
func isMeta(ch string) bool    { return ch == "/meta" || strings.HasPrefix(ch, "/meta/") }
func isService(ch string) bool { return ch == "/service" || strings.HasPrefix(ch, "/service/") }

// isBroadcast reports whether messages on ch go to its subscribers.
func isBroadcast(ch string) bool { return !isMeta(ch) && !isService(ch) }

// matching calls f with ch and every wildcard that covers it: /a/b gives /a/b,
// /a/*, /a/** and /**.
func matching(ch string, f func(pattern string)) {
	f(ch)
	last := strings.LastIndexByte(ch, '/')
	f(ch[:last] + "/*")
	for i := last; i >= 0; i = strings.LastIndexByte(ch[:i], '/') {
		f(ch[:i] + "/**")
	}
}

// checkPublish says whether a server or client may send data on ch.
func checkPublish(ch string) error {
	if !validChannel(ch) || isWild(ch) || isMeta(ch) {
		return ErrChannel
	}
	return nil
}
