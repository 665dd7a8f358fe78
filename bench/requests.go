package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// visitors is how many browsers ask in turn, each on a connection of its own.
const visitors = 8

// server is a process of its own that serves one system, so that its CPU time
// is not mixed with the clients'.
type server struct {
	name     string
	process  *exec.Cmd
	stop     io.Closer // the process ends with its standard input
	browsers []*browser
	turn     int
}

// startServer runs this program again as a server of a system.
func startServer(name, redis string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveVariable+"="+name, redisVariable+"="+redis)
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{name: name, process: cmd, stop: stop}
	address, err := bufio.NewReader(out).ReadString('\n')
	for i := 0; i < visitors && err == nil; i++ {
		var conn net.Conn
		conn, err = net.Dial("tcp", strings.TrimSpace(address))
		s.browsers = append(s.browsers, &browser{conn: conn, in: bufio.NewReader(conn), cookies: map[string]string{}})
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *server) close() {
	s.stop.Close()
	_ = s.process.Wait()
}

// request lets the next visitor make one request, and checks that his session
// went on.
func (s *server) request() error {
	b := s.browsers[s.turn%visitors]
	s.turn++
	body, err := b.get("/")
	if err != nil {
		return err
	}
	b.visits++
	if want := strconv.Itoa(b.visits); s.name != "floor" && string(body) != want {
		return fmt.Errorf("visit %s, the session says %.40q", want, body)
	}
	return nil
}

// usage is what the server's process has used up to now.
type usage struct {
	CPU            time.Duration
	Mallocs, Bytes uint64
}

func (s *server) usage() (u usage, err error) {
	body, err := s.browsers[0].get(usagePath)
	if err == nil {
		err = json.Unmarshal(body, &u)
	}
	return u, err
}

// measure is the server's cost of a request, over n of them.
func (s *server) measure(n int) (sample, error) {
	before, err := s.usage()
	if err != nil {
		return sample{}, err
	}
	for range n {
		if err := s.request(); err != nil {
			return sample{}, err
		}
	}
	after, err := s.usage()
	per := func(total uint64) float64 { return float64(total) / float64(n) }
	return sample{per(uint64(after.CPU - before.CPU)), per(after.Mallocs - before.Mallocs), per(after.Bytes - before.Bytes)}, err
}

// browser keeps its cookies, as few as there are, on one connection.
type browser struct {
	conn    net.Conn
	in      *bufio.Reader
	cookies map[string]string
	visits  int
}

func (b *browser) get(path string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "GET %s HTTP/1.1\r\nHost: shop.example\r\n", path)
	if line := b.cookie(); line != "" && path != usagePath {
		fmt.Fprintf(&out, "Cookie: %s\r\n", line)
	}
	out.WriteString("\r\n")
	if _, err := b.conn.Write(out.Bytes()); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(b.in, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.80s: %w", path, res.Status, body, err)
	}
	for _, c := range res.Cookies() {
		b.cookies[c.Name] = c.Value
	}
	return body, nil
}

func (b *browser) cookie() string {
	var line strings.Builder
	for name, value := range b.cookies {
		if line.Len() > 0 {
			line.WriteString("; ")
		}
		line.WriteString(name + "=" + value)
	}
	return line.String()
}

// requests starts a server of each system; stop ends them.
func requests(systems []string) (list []contender, stop func(), err error) {
	redis, stopRedis, err := startRedis()
	if err != nil {
		return nil, nil, err
	}
	var servers []*server
	stop = func() {
		for _, s := range servers {
			s.close()
		}
		stopRedis()
	}
	for _, name := range systems {
		s, err := startServer(name, redis)
		if err != nil {
			stop()
			return nil, nil, err
		}
		servers = append(servers, s)
		for range 2 * visitors {
			if err := s.request(); err != nil {
				stop()
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		list = append(list, contender{system: name, expiry: name != "floor", wire: len(s.browsers[0].cookie()), by: s.measure})
	}
	return list, stop, nil
}

// startRedis runs a Redis of our own on loopback, which keeps nothing on disk.
func startRedis() (address string, stop func(), err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", nil, fmt.Errorf("the peer scs with Redis needs Debian's redis-server: %w", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning", "--dir", os.TempDir())
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 100 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address, stop, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("no Redis at %s", address)
}
