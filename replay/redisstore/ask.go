package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/replay"
)

var (
	// errOtherServer says that nothing was done, since the server or the store is not
	// the one that was checked.
	errOtherServer = errors.New("server was not checked")
	errAnswer      = errors.New("answer is not one to this question")
	errVersion     = errors.New("store is of a later version")
	errReadOnly    = errors.New("store is open for reading only")
	errFarCut      = errors.New("revocation of logins later than KeepUntil")
)

// refusals are the words of the script for them.
var refusals = map[string]error{
	"before":  replay.ErrBeforeEpoch,
	"beyond":  replay.ErrBeyondHorizon,
	"full":    replay.ErrFull,
	"owner":   replay.ErrNoOwner,
	"far":     errFarCut,
	"gone":    ErrGone,
	"back":    ErrWentBack,
	"era":     errOtherServer,
	"version": errVersion,
}

// sweepBudget bounds the records that one operation purges, beside two for each
// that it may write.
const sweepBudget = 64

// do runs an operation: one round trip, unless the server must be checked first.
func (s *Store) do(ctx context.Context, operation string, args ...string) (answer, error) {
	reads := scriptOf[operation] == "ask"
	if err := s.usable(ctx, !reads); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	a, err := s.try(ctx, operation, args)
	if errors.Is(err, errOtherServer) { // it did nothing
		a, err = s.try(ctx, operation, args)
	}
	return a, s.wrap(ctx, err)
}

func (s *Store) patience() time.Duration {
	if s.cfg.Replicas > 0 {
		return s.cfg.Timeout + s.cfg.ReplicaTimeout
	}
	return s.cfg.Timeout
}

// usable refuses a closed store, an ended ctx, and a write where none is allowed.
func (s *Store) usable(ctx context.Context, write bool) error {
	select {
	case <-s.quit:
		return replay.ErrClosed
	default:
	}
	if write && s.cfg.ReadOnly {
		return fmt.Errorf("replay/redisstore: %w", errReadOnly)
	}
	return ctx.Err()
}

// try asks the server that was checked last.
func (s *Store) try(ctx context.Context, operation string, args []string) (answer, error) {
	srv, err := s.checked(ctx)
	if err != nil {
		return answer{}, err
	}
	a, err := s.ask(ctx, s.client, srv, operation, args...)
	if errors.Is(err, errOtherServer) || isRedisError(err, "READONLY") {
		s.server.CompareAndSwap(srv, nil)
	}
	return a, err
}

// ask calls the script once.
func (s *Store) ask(ctx context.Context, via rueidis.CoreClient, srv *server, operation string, args ...string) (answer, error) {
	tag := strconv.FormatUint(s.tags.Add(1), 36)
	call := via.B().Evalsha().Sha1(srv.sha[scriptOf[operation]]).Numkeys(1).Key(s.meta).
		Arg(tag, srv.era.name, itoa(srv.era.seq.Load()), operation)
	if scriptOf[operation] != "open" {
		call = call.Arg(s.budget(operation, len(args)))
	}
	eval := call.Arg(args...).Build()
	reads := scriptOf[operation] == "ask"
	var result rueidis.RedisResult
	if s.cfg.Replicas > 0 && !reads {
		wait := via.B().Wait().Numreplicas(int64(s.cfg.Replicas)).Timeout(s.cfg.ReplicaTimeout.Milliseconds()).Build()
		results := via.DoMulti(ctx, eval, wait) // one connection: WAIT is about what came before on it
		result = results[0]
		if result.Error() == nil {
			if err := s.replicated(results[1]); err != nil {
				return answer{}, err
			}
		}
	} else {
		result = via.Do(ctx, eval)
	}
	a, err := parseAnswer(result, tag)
	if err != nil {
		return answer{}, err
	}
	if scriptOf[operation] != "open" {
		srv.era.saw(a.seq)
	}
	raise(&s.clock, a.now)
	return a, nil
}

