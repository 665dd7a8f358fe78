package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Just as much of HTTP/1.1 and RFC 6455 as a client needs that is to cost little.

var (
	statusOK      = []byte("HTTP/1.1 200")
	contentLength = []byte("content-length:")
	chunked       = []byte("transfer-encoding: chunked")
	blankLine     = []byte("\r\n\r\n")
	crlf          = []byte("\r\n")
)

// httpBody finds the first response in b. n is its length, or 0 if there is more to
// come; scratch is for the body of one in chunks.
func httpBody(b, scratch []byte) (body []byte, n int, err error) {
	head := bytes.Index(b, blankLine)
	if head < 0 {
		return nil, 0, nil
	}
	if !bytes.HasPrefix(b, statusOK) {
		return nil, 0, fmt.Errorf("answer %.300q", b)
	}
	n = head + len(blankLine)
	for lines := b[:head]; len(lines) > 0; {
		line, rest, _ := bytes.Cut(lines, crlf)
		lines = rest
		switch {
		case len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength):
			length, err := strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):])))
			if err != nil || length < 0 {
				return nil, 0, fmt.Errorf("length %.40q", line)
			}
			if len(b) < n+length {
				return nil, 0, nil
			}
			return b[n : n+length], n + length, nil
		case bytes.EqualFold(line, chunked):
			return chunks(b, n, scratch)
		}
	}
	return nil, 0, errors.New("an answer without a length")
}

// chunks joins the chunks of b from n on.
func chunks(b []byte, n int, joined []byte) ([]byte, int, error) {
	for {
		line := bytes.Index(b[n:], crlf)
		if line < 0 {
			return nil, 0, nil
		}
		size, err := strconv.ParseUint(string(b[n:n+line]), 16, 31)
		if err != nil {
			return nil, 0, fmt.Errorf("chunk size %.40q", b[n:n+line])
		}
		end := n + line + len(crlf) + int(size) + len(crlf)
		if len(b) < end {
			return nil, 0, nil
		}
		joined = append(joined, b[n+line+len(crlf):end-len(crlf)]...)
		if n = end; size == 0 {
			return joined, n, nil
		}
	}
}

const textFrame = 1

// socketText finds the first text frame in b.
func socketText(b []byte) (text []byte, n int, err error) {
	if len(b) < 2 {
		return nil, 0, nil
	}
	if b[0] != 0x80|textFrame {
		return nil, 0, fmt.Errorf("frame %.100q", b)
	}
	length, head := int(b[1]), 2
	switch {
	case length == 126 && len(b) >= 4:
		length, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, head = int(binary.BigEndian.Uint64(b[2:])), 10
	case length >= 126:
		return nil, 0, nil
	}
	if len(b) < head+length {
		return nil, 0, nil
	}
	return b[head : head+length], head + length, nil
}

// appendText makes a client's frame. Its mask is zero: masking is no part of what is
// measured.
func appendText(dst, text []byte) []byte {
	dst = append(dst, 0x80|textFrame)
	if len(text) < 126 {
		dst = append(dst, 0x80|byte(len(text)))
	} else {
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(len(text)))
	}
	return append(append(dst, 0, 0, 0, 0), text...)
}

// number reads the digits at the beginning of b, after blanks.
func number(b []byte) int {
	n := 0
	for _, c := range bytes.TrimLeft(b, " ") {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}
