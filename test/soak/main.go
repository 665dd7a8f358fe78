//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"
)

// plan is one server process and what is done to it.
type plan struct {
	name           string
	polls, sockets int           // idle clients
	idle           time.Duration // how long nothing else happens, after some rounds of connects
	churners       int           // clients that come and go meanwhile, at any time
	churn          time.Duration // zero: none
	timeout        time.Duration // a connect is held this long
	lapse          time.Duration // Config.MaxInterval
	patience       time.Duration // the longest life of those who come and go
	slack          float64       // the last third may be above the first by this part; zero: any
	leak           string        // what the server leaks for each session
	park           bool          // Config.ParkPolls
}

const (
	minute = time.Minute
	second = time.Second
)

var (
	full = []plan{
		{name: "long polls", polls: 10_000, idle: 30 * second, timeout: 10 * second, lapse: 10 * second, slack: 0.05},
		{name: "long polls, parked", polls: 10_000, idle: 30 * second, timeout: 10 * second, lapse: 10 * second, slack: 0.05, park: true},
		{name: "websockets", sockets: 10_000, idle: 30 * second, timeout: 10 * second, lapse: 10 * second, slack: 0.05},
		{name: "both", polls: 5000, sockets: 5000,
			churners: 200, churn: minute, patience: 10 * second, timeout: 10 * second, lapse: 10 * second, slack: 0.05},
		{name: "both, parked", polls: 5000, sockets: 5000,
			churners: 200, churn: minute, patience: 10 * second, timeout: 10 * second, lapse: 10 * second, slack: 0.05, park: true},
	}
	// So few samples say nothing of growth; what each session leaves behind is
	// looked at as closely.
	quick = []plan{
		{name: "both", polls: 500, sockets: 500, churners: 50, churn: 4 * second, patience: 3 * second, timeout: 5 * second, lapse: 8 * second},
		{name: "both, parked", polls: 500, sockets: 500, churners: 50, churn: 4 * second, patience: 3 * second, timeout: 5 * second, lapse: 8 * second, park: true},
	}
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(serveMain(os.Args[2:]))
	}
	short := flag.Bool("quick", false, "1,000 clients for a few seconds")
	leak := flag.String("leak", "", "what the server leaks for each session: goroutine, entry or descriptor")
	only := flag.Int("only", 0, "run the plan of this number alone, counted from 1")
	flag.Parse()
	plans := full
	if *short {
		plans = quick
	}
	if *only > 0 && *only <= len(plans) {
		plans = plans[*only-1 : *only]
	}
	failed := false
	for _, p := range plans {
		p.leak = *leak
		if err := enoughFiles(p); err != nil {
			fmt.Fprintln(os.Stderr, "soak:", err)
			os.Exit(1)
		}
		if err := p.run(func(format string, args ...any) { fmt.Printf("soak: "+format+"\n", args...) }); err != nil {
			fmt.Fprintf(os.Stderr, "soak: %s: FAILED: %v\n", p.name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// enoughFiles raises this process' limit of open files, which the server's
// process takes over, and says if it can't be raised far enough.
func enoughFiles(p plan) error {
	need := uint64(p.polls+p.sockets+4*p.churners) + 100
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < need {
		return fmt.Errorf("%s: %d open files are needed, and the hard limit (ulimit -Hn) is %d", p.name, need, limit.Max)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