// replicated checks the answer to WAIT.
func (s *Store) replicated(wait rueidis.RedisResult) error {
	n, err := wait.AsInt64()
	if err != nil {
		return err
	}
	if n < int64(s.cfg.Replicas) {
		return fmt.Errorf("%w: %d of %d", ErrReplicas, n, s.cfg.Replicas)
	}
	return nil
}

// budget is how many records an operation may purge.
func (s *Store) budget(operation string, args int) string {
	switch {
	case operation == "purge":
		return "1000"
	case s.cfg.LeavePurge:
		return "0"
	}
	return strconv.Itoa(sweepBudget + args)
}

// wrap says where an error is from, unless it is one of package replay's.
func (s *Store) wrap(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rueidis.ErrClosing):
		select {
		case <-s.quit:
			return replay.ErrClosed
		default:
		}
	case isFinal(err):
		return err
	}
	return fmt.Errorf("replay/redisstore: %w", err)
}

func isFinal(err error) bool {
	for _, final := range []error{replay.ErrBeforeEpoch, replay.ErrBeyondHorizon, replay.ErrFull, replay.ErrNoOwner, replay.ErrClosed} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// isRedisError reports whether the server answered with an error of that kind.
func isRedisError(err error, kind string) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), kind+" ")
}

// answer is what the script said beside tag and word.
type answer struct {
	seq, now int64
	rest     []rueidis.RedisMessage
}

// parseAnswer refuses an answer to another question, as of a connection that
// dropped or repeated one.
func parseAnswer(result rueidis.RedisResult, tag string) (a answer, err error) {
	all, err := result.ToArray()
	switch {
	case isRedisError(err, "NOSCRIPT"):
		return a, errOtherServer
	case isRedisError(err, "OOM"):
		return a, replay.ErrFull
	case err != nil:
		return a, err
	case len(all) < 2:
		return a, errAnswer
	}
	if got, err := all[0].ToString(); err != nil || got != tag {
		return a, errAnswer
	}
	word, err := all[1].ToString()
	if err != nil {
		return a, errAnswer
	}
	if refusal := refusals[word]; refusal != nil {
		return a, refusal
	}
	if word != "ok" || len(all) < 4 {
		return a, errAnswer
	}
	var errSeq, errNow error
	a.seq, errSeq = all[2].AsInt64()
	a.now, errNow = all[3].AsInt64()
	a.rest = all[4:]
	if errSeq != nil || errNow != nil {
		return answer{}, errAnswer
	}
	return a, nil
}

// numbers reads the n-th part as a list of numbers in [0, most].
func (a answer) numbers(n int, most int64) ([]int64, error) {
	if n >= len(a.rest) {
		return nil, errAnswer
	}
	list, err := a.rest[n].AsIntSlice()
	if err != nil {
		return nil, errAnswer
	}
	for _, v := range list {
		if v < 0 || v > most {
			return nil, errAnswer
		}
	}
	return list, nil
}

func (a answer) number(n int) (int64, error) {
	if n >= len(a.rest) {
		return 0, errAnswer
	}
	v, err := a.rest[n].AsInt64()
	if err != nil {
		return 0, errAnswer
	}
	return v, nil
}

func (a answer) text(n int) (string, error) {
	if n >= len(a.rest) {
		return "", errAnswer
	}
	v, err := a.rest[n].ToString()
	if err != nil {
		return "", errAnswer
	}
	return v, nil
}

// verdict is the first part.
func (a answer) verdict() (replay.Verdict, error) {
	v, err := a.number(0)
	if err != nil || v <= int64(replay.Refused) || v > int64(replay.Granted) {
		return replay.Refused, errAnswer
	}
	return replay.Verdict(v), nil
}

// era is what open and raise say.
func (a answer) era() (name string, epoch int64, err error) {
	name, err = a.text(0)
	epoch, errEpoch := a.number(1)
	return name, epoch, errors.Join(err, errEpoch)
}
