package filestore

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// maxGroup bounds the calls that share one write.
const maxGroup = 1024

// idle is how long others must have had the log to themselves before it is worth
// a look whether they are segments ahead.
const idle = time.Second

// op is one call that waits for the committer.
type op struct {
	ctx   context.Context
	reads bool // changes nothing and needs no fsync
	asks  bool // needs none either unless it writes a record
	// f decides; then runs after the group is durable. Either may be nil.
	f    func(l *replay.Ledger, now time.Time) error
	then func(d *disk) error

	done chan struct{}
	err  error // read it after done
}

// do submits f as o and returns its result. After an error, which may be that of
// a ctx while the committer still holds the op, the result is not looked at.
func do[T any](ctx context.Context, s *Store, o op, f func(l *replay.Ledger, now time.Time) (T, error)) (T, error) {
	var got, zero T
	o.f = func(l *replay.Ledger, now time.Time) (err error) {
		got, err = f(l, now)
		return err
	}
	if err := s.submit(ctx, &o); err != nil {
		return zero, err
	}
	return got, nil
}

// submit hands o to the committer and waits for the answer.
func (s *Store) submit(ctx context.Context, o *op) error {
	select {
	case <-s.quit:
		return replay.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.readOnly && !o.reads {
		return fmt.Errorf("replay/filestore: %w", errReadOnly)
	}
	o.ctx, o.done = ctx, make(chan struct{})
	select {
	case s.ops <- o:
	default:
		select {
		case s.ops <- o:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.quit:
			return replay.ErrClosed
		}
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		select {
		case <-o.done:
		default:
			return replay.ErrClosed
		}
	}
	return o.err
}

// run is the committer: it alone touches the disk and the ledger.
func (s *Store) run() {
	defer close(s.stopped)
	for {
		select {
		case <-s.quit:
			return
		case first := <-s.ops:
			s.commit(s.gather(first))
		}
	}
}

// gather collects the calls that wait. Callers that were answered just now get
// the chance to come again, so that groups are large under load.
func (s *Store) gather(first *op) []*op {
	for n := -1; n != len(s.ops); {
		n = len(s.ops)
		runtime.Gosched()
	}
	group := []*op{first}
	for len(group) < maxGroup {
		select {
		case o := <-s.ops:
			group = append(group, o)
		default:
			return group
		}
	}
	return group
}

// commit decides on a group, makes it durable, and only then answers.
func (s *Store) commit(group []*op) {
	answered := false
	if time.Since(s.disk.unlocked) > idle {
		s.disk.ahead()
	}
	err := s.disk.locked(s.lockWait, s.quit, func() error {
		d := s.disk
		if err := d.refresh(); err != nil {
			return err
		}
		now := d.hooks.now()
		writes := decide(d, group, now)
		if err := d.cleanIfDue(now); err != nil {
			d.drop()
			return err
		}
		if err := d.commit(writes); err != nil {
			return err
		}
		for _, o := range group {
			if o.then != nil && o.err == nil {
				o.err = o.then(d)
			}
			close(o.done)
		}
		answered = true
		if len(d.pending) > frameSize {
			d.remove()
			d.endIfDue()
		}
		return nil
	})
	if answered {
		return
	}
	for _, o := range group {
		o.err = fmt.Errorf("replay/filestore: %w", err)
		close(o.done)
	}
}

// decide runs the group on the ledger and reports whether anything in it depends
// on the log being durable.
func decide(d *disk, group []*op, now time.Time) (writes bool) {
	for _, o := range group {
		if o.err = o.ctx.Err(); o.err != nil {
			continue
		}
		before := len(d.pending)
		if o.f != nil {
			o.err = o.f(d.ledger, now)
		}
		writes = writes || len(d.pending) > before || !o.reads && !o.asks
	}
	return writes
}
