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
	errDamaged     = errors.New("record is damaged")
	errAgain       = errors.New("server was started again or replaced since a node last looked, and what it lost is not known: raise the epoch, or say KeepOnRestart as the nodes do")
	errUnsynced    = fmt.Errorf("%w: KeepOnRestart until the append-only file, which was off, is whole", ErrUnfit)
	errVersion     = errors.New("store is of a later version")
	errMoving      = errors.New("a Cluster is moving the store to another server")
	errReadOnly    = errors.New("store is open for reading only")
	errFarCut      = fmt.Errorf("%w: revocation of logins later than KeepUntil", replay.ErrArgument)
)

// refusals are the words of the script for them.
var refusals = map[string]error{
	"before":   replay.ErrBeforeEpoch,
	"ahead":    replay.ErrAhead,
	"beyond":   replay.ErrBeyondHorizon,
	"full":     replay.ErrFull,
	"owner":    replay.ErrNoOwner,
	"far":      errFarCut,
	"damaged":  errDamaged,
	"again":    errAgain,
	"unsynced": errUnsynced,
	"gone":     ErrGone,
	"back":     ErrWentBack,
	"era":      errOtherServer,
	"version":  errVersion,
	"moving":   errMoving,
	"replicas": ErrReplicas,
}

// sweepBudget bounds the records that one operation purges, beside two for each
// that it may write.
const sweepBudget = 64

// question is one operation. A claim has no args, and shares a call with others.
type question struct {
	operation string
	args      []string
	single    single // a claim of one right
	packed    string // any other claim
}

// reply is the answer to a question, or to one claim of many.
type reply struct {
	answer
	outcome replay.Outcome
	err     error
}

// do runs an operation, together with what other callers ask at the same time: one
// round trip, unless the server must be checked first.
func (s *Store) do(ctx context.Context, q question) (reply, error) {
	if err := s.usable(ctx, !reads[q.operation]); err != nil {
		return reply{}, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	got, err := s.questions.Do(ctx, q)
	if err == nil {
		err = got.err
	}
	if err != nil {
		return reply{}, s.wrap(err)
	}
	return got, nil
}

// bounded ends ctx when the store's patience does.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ends := ctx.Deadline(); ends && time.Until(end) <= s.patience() {
		return ctx, func() {}
	}
	if ctx.Done() == nil {
		return s.common(), func() {}
	}
	return context.WithTimeout(ctx, s.patience())
}

// common is for all whose own never ends: a timer for each costs a tenth of a claim. It ends up to an
// eighth later.
func (s *Store) common() context.Context {
	if ctx := s.waiting.Load(); ctx != nil {
		if end, _ := (*ctx).Deadline(); time.Until(end) >= s.patience() {
			return *ctx
		}
	}
	fresh, cancel := context.WithTimeout(context.Background(), s.patience()*9/8)
	context.AfterFunc(fresh, cancel)
	s.waiting.Store(&fresh)
	return fresh
}

// carry puts a batch of questions. Those that came to a server that was not checked
// did nothing, and are put once more.
func (s *Store) carry(batch []question, replies []reply) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	s.put(ctx, batch, replies)
	var again []question
	var at []int
	for i, r := range replies {
		if errors.Is(r.err, errOtherServer) {
			again, at = append(again, batch[i]), append(at, i)
		}
	}
	if len(again) == 0 {
		return nil
	}
	second := make([]reply, len(again))
	s.put(ctx, again, second)
	for n, i := range at {
		replies[i] = second[n]
	}
	return nil
}

