package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SeenFile remembers the highest version of a ring that a reader has accepted,
// so that a restored backup can't bring revoked keys back.
const SeenFile = "ring.seen"

// Watched is a [Source] that follows a keyring directory: it looks for a
// changed ring every interval and whenever it is told to. A ring that can't be
// read, is forged or goes back in version never replaces a good one. It is
// safe for concurrent use.
type Watched struct {
	dir      string
	options  []RingOption
	seen     string
	interval time.Duration
	maxStale time.Duration
	told     func(*Ring, error)

	mu     sync.RWMutex
	ring   *Ring
	looked time.Time // when the directory last showed this ring
}

// WatchConfig is optional; its zero value is the safe choice.
type WatchConfig struct {
	// Interval is how often the directory is looked at. Zero: [ReloadInterval].
	// A new key's activation must lie two of them ahead.
	Interval time.Duration
	// Seen is the file that notes the highest version. Zero: [SeenFile] in the
	// keyring directory, which must then be writable.
	Seen string
	// Options say what opens the ring. None: dir's identity.txt.
	Options []RingOption
	// MaxStale ends the use of a ring that could not be read again for so long;
	// it must be two intervals or more. Zero: the last good ring has no end.
	MaxStale time.Duration
	// Reloaded is told of each new ring, and of each try that failed; the ring
	// is then the old one. Nil: nobody is told.
	Reloaded func(*Ring, error)
}

// WatchRing loads dir's ring as [LoadRing] does and prepares to follow it; call
// [Watched.Run]. It notes the version, and fails if it can't.
func WatchRing(dir string, cfg WatchConfig) (*Watched, error) {
	if cfg.Interval == 0 {
		cfg.Interval = ReloadInterval
	}
	if cfg.Interval < 0 {
		return nil, errors.New("seal: a negative reload interval")
	}
	if cfg.MaxStale != 0 && cfg.MaxStale < 2*cfg.Interval {
		return nil, errors.New("seal: MaxStale is under two reload intervals")
	}
	if cfg.Reloaded == nil {
		cfg.Reloaded = func(*Ring, error) {}
	}
	if cfg.Seen == "" {
		cfg.Seen = filepath.Join(dir, SeenFile)
	}
	w := &Watched{dir: dir, options: cfg.Options, seen: cfg.Seen, interval: cfg.Interval, maxStale: cfg.MaxStale, told: cfg.Reloaded}
	ring, err := w.load()
	if err != nil {
		return nil, err
	}
	w.ring, w.looked = ring, time.Now()
	return w, nil
}

// Ring implements [Source]: it is the last good ring. It fails only where that
// is older than MaxStale.
func (w *Watched) Ring(context.Context) (*Ring, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.maxStale > 0 && time.Since(w.looked) > w.maxStale {
		return nil, fmt.Errorf("seal: %s could not be read for over %v", filepath.Join(w.dir, RingFile), w.maxStale)
	}
	return w.ring, nil
}

// last is the last good ring, however old.
func (w *Watched) last() *Ring {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.ring
}

// Run looks for changes until ctx ends; a value on now asks to look at once
// (SIGHUP). A nil now is fine.
func (w *Watched) Run(ctx context.Context, now <-chan os.Signal) {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-now:
		}
		w.Reload()
	}
}

// Reload looks for a changed ring now. A newer ring takes effect even if its
// version can't be noted: a revocation must not wait for a full disk.
func (w *Watched) Reload() {
	ring, err := LoadRing(w.dir, w.options...)
	if err != nil {
		w.told(w.last(), err)
		return
	}
	current, changed, err := w.adopt(ring)
	if err == nil && changed {
		err = noteSeen(w.seen, ring.version)
	}
	if err != nil || changed {
		w.told(current, err)
	}
}

// adopt takes ring if it is newer than the present one.
func (w *Watched) adopt(ring *Ring) (current *Ring, changed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch old := w.ring; {
	case ring.version < old.version:
		return old, false, wentBack(w.dir, ring.version, old.version)
	case ring.version == old.version && ring.digest != old.digest:
		return old, false, fmt.Errorf("%w: %s is another ring of version %d", ErrRing, filepath.Join(w.dir, RingFile), old.version)
	case ring.version == old.version:
		w.looked = time.Now()
		return old, false, nil
	}
	w.ring, w.looked = ring, time.Now()
	return ring, true, nil
}

func (w *Watched) load() (*Ring, error) {
	seen, err := readSeen(w.seen) // before the ring, as LoadRing does
	if err != nil {
		return nil, err
	}
	ring, err := LoadRing(w.dir, w.options...)
	if err != nil {
		return nil, err
	}
	if ring.version < seen {
		return nil, wentBack(w.dir, ring.version, seen)
	}
	return ring, noteSeen(w.seen, ring.version)
}

func wentBack(dir string, version, seen uint64) error {
	return fmt.Errorf("%w: %s has version %d, and version %d was seen before", ErrRing, filepath.Join(dir, RingFile), version, seen)
}

// readSeen is the version that path notes; 0 if there is no note.
func readSeen(path string) (uint64, error) {
	text, err := readPrivate(path, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	seen, err := strconv.ParseUint(strings.TrimSuffix(string(text), "\n"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is not a version", ErrRing, path)
	}
	return seen, nil
}

// noteSeen raises the note to version; it never lowers it, even where other
// nodes and the writer share it.
func noteSeen(path string, version uint64) error {
	seen, err := readSeen(path)
	if err != nil || seen >= version {
		return err
	}
	unlock, err := lockFile(context.Background(), path+".lock")
	if err != nil {
		return fmt.Errorf("seal: noting the version: %w", err)
	}
	defer unlock()
	seen, err = readSeen(path) // somebody else may have written it by now
	if err != nil || seen >= version {
		return err
	}
	removeLeftovers(path)
	if err := writeFile(path, []byte(strconv.FormatUint(version, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("seal: noting the version: %w", err)
	}
	return nil
}
