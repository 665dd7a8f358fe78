package faultproxy

import (
	"bufio"
	"net"
	"time"
)

// link is one connection of a client, and one to the server for it.
type link struct {
	proxy                  *Proxy
	client, server         *net.TCPConn
	fromClient, fromServer *bufio.Reader
	sent                   chan sent // what the server has still to answer, in order
}

// sent is a request that the server got.
type sent struct {
	kind   Kind
	healed <-chan struct{}
}

// run forwards until either side ends.
func (l *link) run() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.replies()
		l.client.Close()
	}()
	l.requests()
	<-ended
}

// requests forwards what the client asks. When the client leaves, what it sent
// before arrives all the same.
func (l *link) requests() {
	for {
		request, err := l.proxy.protocol.request(l.fromClient)
		if err != nil {
			_ = l.server.CloseWrite()
			return
		}
		fault, healed := l.proxy.decide(request)
		select {
		case <-time.After(fault.Delay):
		case <-healed:
		}
		if !l.forward(fault.Kind, request, healed) {
			return
		}
	}
}

// forward does to a request what its fault says, and reports whether the
// connection goes on.
func (l *link) forward(kind Kind, request []byte, healed <-chan struct{}) bool {
	switch kind {
	case CutBefore:
		l.server.Close()
		return false
	case CutWithin:
		_, _ = l.server.Write(request[:len(request)/2])
		l.server.Close()
		return false
	case Hang:
		<-healed
	case Twice:
		request = append(request[:len(request):len(request)], request...)
	}
	l.sent <- sent{kind, healed}
	_, err := l.server.Write(request)
	if err != nil {
		l.server.Close()
	}
	return err == nil
}

// replies forwards what the server answers, until it or a fault ends the connection.
func (l *link) replies() {
	for {
		reply, err := l.proxy.protocol.reply(l.fromServer)
		if err != nil { // perhaps with its last words
			_, _ = l.client.Write(reply)
			return
		}
		if !l.answer(reply) {
			return
		}
	}
}

// answer does to a reply what the fault of its request says, and reports whether
// the connection goes on.
func (l *link) answer(reply []byte) bool {
	of := l.answered()
	switch of.kind {
	case LoseReply, CutReply, CutAfter:
		l.server.Close() // first, so that nothing more gets there
		part := map[Kind]int{CutReply: len(reply) / 2, CutAfter: len(reply)}[of.kind]
		_, _ = l.client.Write(reply[:part])
		return false
	case HangReply:
		<-of.healed
		return false
	case Twice:
		if _, err := l.proxy.protocol.reply(l.fromServer); err != nil {
			return false
		}
	}
	_, err := l.client.Write(reply)
	return err == nil
}

// answered is the request that a reply belongs to; the zero value where the server
// speaks unasked.
func (l *link) answered() sent {
	select {
	case s := <-l.sent:
		return s
	default:
		return sent{}
	}
}
