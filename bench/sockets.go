package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// socketResult is what one server shows, round by round.
type socketResult struct {
	name            string
	idle, announced []float64 // bytes for each connection
	frame           []float64 // CPU ns of the server
	hostile         []string  // by hostileFrames
}

// hostileFrames are what nobody sends who means well: a beginning, and what follows
// so many times.
var hostileFrames = []struct {
	name, first, again string
	times              int
}{
	{"a million empty fragments", "\x01\x80\x00\x00\x00\x00", "\x00\x80\x00\x00\x00\x00", 1e6},
	{"100,000 pings", "", "\x89\x80\x00\x00\x00\x00", 1e5},
	{"a length of 2^64-1", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "", 0},
}

// sockets measures the libraries in rounds, each in a fresh process.
func sockets(o options) (out []Result, err error) {
	list := make([]socketResult, len(socketServers))
	for range (o.rounds + 2) / 3 {
		for i := range list {
			list[i].name = socketServers[i]
			if err := list[i].measure(o.batch); err != nil {
				return nil, fmt.Errorf("%s: %w", list[i].name, err)
			}
		}
	}
	for _, r := range list {
		for _, one := range [][]float64{r.idle, r.announced, r.frame} {
			slices.Sort(one)
		}
		middle := len(r.idle) / 2
		out = append(out, Result{Group: "websockets", Case: "idle", System: r.name, RSS: int(r.idle[middle])},
			Result{Group: "websockets", Case: "announced", System: r.name, Bytes: int(r.announced[middle])},
			Result{Group: "websockets", Case: "frame", System: r.name, ServerNS: r.frame[middle]})
	}
	fmt.Print(socketTable(list))
	return out, nil
}

// measure makes one round.
func (r *socketResult) measure(batch time.Duration) error {
	p, err := fanServer{name: r.name}.start()
	if err != nil {
		return err
	}
	defer p.close()
	for _, m := range []struct {
		into *[]float64
		of   func(*program) (float64, error)
	}{
		{&r.idle, socketIdle},
		{&r.announced, socketAnnounced},
		{&r.frame, func(p *program) (float64, error) { return socketFrames(p, int(80_000*batch/time.Millisecond)) }},
	} {
		n, err := m.of(p)
		if err != nil {
			return err
		}
		*m.into = append(*m.into, n)
	}
	for _, h := range hostileFrames[len(r.hostile):] { // in the first round
		r.hostile = append(r.hostile, p.suffers(h.first+strings.Repeat(h.again, h.times)))
	}
	return nil
}

const upgradeRequest = "GET /bayeux HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// dial opens so many WebSockets and sends the same on each.
func (p *program) dial(n int, then string) (list []net.Conn, err error) {
	for range n {
		c, err := net.DialTCP("tcp", nil, p.addr)
		if err != nil {
			return list, err
		}
		list = append(list, c)
		if _, err := io.WriteString(c, upgradeRequest); err != nil {
			return list, err
		}
		var answer []byte
		for b := make([]byte, 1024); !bytes.HasSuffix(answer, blankLine); {
			n, err := c.Read(b)
			if err != nil {
				return list, err
			}
			answer = append(answer, b[:n]...)
		}
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
			return list, fmt.Errorf("answer %.100q", answer)
		}
		if _, err := io.WriteString(c, then); err != nil {
			return list, err
		}
	}
	return list, nil
}

func closeAll(list []net.Conn) {
	for _, c := range list {
		c.Close()
	}
}

// socketIdle is the memory for each connection on which nothing was said.
func socketIdle(p *program) (float64, error) {
	first, err := p.dial(idleFirst, "")
	defer closeAll(first)
	if err != nil {
		return 0, err
	}
	time.Sleep(idleSettle)
	before, err := p.resident()
	if err != nil {
		return 0, err
	}
	rest, err := p.dial(idleClients, "")
	defer closeAll(rest)
	if err != nil {
		return 0, err
	}
	time.Sleep(idleSettle)
	after, err := p.resident()
	return float64(after-before) / idleClients, err
}

// socketAnnounced is the heap for each connection that announced the largest frame, and
// sent one byte of it.
func socketAnnounced(p *program) (float64, error) {
	const n = 200
	before, err := p.heap()
	if err != nil {
		return 0, err
	}
	list, err := p.dial(n, "\x81\xff\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00[")
	defer closeAll(list)
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Second)
	after, err := p.heap()
	return (after - before) / n, err
}

func (p *program) heap() (float64, error) {
	resp, err := http.Get("http://" + p.addr.String() + heapPath)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(text), 64)
}

// socketFrames is the server's CPU time for a text frame of 128 bytes.
func socketFrames(p *program, frames int) (float64, error) {
	const conns, atOnce = 8, 500
	list, err := p.dial(conns, "")
	defer closeAll(list)
	if err != nil {
		return 0, err
	}
	some := bytes.Repeat(appendText(nil, []byte("["+strings.Repeat(" ", 126)+"]")), atOnce)
	rounds := frames/conns/atOnce + 1
	before, err := p.used()
	if err != nil {
		return 0, err
	}
	errs := make([]error, conns)
	var done sync.WaitGroup
	for i, c := range list {
		done.Go(func() {
			for range rounds {
				if _, errs[i] = c.Write(some); errs[i] != nil {
					return
				}
			}
			// The end comes when all was read.
			_, errs[i] = io.WriteString(c, "\x88\x80\x00\x00\x00\x00")
			_, _ = io.Copy(io.Discard, c)
		})
	}
	done.Wait()
	after, err := p.used()
	return float64(after-before) / float64(rounds*conns*atOnce), errors.Join(append(errs, err)...)
}

// suffers says what becomes of a connection on which the frames came.
func (p *program) suffers(frames string) string {
	list, err := p.dial(1, "")
	defer closeAll(list)
	if err != nil {
		return "no answer"
	}
	go io.WriteString(list[0], frames)
	_ = list[0].SetReadDeadline(time.Now().Add(3 * time.Second))
	_, err = io.Copy(io.Discard, list[0])
	still, dead := p.dial(1, "")
	closeAll(still)
	switch {
	case dead != nil:
		return "**the process ends**"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "taken"
	}
	return "ended"
}

func socketTable(list []socketResult) string {
	var b strings.Builder
	fmt.Fprint(&b, "\nwebsockets\n\n| library | idle KiB | KiB for 512 announced | CPU ns for a frame of 128 bytes |")
	for _, h := range hostileFrames {
		fmt.Fprintf(&b, " %s |", h.name)
	}
	fmt.Fprintln(&b, "\n|---|---:|---:|---:|"+strings.Repeat("---|", len(hostileFrames)))
	for _, r := range list {
		middle := len(r.idle) / 2
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.0f | %s |\n", r.name, r.idle[middle]/1024, r.announced[middle]/1024, r.frame[middle], strings.Join(r.hostile, " | "))
	}
	return b.String()
}
