package sqlitedoc

import (
	"context"
	"errors"
	"os"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sealpost/sealpost/shared/fault"
)

// unusable says why a file cannot be opened or made.
func unusable(path string, err error) error {
	op := "sqlitedoc.Open " + path
	if errors.Is(err, os.ErrPermission) {
		return fault.New(fault.ConfigInvalid, "permission denied on %s", path).
			WithRemedy("Have the owner and the mode of the file and of its directory corrected, or take another directory.", "").WithOp(op).WithCause(err)
	}
	return fault.New(fault.Unreachable, "%s cannot be opened", path).WithOp(op).WithCause(err)
}

// kindly gives an error of the driver its kind: the context's if that has
// ended, [fault.Unavailable] where the file is busy, full or out of reach, and
// [fault.StateDamaged] where it is none of SQLite's, or not whole.
func (s *Store) kindly(ctx context.Context, op string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return fault.Annotate(op, err)
	case ctx.Err() != nil:
		return fault.Wrap(fault.KindOf(ctx.Err()), op, nil)
	case hasCode(err, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
		return fault.New(fault.StateDamaged, "%s is damaged or of another version: move it away to start anew", s.path).WithOp(op).WithCause(mute(err))
	case hasCode(err, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
		return fault.New(fault.Unreachable, "%s cannot be opened or written", s.path).WithOp(op).WithCause(mute(err))
	case hasCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
		return fault.Wrap(fault.Unavailable, op, mute(err))
	}
	return fault.Wrap(fault.Internal, op, mute(err))
}

// hasCode reports whether err is SQLite's with one of the primary result codes.
func hasCode(err error, primaries ...int) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, primary := range primaries {
		if e.Code()&0xff == primary {
			return true
		}
	}
	return false
}

// mute keeps what SQLite calls the failure and drops the rest, since a
// message may show what was bound to a statement.
func mute(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return errors.New("SQLite: " + sqlite.ErrorCodeString[e.Code()])
	}
	return err
}
