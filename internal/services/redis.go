package services

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Durable are the options of a Redis that syncs each write before it answers.
func Durable() []string { return []string{"--appendonly", "yes", "--appendfsync", "always"} }

// Redis starts a redis-server of the test's own, with further options as on its
// command line. Without any it keeps nothing on disk and evicts nothing.
func Redis(tb testing.TB, options ...string) *Server {
	tb.Helper()
	s := newRedis(tb, options)
	tb.Cleanup(s.discard)
	return s
}

func newRedis(tb testing.TB, options []string) *Server {
	tb.Helper()
	s := &Server{tb: tb, kind: kind{"redis-server", "TERM", redisReady}, Dir: folder(tb, "redis")}
	server := program(tb, "redis-server")
	program(tb, "redis-cli")
	s.begin(func(port string) []string {
		return append([]string{server, "--bind", "127.0.0.1", "--port", port, "--dir", s.Dir,
			"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"}, options...)
	})
	return s
}

var sharedRedis struct {
	sync.Mutex
	server *Server
}

// SharedRedis is one Redis for all tests of the process: the one at
// SEALEDBLOB_TEST_REDIS, which is host:port, or one that keeps nothing on disk.
// It may hold anything: a test uses keys that are nobody else's.
func SharedRedis(tb testing.TB) *Server {
	tb.Helper()
	if addr := os.Getenv("SEALEDBLOB_TEST_REDIS"); addr != "" {
		return &Server{tb: tb, Addr: addr}
	}
	sharedRedis.Lock()
	defer sharedRedis.Unlock()
	if sharedRedis.server == nil {
		sharedRedis.server = newRedis(tb, nil)
	}
	return &Server{tb: tb, Addr: sharedRedis.server.Addr}
}

// RedisReplica starts a replica of another server and waits until it has its data.
func RedisReplica(tb testing.TB, of *Server, options ...string) *Server {
	tb.Helper()
	host, port := of.hostPort()
	of.Redis("CONFIG", "SET", "repl-diskless-sync-delay", "0") // else it waits 5 s for others
	s := Redis(tb, append([]string{"--replicaof", host + " " + port}, options...)...)
	s.await("the replica's link", func() bool { return strings.Contains(s.Redis("INFO", "replication"), "master_link_status:up") })
	_, port = s.hostPort()
	of.await("the replica", func() bool { return strings.Contains(of.Redis("INFO", "replication"), "port="+port+",state=online") })
	return s
}

// RedisSentinels starts three sentinels that watch a master under this name, and waits until all know
// each other and its replicas. They promote one of these when the master was silent for half a second.
func RedisSentinels(tb testing.TB, name string, of *Server) []*Server {
	tb.Helper()
	host, port := of.hostPort()
	config := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 5000\n", name, host, port)
	sentinels := make([]*Server, 3)
	for i := range sentinels {
		s := &Server{tb: tb, kind: kind{"redis-server", "TERM", sentinelReady}, Dir: folder(tb, "sentinel")}
		tb.Cleanup(s.discard)
		file := filepath.Join(s.Dir, "sentinel.conf") // which it also writes to
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			tb.Fatal(err)
		}
		server := program(tb, "redis-server")
		s.begin(func(port string) []string {
			return []string{server, file, "--sentinel", "--bind", "127.0.0.1", "--port", port, "--dir", s.Dir}
		})
		sentinels[i] = s
	}
	replicas := strings.Count(of.Redis("INFO", "replication"), "state=online")
	for _, s := range sentinels {
		s.await("the other sentinels", func() bool {
			return strings.Contains(s.Redis("INFO", "sentinel"), fmt.Sprintf("status=ok,address=%s,slaves=%d,sentinels=%d\r", of.Addr, replicas, len(sentinels)))
		})
	}
	return sentinels
}

// RedisCluster starts a cluster of masters that share out the slots, and waits
// until each of them serves.
func RedisCluster(tb testing.TB, masters int, options ...string) []*Server {
	tb.Helper()
	nodes := make([]*Server, masters)
	for i := range nodes {
		// The usual bus port is the port plus 10,000, which may be none.
		bus := FreePort(tb)
		nodes[i] = Redis(tb, append([]string{"--cluster-enabled", "yes", "--cluster-port", bus}, options...)...)
		first, last := i*16384/masters, (i+1)*16384/masters-1
		nodes[i].Redis("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(first), fmt.Sprint(last))
		nodes[i].Redis("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		if i > 0 {
			host, port := nodes[i].hostPort()
			nodes[0].Redis("CLUSTER", "MEET", host, port, bus)
		}
	}
	for _, n := range nodes {
		n.await("the cluster", func() bool {
			info := n.Redis("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", masters))
		})
	}
	return nodes
}

// Redis sends one command and returns the answer as redis-cli prints it.
func (s *Server) Redis(args ...string) string {
	s.tb.Helper()
	out, err := s.cli(args...).CombinedOutput()
	if err != nil {
		s.tb.Fatalf("services: redis-cli %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

func (s *Server) cli(args ...string) *exec.Cmd {
	host, port := s.hostPort()
	return exec.Command("redis-cli", append([]string{"-e", "-h", host, "-p", port}, args...)...)
}

// redisReady asks whether the server has loaded its data. Another process may
// have taken the port, so the answer must be that of ours.
func redisReady(s *Server) bool {
	info, err := redisInfo(s.Addr)
	return err == nil && s.saysItsProcess(info) && strings.Contains(info, "\r\nloading:0\r\n")
}

// sentinelReady is the same for a sentinel, which loads nothing and knows no QUIT.
func sentinelReady(s *Server) bool {
	info, err := s.cli("INFO", "server").Output()
	return err == nil && s.saysItsProcess(string(info))
}

func (s *Server) saysItsProcess(info string) bool {
	return strings.Contains(info, fmt.Sprintf("\r\nprocess_id:%d\r\n", s.process.pid))
}

func redisInfo(addr string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("INFO server persistence\r\nQUIT\r\n")); err != nil {
		return "", err
	}
	out, err := io.ReadAll(conn)
	return string(out), err
}
