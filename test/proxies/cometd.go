package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// cometd lets CometD's client in Node.js speak over a transport. It says "through ID" for
// each session in which a message came there and back: one, then another after its node is
// killed. It ends its session when its standard input ends.
func cometd(transport string) func(context.Context, *place) error {
	return func(ctx context.Context, p *place) error {
		cmd := exec.CommandContext(ctx, "node", "test/peers/node/proxies-client.js", p.proxy.url(), transport)
		cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+p.proxy.pem)
		var notes bytes.Buffer
		cmd.Stderr = &notes
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		lines := bufio.NewScanner(out)
		met := p.meet(lines)
		_ = in.Close()
		for lines.Scan() {
		}
		if err := errors.Join(met, cmd.Wait()); err != nil {
			return fmt.Errorf("%w\n%s", err, notes.String())
		}
		return until(ctx, "the end of the session", func() bool { return p.polls() == 0 })
	}
}

func (p *place) meet(lines *bufio.Scanner) error {
	for i := range 2 {
		lines.Scan()
		id, ok := strings.CutPrefix(lines.Text(), "through ")
		if !ok {
			return fmt.Errorf("client said %q", lines.Text())
		}
		home, _, err := p.home(id)
		if err != nil {
			return err
		}
		if i == 0 {
			home.kill()
		}
	}
	return nil
}
