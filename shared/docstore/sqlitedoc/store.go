// Package sqlitedoc keeps documents in one SQLite file: the store of the local
// server, of the command line and of most tests.
//
// Several processes may use one file at a time. Writers wait for each other, at
// most [busyTimeout] and no longer than their context. A commit is on the disk
// when it returns. Update times are microseconds of the given clock, moved on
// where it stands still or goes back, so that they strictly increase over the
// whole file.
package sqlitedoc

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	busyTimeout = 5 * time.Second // how long a writer waits for the others
	readers     = 4               // connections for reading

	// Expired documents stay for sweepAfter, since expiry is checked on read and
	// Firestore is in no hurry either; a commit deletes at most sweepBatch of them.
	sweepAfter = time.Hour
	sweepBatch = 50
)

// schemaVersion is the file's PRAGMA user_version. A file of another version is
// refused: there is none older yet.
const schemaVersion = 1

const schema = `
CREATE TABLE documents (
	collection  TEXT NOT NULL,
	id          TEXT NOT NULL,
	fields      TEXT NOT NULL,    -- JSON, see json.go
	update_time INTEGER NOT NULL, -- microseconds since 1970, as all times here
	expire_at   INTEGER,
	PRIMARY KEY (collection, id)
);
CREATE INDEX documents_by_expiry ON documents (expire_at) WHERE expire_at IS NOT NULL;
CREATE TABLE clock (last INTEGER NOT NULL); -- one row: the latest update time given
INSERT INTO clock VALUES (0);
PRAGMA user_version = 1;
`

// Store is a [docstore.Store] in one file. It is safe for concurrent use.
type Store struct {
	write *sql.DB // one connection, so that this process's writers wait in line
	read  *sql.DB
	clock clock.Clock
	path  string // for people
}

var _ docstore.Store = (*Store)(nil)

// Open opens the file, or makes it, readable by its owner only; its directory
// must exist. An empty path or ":memory:" keeps everything in memory until
// Close. It returns a [fault.Unavailable] if the file cannot be opened, a
// [fault.ConfigInvalid] if this user may not, a [fault.StateDamaged] if it is no
// store, and a [fault.SchemaTooNew] if a newer version of Sealpost made it. Inside a
// testing/synctest bubble, use only stores that were opened in it.
func Open(path string, clk clock.Clock) (*Store, error) {
	s := &Store{clock: clk, path: path}
	if path == "" || path == ":memory:" {
		s.write = sql.OpenDB(connector("file::memory:?_txlock=immediate"))
		s.read = s.write
	} else {
		if err := createPrivate(path); err != nil {
			return nil, unusable(path, err)
		}
		address, err := fileURL(path)
		if err != nil {
			return nil, unusable(path, err)
		}
		wait := fmt.Sprintf("?_busy_timeout=%d", busyTimeout.Milliseconds())
		s.write = sql.OpenDB(connector(address + wait + "&_txlock=immediate&_journal_mode=WAL&_synchronous=FULL"))
		s.read = sql.OpenDB(connector(address + wait + "&_query_only=1"))
	}
	s.write.SetMaxOpenConns(1)
	if s.read != s.write {
		s.read.SetMaxOpenConns(readers)
		s.read.SetMaxIdleConns(readers)
	}
	if err := s.prepareFile(); err != nil {
		_ = s.Close()
		return nil, fault.Annotate("sqlitedoc.Open "+path, err)
	}
	return s, nil
}

// Close closes the file. The store cannot be used any more.
func (s *Store) Close() error {
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return fault.Wrap(fault.Internal, "sqlitedoc.Close", mute(err))
	}
	return nil
}

// createPrivate makes the file before SQLite does, since SQLite gives its
// companions (-wal, -shm) the file's mode.
func createPrivate(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = file.Chmod(0o600)
	}
	return errors.Join(err, file.Close())
}

func fileURL(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	slashed := filepath.ToSlash(absolute)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // a drive's letter
	}
	return (&url.URL{Scheme: "file", Path: slashed}).String(), nil
}