func (s *Store) patience() time.Duration {
	if s.cfg.waits() {
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

// put puts a batch of questions to the server that was checked last, over one
// connection and at once.
func (s *Store) put(ctx context.Context, batch []question, replies []reply) {
	srv, err := s.checked(ctx)
	if err != nil {
		for i := range replies {
			replies[i].err = err
		}
		return
	}
	calls := s.calls(batch)
	for i, c := range calls {
		calls[i].command = s.command(srv, c.question)
	}
	for i, a := range s.ask(ctx, srv.era, calls) {
		calls[i].deliver(a, replies)
	}
	for _, r := range replies {
		if errors.Is(r.err, errOtherServer) {
			s.server.CompareAndSwap(srv, nil)
		}
	}
}

// call is one EVALSHA. It answers the questions at these places of a batch: one, or
// any number of claims.
type call struct {
	question
	command
	places  []int
	singles int // of claims: how many of one right each come first
}

// command is ready to be sent; tag tells its answer from any other.
type command struct {
	rueidis.Completed
	tag string
}

// calls makes one call of all claims, and one of each other question.
func (s *Store) calls(batch []question) (calls []call) {
	claims := make([]int, 0, len(batch))
	for i, q := range batch {
		if q.operation == "claim" {
			claims = append(claims, i)
			continue
		}
		calls = append(calls, call{question: q, places: []int{i}})
	}
	if len(claims) > 0 {
		calls = append(calls, s.claims(batch, claims))
	}
	return calls
}

// deliver gives each question its answer.
func (c call) deliver(r reply, replies []reply) {
	if c.operation == "claim" && r.err == nil {
		c.tell(r, replies)
		return
	}
	for _, i := range c.places {
		replies[i] = r
	}
}

func (s *Store) tag() string { return strconv.FormatUint(s.tags.Add(1), 36) }

// command is a question to the store as srv has it.
func (s *Store) command(srv *server, q question) command {
	tag := s.tag()
	c := s.client.B().Evalsha().Sha1(srv.sha[scriptOf[q.operation]]).Numkeys(1).Key(s.meta).
		Arg(tag, srv.era.known(), itoa(srv.era.seq.Load()), q.operation, s.budget(q)).Arg(q.args...).Build()
	return command{c, tag}
}

// ask sends all calls over one connection and reads the answers. Where one does not
// belong to its question no connection is used any more. The seq of all is noted in an
// era, if one is given.
func (s *Store) ask(ctx context.Context, of *era, calls []call) []reply {
	commands, writes := make([]rueidis.Completed, len(calls), len(calls)+1), false
	for i, c := range calls {
		commands[i] = c.Completed
		writes = writes || !reads[c.operation]
	}
	wait := writes && s.cfg.waits()
	if wait { // about all that came before on this connection
		commands = append(commands, s.wait())
	}
	results := s.client.DoMulti(ctx, commands...)
	replies := make([]reply, len(calls))
	for i, c := range calls {
		r := &replies[i]
		if r.answer, r.err = parseAnswer(results[i], c.tag); errors.Is(r.err, errAnswer) {
			s.conns.sever()
		}
		if r.err == nil && wait && !reads[c.operation] {
			r.err = s.replicated(results[len(calls)])
		}
		if r.err != nil {
			continue
		}
		if of != nil { // a check answers nobody, and may come long after another's new era
			of.saw(r.seq)
			raise(&s.clock, r.now)
		}
	}
	return replies
}

// wait is answered with how many replicas have what was written on its connection; with Synced, how many
// servers, and how many replicas, have it on disk.
func (s *Store) wait() rueidis.Completed {
	replicas, limit := int64(s.cfg.Replicas), s.cfg.ReplicaTimeout.Milliseconds()
	if s.cfg.Synced {
		return s.client.B().Waitaof().Numlocal(1).Numreplicas(replicas).Timeout(limit).Build()
	}
	return s.client.B().Wait().Numreplicas(replicas).Timeout(limit).Build()
}

// replicated checks the answer to wait.
func (s *Store) replicated(wait rueidis.RedisResult) error {
	var have []int64
	var err error
	if s.cfg.Synced {
		have, err = wait.AsIntSlice()
	} else {
		have = make([]int64, 1)
		have[0], err = wait.AsInt64()
	}
	switch {
	case err != nil:
		return err
	case s.cfg.Synced && (len(have) != 2 || have[0] < 1):
		return fmt.Errorf("%w: not on disk", ErrReplicas)
	}
	if n := have[len(have)-1]; n < int64(s.cfg.Replicas) {
		return fmt.Errorf("%w: %d of %d", ErrReplicas, n, s.cfg.Replicas)
	}
	return nil
}

// budget is how many records an operation may purge.
func (s *Store) budget(q question) string {
	switch {
	case q.operation == "purge":
		return "1000"
	case s.cfg.LeavePurge:
		return "0"
	}
	budget := sweepBudget + len(q.args)
	if q.operation == "claim" {
		for _, arg := range q.args {
			budget += len(arg) / len(replay.ID{}) // two for each right, and more
		}
	}
	return strconv.Itoa(budget)
}

// wrap says where an error is from, unless it is one of package replay's.
func (s *Store) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case isFinal(err), errors.Is(err, replay.ErrAhead):
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
