// Package firedoc keeps documents in Firestore, through the generated client:
// its Commit, BatchGetDocuments and RunQuery are the document port almost as
// they stand, while the friendlier client hides read times and retries as it
// likes.
//
// Firestore leaves a document's update time as it was where a write changes
// nothing, so two writers with one precondition and equal content would both
// succeed. Every put therefore carries a nonce in [docstore.NonceField]. It
// also tells a commit whose answer was lost that it took effect after all: a
// repetition that is refused looks whether the document bears its own nonce.
// Two cases stay open and surface as a conflict, after which a caller reads
// again: the document was overwritten between the two attempts, and a commit of
// deletions only.
//
// No text of the server's is kept in an error, since it may echo fields: an
// error has the status code's name.
package firedoc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// Config names a database.
type Config struct {
	Project      string // Google Cloud project id
	Database     string // empty: "(default)"
	EmulatorHost string // host:port of an emulator, without TLS or credentials; empty: Firestore itself
}

// Store is a [docstore.Store] in a Firestore database. It is safe for
// concurrent use.
type Store struct {
	client   *firestore.Client
	clock    clock.Clock
	database string // projects/{project}/databases/{database}
}

var _ docstore.Store = (*Store)(nil)

// Open prepares a connection, which is made when it is first needed, with the
// environment's default credentials. It returns a [fault.Unprocessable] for a
// Config without a project and a [fault.Unavailable] where there are no
// credentials. The context may end once Open has returned.
func Open(ctx context.Context, config Config, clk clock.Clock) (*Store, error) {
	if config.EmulatorHost == "" {
		return open(ctx, config, clk)
	}
	return open(ctx, config, clk,
		option.WithEndpoint(config.EmulatorHost), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(emulatorOwner{})))
}

func open(ctx context.Context, config Config, clk clock.Clock, options ...option.ClientOption) (*Store, error) {
	if config.Project == "" {
		return nil, fault.New(fault.ConfigInvalid, "a Firestore database needs a Google Cloud project")
	}
	if config.Database == "" {
		config.Database = "(default)"
	}
	client, err := firestore.NewClient(ctx, append(options, option.WithTelemetryDisabled(), option.WithLogger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "firedoc.Open "+config.Project, errors.New("no usable Google credentials"))
	}
	// Repetition is ours, see retry.go.
	client.CallOptions.BatchGetDocuments = nil
	client.CallOptions.RunQuery = nil
	client.CallOptions.Commit = nil
	return &Store{
		client:   client,
		clock:    clk,
		database: fmt.Sprintf("projects/%s/databases/%s", config.Project, config.Database),
	}, nil
}

// emulatorOwner is the credential with which the emulator skips its security rules.
type emulatorOwner struct{}

func (emulatorOwner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (emulatorOwner) RequireTransportSecurity() bool { return false }

// Close ends the connection. The store cannot be used any more.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil {
		return fault.Wrap(fault.Internal, "firedoc.Close", nil)
	}
	return nil
}

// Get implements [docstore.Store].
func (s *Store) Get(ctx context.Context, key docstore.Key) (docstore.Doc, error) {
	op := "firedoc.Get " + key.String()
	if err := key.Check(); err != nil {
		return docstore.Doc{}, fault.Annotate(op, err)
	}
	found, err := s.read(ctx, op, key)
	if err != nil {
		return docstore.Doc{}, err
	}
	if found.GetFound() == nil {
		return docstore.Doc{}, fault.Wrap(fault.NotFound, op, nil)
	}
	doc, err := fromDocument(found.GetFound(), found.GetReadTime())
	return doc, annotateStored(op, err)
}

// read asks for one document, which the answer holds if it exists.
func (s *Store) read(ctx context.Context, op string, key docstore.Key) (answer *firestorepb.BatchGetDocumentsResponse, err error) {
	request := &firestorepb.BatchGetDocumentsRequest{Database: s.database, Documents: []string{s.name(key)}}
	err = s.retry(ctx, readTimeout, retryRead, func(ctx context.Context) error {
		stream, err := s.client.BatchGetDocuments(ctx, request)
		if err != nil {
			return err
		}
		answer, err = stream.Recv()
		return err
	})
	if err != nil {
		return nil, failure(ctx, op, err)
	}
	return answer, nil
}

// List implements [docstore.Store].
func (s *Store) List(ctx context.Context, query docstore.Query) (docstore.Page, error) {
	op := "firedoc.List " + query.Collection
	if err := query.Check(); err != nil {
		return docstore.Page{}, fault.Annotate(op, err)
	}
	structured, err := s.structured(query)
	if err != nil {
		return docstore.Page{}, fault.Annotate(op, err)
	}
	request := &firestorepb.RunQueryRequest{
		Parent:    s.database + "/documents",
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: structured},
	}
	var answers []*firestorepb.RunQueryResponse
	err = s.retry(ctx, listTimeout, retryRead, func(ctx context.Context) error {
		stream, err := s.client.RunQuery(ctx, request)
		if err != nil {
			return err
		}
		answers, err = receiveAll(stream)
		return err
	})
	if code(err) == codes.FailedPrecondition {
		return docstore.Page{}, fault.Wrap(fault.Internal, op, fmt.Errorf("no composite index for %+v", docstore.ShapeOf(query)))
	}
	if err != nil {
		return docstore.Page{}, failure(ctx, op, err)
	}
	page, err := toPage(query, answers)
	return page, annotateStored(op, err)
}