// prepareFile makes the schema in a new file. Two processes may do so at once:
// the switch to WAL does not wait for locks, so it is tried again. A process
// that stands still with the lock is not waited for longer than busyTimeout,
// and then once more as long by the last try.
func (s *Store) prepareFile() error {
	const pause = 20 * time.Millisecond
	ctx := context.Background() // bounded by the time
	for started := s.clock.Now(); ; {
		err := s.migrate(ctx)
		if !hasCode(err, sqlite3.SQLITE_BUSY) || s.clock.Now().Sub(started) >= busyTimeout {
			return s.kindly(ctx, "prepare", err)
		}
		_ = s.clock.Sleep(ctx, pause)
	}
}

func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version > schemaVersion:
		return fault.New(fault.SchemaTooNew, "the file has schema version %d; this binary knows %d", version, schemaVersion)
	case version == schemaVersion:
		return nil
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	return tx.Commit()
}

// Get implements [docstore.Store].
func (s *Store) Get(ctx context.Context, key docstore.Key) (docstore.Doc, error) {
	op := "sqlitedoc.Get " + key.String()
	if err := key.Check(); err != nil {
		return docstore.Doc{}, fault.Annotate(op, err)
	}
	row := s.read.QueryRowContext(ctx, `SELECT id, fields, update_time, (SELECT last FROM clock), 0, 0
		FROM documents WHERE collection = ? AND id = ?`, key.Collection, key.ID)
	doc, _, _, err := s.scanRow(key.Collection, row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return docstore.Doc{}, fault.Wrap(fault.NotFound, op, nil)
	}
	return doc, s.kindly(ctx, op, err)
}

// List implements [docstore.Store].
func (s *Store) List(ctx context.Context, query docstore.Query) (docstore.Page, error) {
	op := "sqlitedoc.List " + query.Collection
	if err := query.Check(); err != nil {
		return docstore.Page{}, fault.Annotate(op, err)
	}
	statement, err := listing(query)
	if err != nil {
		return docstore.Page{}, fault.Annotate(op, err)
	}
	page, err := s.page(ctx, query, statement)
	return page, s.kindly(ctx, op, err)
}

func (s *Store) page(ctx context.Context, query docstore.Query, statement *statement) (page docstore.Page, err error) {
	rows, err := s.read.QueryContext(ctx, statement.text.String(), statement.args...)
	if err != nil {
		return docstore.Page{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var place []byte // of the last document taken
	for rows.Next() {
		if len(page.Docs) == query.Limit {
			page.Next = query.EncodeCursor(page.Docs[query.Limit-1].ID, place)
			break
		}
		doc, rank, value, err := s.scanRow(query.Collection, rows.Scan)
		if err != nil {
			return docstore.Page{}, err
		}
		page.Docs = append(page.Docs, doc)
		place = cursorValue(query, rank, value)
	}
	if err := rows.Err(); err != nil {
		return docstore.Page{}, err
	}
	return page, nil
}

// scanRow reads id, fields, update time, the store's latest update time, and
// the document's place in the order.
func (s *Store) scanRow(collection string, scan func(...any) error) (docstore.Doc, int64, any, error) {
	var (
		id, text              string
		updated, latest, rank int64
		value                 any
	)
	if err := scan(&id, &text, &updated, &latest, &rank, &value); err != nil {
		return docstore.Doc{}, 0, nil, err
	}
	fields, err := parseMap(text)
	if err != nil {
		return docstore.Doc{}, 0, nil, fault.Wrap(fault.Internal, "read "+collection+"/"+id, err)
	}
	delete(fields, docstore.ExpireField)
	return docstore.Doc{
		Key:        docstore.Key{Collection: collection, ID: id},
		Fields:     fields,
		UpdateTime: time.UnixMicro(updated).UTC(),
		ReadTime:   time.UnixMicro(max(latest, s.clock.Now().UnixMicro())).UTC(),
	}, rank, value, nil
}

// Commit implements [docstore.Store].
func (s *Store) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	op := "sqlitedoc.Commit"
	if len(writes) > 0 {
		op += fmt.Sprintf(" %s and %d more", writes[0].Key, len(writes)-1)
	}
	if err := docstore.CheckWrites(writes); err != nil {
		return time.Time{}, fault.Annotate(op, err)
	}
	at, err := s.commit(ctx, writes)
	if err != nil {
		return time.Time{}, s.kindly(ctx, op, err)
	}
	return at, nil
}

func (s *Store) commit(ctx context.Context, writes []docstore.Write) (time.Time, error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = tx.Rollback() }()
	var at int64
	err = tx.QueryRowContext(ctx, "UPDATE clock SET last = max(last + 1, ?) RETURNING last", s.clock.Now().UnixMicro()).Scan(&at)
	if err != nil {
		return time.Time{}, err
	}
	prepared := map[string]*sql.Stmt{}
	for _, w := range writes {
		if err := apply(ctx, tx, prepared, w, at); err != nil {
			return time.Time{}, err
		}
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM documents WHERE rowid IN (SELECT rowid FROM documents WHERE expire_at < ? LIMIT ?)",
		at-sweepAfter.Microseconds(), sweepBatch)
	if err != nil {
		return time.Time{}, err
	}
	if err := tx.Commit(); err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(at).UTC(), nil
}

