//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// host is the server's process, as seen from here.
type host struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func start(p plan) (*host, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &host{cmd: exec.Command(self, "serve", "-timeout", p.timeout.String(), "-lapse", p.lapse.String(), "-leak", p.leak, fmt.Sprintf("-park=%t", p.park))}
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.out = bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	addr, err := h.out.ReadString('\n')
	h.addr = strings.TrimSpace(addr)
	if err != nil {
		h.stop()
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	return h, nil
}

func (h *host) stop() {
	h.in.Close()
	_ = h.cmd.Wait()
}

// ask is "look" or "settle".
func (h *host) ask(what string) (s sample, err error) {
	if _, err := fmt.Fprintln(h.in, what); err != nil {
		return s, err
	}
	line, err := h.out.ReadBytes('\n')
	if err != nil {
		return s, fmt.Errorf("the server ended: %w", err)
	}
	return s, json.Unmarshal(line, &s)
}
