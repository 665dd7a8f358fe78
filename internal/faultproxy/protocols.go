package faultproxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
)

// Protocol knows where requests and replies end.
type Protocol struct {
	greet          func(l *link) bool // what comes before the first request; nil: nothing
	request, reply func(*bufio.Reader) ([]byte, error)
}

// Redis is RESP 2 and 3: each command is a request, with one reply.
func Redis() Protocol { return Protocol{request: redisValue, reply: redisReply} }

// redisReply is a reply with what the server pushed before it.
func redisReply(r *bufio.Reader) (reply []byte, err error) {
	for {
		value, err := redisValue(r)
		reply = append(reply, value...)
		if err != nil || value[0] != '>' {
			return reply, err
		}
	}
}

// redisValue reads one value of RESP.
func redisValue(r *bufio.Reader) ([]byte, error) {
	value, err := r.ReadBytes('\n')
	if err != nil {
		return value, err
	}
	size, _ := strconv.Atoi(string(value[1 : len(value)-min(2, len(value)-1)]))
	switch value[0] {
	case '$', '=', '!':
		if size < 0 {
			return value, nil
		}
		return readMore(r, value, size+len("\r\n"))
	case '%':
		size *= 2
	case '|': // attributes, and then the value that they are of
		size = 2*size + 1
	case '*', '~', '>':
	default:
		return value, nil
	}
	for range size {
		element, err := redisValue(r)
		value = append(value, element...)
		if err != nil {
			return value, err
		}
	}
	return value, nil
}

// Postgres is PostgreSQL's protocol 3 without TLS: a request is what ends with a
// Sync or a simple query, a reply what ends with ReadyForQuery. Copying and flushes
// in between are not understood and end the connection.
func Postgres() Protocol {
	return Protocol{greet: postgresGreet, request: postgresRequest, reply: postgresReply}
}

// Codes in place of a version; PostgreSQL's documentation, Message Formats.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// postgresGreet forwards the start of a session, up to the first ReadyForQuery. It
// reports whether requests may follow.
func postgresGreet(l *link) bool {
	for {
		startup, err := postgresStartup(l.fromClient)
		if err != nil {
			return false
		}
		switch binary.BigEndian.Uint32(startup[4:]) {
		case sslRequest, gssRequest:
			if _, err := l.client.Write([]byte("N")); err != nil {
				return false
			}
			continue
		case cancelRequest:
			_, _ = l.server.Write(startup)
			_, _ = io.Copy(io.Discard, l.fromServer) // it closes when it is done
			return false
		}
		_, err = l.server.Write(startup)
		return err == nil && postgresLogin(l)
	}
}

// postgresLogin forwards the server's questions and the client's answers.
func postgresLogin(l *link) bool {
	for {
		message, err := postgresMessage(l.fromServer)
		if err != nil {
			return false
		}
		if _, err := l.client.Write(message); err != nil {
			return false
		}
		switch {
		case message[0] == 'Z':
			return true
		case message[0] == 'R' && asksClient(message):
			answer, err := postgresMessage(l.fromClient)
			if err != nil {
				return false
			}
			if _, err := l.server.Write(answer); err != nil {
				return false
			}
		}
	}
}

// asksClient says of an authentication message that the client answers it.
func asksClient(message []byte) bool {
	const ok, saslFinal = 0, 12
	code := binary.BigEndian.Uint32(append(message[5:len(message):len(message)], 0, 0, 0, 0))
	return code != ok && code != saslFinal
}

func postgresRequest(r *bufio.Reader) (request []byte, err error) {
	for {
		message, err := postgresMessage(r)
		request = append(request, message...)
		if err != nil {
			return request, err
		}
		switch message[0] {
		case 'S', 'Q', 'X':
			return request, nil
		case 'H', 'd', 'c', 'f':
			return request, errors.New("faultproxy: a flush or copy")
		}
	}
}

func postgresReply(r *bufio.Reader) (reply []byte, err error) {
	for {
		message, err := postgresMessage(r)
		reply = append(reply, message...)
		if err != nil || message[0] == 'Z' {
			return reply, err
		}
	}
}

// postgresMessage reads a message: its type, and a length that counts itself.
func postgresMessage(r *bufio.Reader) ([]byte, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	return postgresSized(r, []byte{kind})
}

// postgresStartup reads the first message, which has no type.
func postgresStartup(r *bufio.Reader) ([]byte, error) {
	message, err := postgresSized(r, nil)
	if err == nil && len(message) < 8 {
		err = io.ErrUnexpectedEOF
	}
	return message, err
}

func postgresSized(r *bufio.Reader, head []byte) ([]byte, error) {
	message, err := readMore(r, head, 4)
	if err != nil {
		return message, err
	}
	size := binary.BigEndian.Uint32(message[len(head):])
	if size < 4 || size > 1<<30 {
		return message, errors.New("faultproxy: a message of no size")
	}
	return readMore(r, message, int(size)-4)
}

// readMore appends what follows, or as much of it as there is.
func readMore(r *bufio.Reader, head []byte, size int) ([]byte, error) {
	out := append(head, make([]byte, size)...)
	n, err := io.ReadFull(r, out[len(head):])
	return out[:len(head)+n], err
}