// apply makes one write if its precondition holds. The condition stands in the
// statement itself: no row changed means that it does not hold. Statements are
// prepared once a transaction: of a hundred events that took half the time.
func apply(ctx context.Context, tx *sql.Tx, prepared map[string]*sql.Stmt, w docstore.Write, at int64) error {
	var statement string
	args, refusal := []any{w.Collection, w.ID}, fault.Conflict
	unchanged, conditioned := w.If.UpdateTime()
	if w.Fields != nil {
		args = append(args, storedFields(w), at, expiry(w))
	}
	switch {
	case w.Fields == nil && conditioned:
		statement = "DELETE FROM documents WHERE collection = ?1 AND id = ?2 AND update_time = ?3"
		args = append(args, unchanged.UnixMicro())
	case w.Fields == nil:
		statement = "DELETE FROM documents WHERE collection = ?1 AND id = ?2"
	case conditioned:
		statement = `UPDATE documents SET fields = ?3, update_time = ?4, expire_at = ?5
			WHERE collection = ?1 AND id = ?2 AND update_time = ?6`
		args = append(args, unchanged.UnixMicro())
	case w.If.Absent():
		statement, refusal = "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING", fault.Exists
	default:
		statement = `INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT DO UPDATE SET fields = ?3, update_time = ?4, expire_at = ?5`
	}
	if prepared[statement] == nil {
		made, err := tx.PrepareContext(ctx, statement) //nolint:sqlclosecheck // the end of tx closes it
		if err != nil {
			return err
		}
		prepared[statement] = made
	}
	result, err := prepared[statement].ExecContext(ctx, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if changed == 0 && (conditioned || w.If.Absent()) {
		return fault.Wrap(refusal, w.Key.String(), nil)
	}
	return nil
}

func storedFields(w docstore.Write) string {
	text := appendMap(nil, w.Fields)
	if !w.ExpireAt.IsZero() {
		// Filters may ask for the field, as they may in Firestore.
		member := appendValue([]byte(`"`+docstore.ExpireField+`":`), w.ExpireAt)
		if len(w.Fields) > 0 {
			member = append(member, ',')
		}
		text = append(append([]byte{'{'}, member...), text[1:]...)
	}
	return string(text)
}

func expiry(w docstore.Write) any {
	if w.ExpireAt.IsZero() {
		return nil
	}
	return w.ExpireAt.UnixMicro()
}

func connector(dsn string) driver.Connector {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		panic("sqlitedoc: the address is well formed") // it is made in Open
	}
	return c
}
