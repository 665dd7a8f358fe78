package bayeux

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// skipped counts messages that were left out, and logs them.
type skipped struct {
	mu    sync.Mutex
	count int
	told  time.Time
}

// skipLogPause is between two lines of the log: who sends can send any number.
const skipLogPause = time.Second

func (s *skipped) tell(log *slog.Logger, level slog.Level, text string, why ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if now := time.Now(); now.Sub(s.told) >= skipLogPause {
		s.told = now
		log.Log(context.Background(), level, text, append(why, "skipped", s.count)...)
	}
}
