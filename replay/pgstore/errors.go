package pgstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealedblob/sealedblob/replay"
)

// Errors that a caller may want to tell apart; like every error that is not one of
// package replay's, they mean "we could not tell".
var (
	// ErrRestored says that the database is not where its memory was made, or that
	// it knows less than this process has seen: it was restored from a dump or
	// a copy, or another server took over. What was spent since is not known. See
	// [Store.RaiseEpoch] and [Store.AcceptFailover].
	ErrRestored = errors.New("the database was restored, put back or taken over: raise its epoch")
	// ErrOtherDatabase says that the transaction of [Store.ClaimTx] is not on the
	// Store's database: what is spent in one could be spent again in the other.
	ErrOtherDatabase = errors.New("the transaction is on another database than the store")
	// ErrUnfit says that the server can't keep a store's promise; the message tells
	// which setting is to blame.
	ErrUnfit = errors.New("server is not fit for a replay store")
	// ErrSchema says that the database has no schema of this program's version, or
	// not for this role.
	ErrSchema = errors.New("replay schema does not fit")

	errURL       = errors.New("connection string is not valid")
	errReach     = errors.New("no connection to the database")
	errIsolation = errors.New("the transaction is not READ COMMITTED")
	errNoRights  = fmt.Errorf("%w: claim of no rights", replay.ErrArgument)
	errNoSubject = fmt.Errorf("%w: revocation of no subject", replay.ErrArgument)
	errFarCut    = fmt.Errorf("%w: revocation of logins later than KeepUntil", replay.ErrArgument)
	errAnswer    = errors.New("replay/pgstore: unexpected answer")
	errTooLarge  = fmt.Errorf("%w: fence or generation does not fit into 63 bits", replay.ErrArgument)
)

// States that the server tells errors by; those of SB are raised in sql/.
const (
	stateStandby   = "SB001"
	stateIsolation = "SB002"
	stateRestored  = "SB003"
	statePurged    = "SB004"
	stateOther     = "SB006"
	stateFull      = "53100"
	stateForbidden = "42501"
	stateNoSchema  = "3F000"
	stateNoTable   = "42P01"
	stateLocked    = "55P03"
	stateDeadlock  = "40P01"
)

// inWords are what people meet who set up a node. The server's own words may hold
// what was asked.
var inWords = map[string]string{
	"28P01":        ", a wrong password",
	"28000":        ", this role may not log in from here",
	"3D000":        ", there is no such database",
	"53300":        ", too many connections",
	"57P03":        ", it is starting or stopping",
	stateForbidden: ", this role may not do it",
}

// refused is an error of our own that passes through the library.
type refused struct {
	is  error
	why string
}

func (r *refused) Error() string { return r.is.Error() + ": " + r.why }
func (r *refused) Unwrap() error { return r.is }

// state is the server's, empty if err is not from there.
func state(err error) string {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// plain is err without what may hold a secret: a password, an id, a value.
func plain(err error) error {
	code := state(err)
	switch code {
	case stateStandby:
		return &refused{ErrUnfit, "a standby"}
	case stateIsolation:
		return errIsolation
	case stateRestored:
		return ErrRestored
	case stateOther:
		return ErrOtherDatabase
	case stateLocked:
		return replay.ErrHeld
	case stateFull:
		return replay.ErrFull // and the transaction is rolled back
	case "":
	default:
		return fmt.Errorf("the database says %s%s", code, inWords[code])
	}
	if own := (*refused)(nil); errors.As(err, &own) {
		return own
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return ended
		}
	}
	return unreached(err)
}

// unreached says why nobody answered, as far as that is known and no secret.
func unreached(err error) error {
	why := ""
	switch {
	case errors.As(err, new(*net.DNSError)):
		why = "its host is not known"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "nobody listens there"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		why = "its certificate is not valid"
	case errors.As(err, new(pgx.ScanArgError)), errors.Is(err, pgx.ErrNoRows):
		return errAnswer
	default:
		return errReach
	}
	return &refused{errReach, why}
}

// refusal is the error for an answer that decides nothing.
func refusal(answer int16) error {
	switch answer {
	case answerEpoch:
		return replay.ErrBeforeEpoch
	case answerHorizon:
		return replay.ErrBeyondHorizon
	case answerAhead:
		return replay.ErrAhead
	case answerFar:
		return errFarCut
	case answerNoOwner:
		return replay.ErrNoOwner
	}
	return errAnswer
}
