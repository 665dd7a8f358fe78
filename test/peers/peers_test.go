package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestMain lets the test's own binary be the programs that a meeting starts.
func TestMain(m *testing.M) {
	const asProgram = "SEALEDBLOB_PEERS_PROGRAM"
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Setenv(asProgram, "1")
	os.Exit(m.Run())
}

func meetingWith(t *testing.T, client []string, steps []string) meeting {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if client[0] == "self" {
		client = append([]string{self}, client[1:]...)
	}
	return meeting{client: "a client", server: "ours", transport: "websocket", clientArgv: client, serverArgv: []string{self, "server"}, steps: steps}
}

func TestAClientThatDoesItAllPasses(t *testing.T) {
	m := meetingWith(t, []string{"self", "client", "service", "ack"}, steps("service", "ack"))
	if err := runAll(t.Context(), []meeting{m}, regexp.MustCompile(""), 1); err != nil {
		t.Error(err)
	}
}

func TestAClientThatLeavesSomethingOutFails(t *testing.T) {
	for name, m := range map[string]meeting{
		"runs nothing":  meetingWith(t, []string{"true"}, steps()),
		"leaves a step": meetingWith(t, []string{"self", "client", "service"}, steps("service", "ack")),
		"fails":         meetingWith(t, []string{"false"}, nil),
		"is not there":  meetingWith(t, []string{"./no such program"}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if err := runAll(t.Context(), []meeting{m}, regexp.MustCompile(""), 1); err == nil {
				t.Error("passed")
			}
		})
	}
}

func TestNoMeetingAtAllFails(t *testing.T) {
	if err := runAll(t.Context(), nil, regexp.MustCompile(""), 1); err == nil {
		t.Error("passed")
	}
}

// README has the table of what is run, and no other, and words for each step.
func TestMeetings(t *testing.T) {
	all := meetings("peers", "java")
	if len(all) != 25 {
		t.Errorf("%d meetings, there were 25", len(all))
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := table(all); !strings.Contains(string(readme), want) {
		t.Errorf("README's table is not:\n%s", want)
	}
	if rows := regexp.MustCompile(`(?m)^(\|[^|\n]*){9}\|$`).FindAll(readme, -1); len(rows) != len(all)+2 {
		t.Errorf("README has %d rows of the table's width, want %d", len(rows), len(all)+2)
	}
	seen := make(map[string]bool)
	for _, m := range all {
		if seen[m.name()] {
			t.Errorf("%s twice", m.name())
		}
		seen[m.name()] = true
		if len(m.steps) < len(first)+len(last) {
			t.Errorf("%s has %d steps", m.name(), len(m.steps))
		}
		for _, s := range m.steps {
			if !strings.Contains(string(readme), "\n| "+s+" |") {
				t.Errorf("README does not say what %s means", s)
			}
		}
	}
}

func TestAnAnswerIsLostOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f, err := newFront()
	if err != nil {
		t.Fatal(err)
	}
	defer f.shut()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := startServer(ctx, []string{self, "server", "0", "http://127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.kill()
	f.to(c.addr)
	const handshake = `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"id":"1"}]`
	lost := f.lose("clientId")
	if answer, err := post(ctx, f.url(), handshake); err == nil {
		t.Errorf("got %s", answer)
	}
	if err := wait(lost); err != nil {
		t.Error(err)
	}
}
