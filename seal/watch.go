package seal

import (
	"cmp"
	"context"
	"crypto/sha256"
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

// SeenFile remembers the newest ring that a reader has accepted, so that a
// restored backup can't bring revoked keys back.
const SeenFile = "ring.seen"

// Watched is a [Source] that follows a keyring folder: it looks for a
// changed ring every interval and whenever it is told to. A ring that can't be
// read, is forged or goes back in version never replaces a good one. It is
// safe for concurrent use.
type Watched struct {
	dir      string
	options  []RingOption
	seen     string
	interval time.Duration
	maxStale time.Duration
	envelope int
	told     func(*Ring, error)

	mu     sync.RWMutex
	ring   *Ring
	looked time.Time // when the folder last showed this ring
}

// WatchConfig is optional; its zero value is the safe choice.
type WatchConfig struct {
	// Interval is how often the folder is looked at. Zero: [ReloadInterval].
	// A new key's activation must lie two of them ahead.
	Interval time.Duration
	// Seen is the file that notes the newest ring. Zero: [SeenFile] in the
	// keyring folder, which must then be writable.
	Seen string
	// Options say what opens the ring. None: dir's identity.txt.
	Options []RingOption
	// MaxStale ends the use of a ring that could not be read again for so long;
	// it must be two intervals or more. Zero: the last good ring has no end.
	MaxStale time.Duration
	// MaxEnvelope is the limit of each ring, as in [Ring.WithMaxEnvelope]. Zero:
	// [MaxEnvelope], the most that package session takes.
	MaxEnvelope int
	// Reloaded is told of each new ring, and of each look that failed. The ring is
	// the one in use: it may be a new one although there is an error, where its
	// version could not be noted. Nil: nobody is told.
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
	w := &Watched{dir: dir, options: cfg.Options, seen: cfg.Seen, interval: cfg.Interval, maxStale: cfg.MaxStale, envelope: cmp.Or(cfg.MaxEnvelope, MaxEnvelope), told: cfg.Reloaded}
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
		case _, open := <-now:
			if !open {
				now = nil // or it would be ready for ever
				continue
			}
		}
		w.Reload()
	}
}

// Reload looks for a changed ring now. A newer ring takes effect even if it can't
// be noted: a revocation must not wait for a full disk. Each look tries again.
func (w *Watched) Reload() {
	ring, _, err := w.look()
	if err != nil {
		w.told(w.last(), err)
		return
	}
	current, changed, err := w.adopt(ring)
	if err == nil {
		err = noteSeen(w.seen, current.note())
	}
	if err != nil || changed {
		w.told(current, err)
	}
}

// look reads the ring, and refuses it if the note does. A note that can't be read
// refuses nothing here.
func (w *Watched) look() (ring *Ring, unread, err error) {
	seen, unread := readSeen(w.seen) // before the ring, as LoadRing does
	ring, err = LoadRing(w.dir, w.options...)
	if err == nil && unread == nil {
		err = seen.judge(w.dir, ring)
	}
	if err != nil {
		return nil, unread, err
	}
	return ring.WithMaxEnvelope(w.envelope), unread, nil
}

// adopt takes ring if it is newer than the present one.
func (w *Watched) adopt(ring *Ring) (current *Ring, changed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.ring
	if err := old.note().judge(w.dir, ring); err != nil {
		return old, false, err
	}
	w.looked = time.Now()
	if ring.version == old.version {
		return old, false, nil
	}
	w.ring = ring
	return ring, true, nil
}

func (w *Watched) load() (*Ring, error) {
	ring, unread, err := w.look()
	if err = errors.Join(unread, err); err != nil {
		return nil, err
	}
	return ring, noteSeen(w.seen, ring.note())
}

// note is what [SeenFile] says of the newest ring. Without a file it is zero.
type note struct {
	version uint64
	digest  [sha256.Size]byte // of the signed content
}

func (r *Ring) note() note { return note{r.version, r.digest} }

func (n note) text() string { return fmt.Sprintf("%d %s\n", n.version, text64(n.digest[:])) }

// judge refuses a ring that is older than the noted one, or another of its version.
func (n note) judge(dir string, ring *Ring) error {
	path := filepath.Join(dir, RingFile)
	if ring.version < n.version {
		return fmt.Errorf("%w: %s has version %d, and version %d was seen before", ErrRing, path, ring.version, n.version)
	}
	if ring.version == n.version && ring.digest != n.digest {
		return fmt.Errorf("%w: %s is another ring of version %d than was seen before", ErrRing, path, n.version)
	}
	return nil
}

// readSeen is the note at path; zero if there is none.
func readSeen(path string) (n note, err error) {
	text, err := readPrivate(path, 128)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	version, digest, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	n.version, _ = strconv.ParseUint(version, 10, 64)
	if raw, ok := decode64(digest); ok {
		copy(n.digest[:], raw)
	}
	if n.text() != string(text) {
		return note{}, fmt.Errorf("%w: %s is not the note of a ring's version", ErrRing, path)
	}
	return n, nil
}

// noteSeen raises the note to n; it never lowers it, even where other nodes and
// the writer share it, and refuses another ring of one version.
func noteSeen(path string, n note) error {
	if done, err := noted(path, n); done || err != nil {
		return err
	}
	unlock, err := lockFile(context.Background(), path+".lock")
	if err != nil {
		return fmt.Errorf("seal: noting the version: %w", err)
	}
	defer unlock()
	if done, err := noted(path, n); done || err != nil { // by somebody else, meanwhile
		return err
	}
	removeLeftovers(path)
	if err := writeFile(path, []byte(n.text()), 0o600); err != nil {
		return fmt.Errorf("seal: noting the version: %w", err)
	}
	return nil
}

// noted says whether path notes n or a newer ring.
func noted(path string, n note) (bool, error) {
	seen, err := readSeen(path)
	if err == nil && seen.version == n.version && seen.digest != n.digest {
		err = fmt.Errorf("%w: %s notes another ring of version %d", ErrRing, path, n.version)
	}
	return seen.version >= n.version, err
}