// receiveAll reads the documents of a stream; Firestore also sends messages
// with none, to tell its progress.
func receiveAll(stream firestorepb.Firestore_RunQueryClient) ([]*firestorepb.RunQueryResponse, error) {
	var answers []*firestorepb.RunQueryResponse
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers, nil
		}
		if err != nil {
			return nil, err
		}
		if answer.GetDocument() != nil {
			answers = append(answers, answer)
		}
	}
}

// toPage leaves out the document beyond the limit, which was asked for to learn
// whether there is a next page.
func toPage(query docstore.Query, answers []*firestorepb.RunQueryResponse) (docstore.Page, error) {
	var page docstore.Page
	for i, answer := range answers {
		if i == query.Limit {
			last := answers[i-1].GetDocument()
			place, err := cursorValue(query, last)
			if err != nil {
				return docstore.Page{}, err
			}
			page.Next = query.EncodeCursor(page.Docs[i-1].ID, place)
			break
		}
		doc, err := fromDocument(answer.GetDocument(), answer.GetReadTime())
		if err != nil {
			return docstore.Page{}, err
		}
		page.Docs = append(page.Docs, doc)
	}
	return page, nil
}

// Commit implements [docstore.Store].
func (s *Store) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	op := "firedoc.Commit"
	if len(writes) > 0 {
		op += fmt.Sprintf(" %s and %d more", writes[0].Key, len(writes)-1)
	}
	if err := docstore.CheckWrites(writes); err != nil {
		return time.Time{}, fault.Annotate(op, err)
	}
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // never fails: see its documentation
	request := &firestorepb.CommitRequest{Database: s.database}
	for _, w := range writes {
		request.Writes = append(request.Writes, s.toWrite(w, nonce))
	}
	var answer *firestorepb.CommitResponse
	lost := false // whether an attempt may have taken effect without our knowing
	err := s.retry(ctx, commitTimeout, retryCommit(writes), func(ctx context.Context) (err error) {
		answer, err = s.client.Commit(ctx, request)
		lost = lost || code(err) == codes.Unavailable || code(err) == codes.DeadlineExceeded
		return err
	})
	if err == nil {
		return updateTime(answer), nil
	}
	if kind, refused := refusal(err, writes); refused {
		if lost {
			return s.ownEcho(ctx, op, kind, writes, nonce)
		}
		return time.Time{}, fault.Wrap(kind, op, nil)
	}
	return time.Time{}, failure(ctx, op, err)
}

// updateTime is that of the documents that were put, or, where all were
// deleted, when that was.
func updateTime(answer *firestorepb.CommitResponse) time.Time {
	for _, result := range answer.GetWriteResults() {
		if at := result.GetUpdateTime(); at != nil {
			return at.AsTime()
		}
	}
	return answer.GetCommitTime().AsTime()
}

// refusal tells what a precondition that did not hold is reported as. Firestore
// answers FAILED_PRECONDITION for another update time, NOT_FOUND for a document
// that is gone, ALREADY_EXISTS for one that is there, and ABORTED where another
// commit was at the same documents. Without preconditions these mean something
// else: NOT_FOUND, for one, that there is no such database.
func refusal(err error, writes []docstore.Write) (fault.Kind, bool) {
	create, compare := conditions(writes)
	switch c := code(err); {
	case c == codes.AlreadyExists && create:
		return fault.Exists, true
	case c == codes.Aborted && (create || compare):
		return fault.Conflict, true
	case (c == codes.FailedPrecondition || c == codes.NotFound) && compare:
		return fault.Conflict, true
	}
	return "", false
}

// conditions tells whether some document must be absent, and whether some must be unchanged.
func conditions(writes []docstore.Write) (create, compare bool) {
	for _, w := range writes {
		_, unchanged := w.If.UpdateTime()
		create, compare = create || w.If.Absent(), compare || unchanged
	}
	return create, compare
}

// ownEcho decides about a commit that was refused after an attempt whose answer
// was lost: if a document that it put bears its nonce, that attempt was taken,
// and what refused the repetition was our own write.
func (s *Store) ownEcho(ctx context.Context, op string, kind fault.Kind, writes []docstore.Write, nonce []byte) (time.Time, error) {
	for _, w := range writes {
		if w.Fields == nil {
			continue
		}
		answer, err := s.read(ctx, op, w.Key)
		if err != nil {
			return time.Time{}, err
		}
		if string(answer.GetFound().GetFields()[docstore.NonceField].GetBytesValue()) == string(nonce) {
			return answer.GetFound().GetUpdateTime().AsTime(), nil
		}
		break // all or none: one document tells
	}
	return time.Time{}, fault.Wrap(kind, op, nil)
}
