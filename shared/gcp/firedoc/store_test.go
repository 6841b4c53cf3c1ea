package firedoc

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// canary stands in everything that a server says; no error may show it.
const canary = "hunter2"

// server answers as its functions say; call counts from 1.
type server struct {
	firestorepb.UnimplementedFirestoreServer
	get    func(call int) (*firestorepb.BatchGetDocumentsResponse, error)
	list   func(call int) ([]*firestorepb.RunQueryResponse, error)
	commit func(ctx context.Context, call int, request *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error)

	mu      sync.Mutex
	calls   map[string]int
	commits []*firestorepb.CommitRequest
	header  metadata.MD
}

func (s *server) called(ctx context.Context, method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.header, _ = metadata.FromIncomingContext(ctx)
	s.calls[method]++
	return s.calls[method]
}

func (s *server) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *server) BatchGetDocuments(_ *firestorepb.BatchGetDocumentsRequest, stream firestorepb.Firestore_BatchGetDocumentsServer) error {
	answer, err := s.get(s.called(stream.Context(), "get"))
	if err != nil {
		return err
	}
	return stream.Send(answer)
}

func (s *server) RunQuery(_ *firestorepb.RunQueryRequest, stream firestorepb.Firestore_RunQueryServer) error {
	answers, err := s.list(s.called(stream.Context(), "list"))
	for _, answer := range answers {
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return err
}

func (s *server) Commit(ctx context.Context, request *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
	call := s.called(ctx, "commit")
	s.mu.Lock()
	s.commits = append(s.commits, request)
	s.mu.Unlock()
	return s.commit(ctx, call, request)
}

// serve opens a store on the server, in process.
func serve(t *testing.T, s *server) *Store {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	grpcServer := grpc.NewServer()
	firestorepb.RegisterFirestoreServer(grpcServer, s)
	go func() { _ = grpcServer.Serve(listener) }()
	store, err := open(t.Context(), Config{Project: "acme"}, clock.Real(),
		option.WithEndpoint("passthrough:///server"), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		grpcServer.Stop()
	})
	return store
}

func says(c codes.Code) error { return status.Error(c, "the field password is "+canary) }

var (
	thing  = docstore.Key{Collection: "things", ID: "a"}
	listed = docstore.Query{Collection: "things", Limit: 1,
		Where:   []docstore.Filter{{Path: "state", Op: docstore.Equal, Value: canary}},
		OrderBy: &docstore.Order{Path: "at"}}
	noon   = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	always = put(docstore.Always())
	create = put(docstore.IfAbsent())
	update = put(docstore.IfUnchanged(noon))
	remove = docstore.Write{Key: thing}
	drop   = docstore.Write{Key: thing, If: docstore.IfUnchanged(noon)}
)

func put(condition docstore.Precondition) docstore.Write {
	return docstore.Write{Key: thing, Fields: docstore.Fields{"password": canary}, If: condition}
}

// What each answer becomes, and how often the request is made in all.
func TestAnswers(t *testing.T) {
	t.Parallel()
	get := func(s *Store) error { _, err := s.Get(context.Background(), thing); return err }
	list := func(s *Store) error { _, err := s.List(context.Background(), listed); return err }
	commit := func(w docstore.Write) func(*Store) error {
		return func(s *Store) error { _, err := s.Commit(context.Background(), w); return err }
	}
	for _, test := range []struct {
		name  string
		do    func(*Store) error
		code  codes.Code
		kind  fault.Kind
		calls int
	}{
		{"get", get, codes.Unavailable, fault.Unavailable, 3},
		{"get", get, codes.ResourceExhausted, fault.Unavailable, 3},
		{"get", get, codes.Internal, fault.Internal, 3},
		{"get", get, codes.Aborted, fault.Unavailable, 3},
		{"get", get, codes.PermissionDenied, fault.Internal, 1},
		{"get", get, codes.NotFound, fault.Internal, 1}, // no such database
		{"get", get, codes.Unauthenticated, fault.Internal, 1},
		{"list", list, codes.Unavailable, fault.Unavailable, 3},
		{"list", list, codes.InvalidArgument, fault.Internal, 1},
		{"list", list, codes.FailedPrecondition, fault.Internal, 1}, // no index
		{"put", commit(always), codes.Unavailable, fault.Unavailable, 3},
		{"put", commit(always), codes.Aborted, fault.Unavailable, 3},
		{"put", commit(always), codes.ResourceExhausted, fault.Unavailable, 3},
		{"put", commit(always), codes.NotFound, fault.Internal, 1},
		{"put", commit(always), codes.FailedPrecondition, fault.Internal, 1},
		{"put", commit(always), codes.AlreadyExists, fault.Internal, 1},
		{"put", commit(always), codes.InvalidArgument, fault.Internal, 1},
		{"put", commit(always), codes.PermissionDenied, fault.Internal, 1},
		{"create", commit(create), codes.AlreadyExists, fault.Exists, 1},
		{"create", commit(create), codes.Aborted, fault.Conflict, 1},
		{"create", commit(create), codes.NotFound, fault.Internal, 1},
		{"create", commit(create), codes.Unavailable, fault.Unavailable, 3},
		{"update", commit(update), codes.FailedPrecondition, fault.Conflict, 1},
		{"update", commit(update), codes.NotFound, fault.Conflict, 1},
		{"update", commit(update), codes.Aborted, fault.Conflict, 1},
		{"update", commit(update), codes.Unavailable, fault.Unavailable, 3},
		{"delete", commit(remove), codes.Aborted, fault.Unavailable, 3},
		{"delete if unchanged", commit(drop), codes.NotFound, fault.Conflict, 1},
		{"delete if unchanged", commit(drop), codes.FailedPrecondition, fault.Conflict, 1},
	} {
		t.Run(test.name+" "+test.code.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{
					get:  func(int) (*firestorepb.BatchGetDocumentsResponse, error) { return nil, says(test.code) },
					list: func(int) ([]*firestorepb.RunQueryResponse, error) { return nil, says(test.code) },
					commit: func(context.Context, int, *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
						return nil, says(test.code)
					},
				}
				store, start := serve(t, s), time.Now()
				err := test.do(store)
				if !errors.Is(err, test.kind) {
					t.Errorf("got error %v, want one of kind %q", err, test.kind)
				}
				if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "password") {
					t.Errorf("the error shows what the server said: %v", err)
				}
				if calls := s.count("get") + s.count("list") + s.count("commit"); calls != test.calls {
					t.Errorf("%d requests, want %d", calls, test.calls)
				}
				if took, most := time.Since(start), 300*time.Millisecond; took > most {
					t.Errorf("it took %v, want at most %v", took, most)
				}
			})
		})
	}
}

func found(nonce []byte) *firestorepb.BatchGetDocumentsResponse {
	return &firestorepb.BatchGetDocumentsResponse{
		Result: &firestorepb.BatchGetDocumentsResponse_Found{Found: &firestorepb.Document{
			Name:       "projects/acme/databases/(default)/documents/things/a",
			Fields:     map[string]*firestorepb.Value{"n": toValue(int64(1)), docstore.NonceField: toValue(nonce)},
			UpdateTime: timestamppb.New(noon),
		}},
		ReadTime: timestamppb.New(noon.Add(time.Second)),
	}
}

func taken() *firestorepb.CommitResponse {
	return &firestorepb.CommitResponse{
		WriteResults: []*firestorepb.WriteResult{{UpdateTime: timestamppb.New(noon)}},
		CommitTime:   timestamppb.New(noon),
	}
}

func TestReadIsRepeatedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{get: func(call int) (*firestorepb.BatchGetDocumentsResponse, error) {
			if call < 3 {
				return nil, says(codes.Unavailable)
			}
			return found([]byte("x")), nil
		}}
		doc, err := serve(t, s).Get(t.Context(), thing)
		if err != nil {
			t.Fatal(err)
		}
		if doc.Key != thing || doc.Fields["n"] != int64(1) || len(doc.Fields) != 1 || !doc.UpdateTime.Equal(noon) || !doc.ReadTime.Equal(noon.Add(time.Second)) {
			t.Errorf("got %+v", doc)
		}
	})
}

// A stream that breaks in its middle is read again from its start.
func TestBrokenListingIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer := func(id string) *firestorepb.RunQueryResponse {
			document := &firestorepb.Document{
				Name:   "projects/acme/databases/(default)/documents/things/" + id,
				Fields: map[string]*firestorepb.Value{"at": toValue(noon)}, UpdateTime: timestamppb.New(noon),
			}
			return &firestorepb.RunQueryResponse{Document: document, ReadTime: timestamppb.New(noon)}
		}
		s := &server{list: func(call int) ([]*firestorepb.RunQueryResponse, error) {
			if call == 1 {
				return []*firestorepb.RunQueryResponse{answer("stale")}, says(codes.Unavailable)
			}
			return []*firestorepb.RunQueryResponse{{ReadTime: timestamppb.New(noon)}, answer("a"), {}, answer("b")}, nil
		}}
		page, err := serve(t, s).List(t.Context(), listed)
		if err != nil || len(page.Docs) != 1 || page.Docs[0].ID != "a" || page.Next == "" {
			t.Errorf("got %+v (%v), want one document, a, and a cursor", page, err)
		}
	})
}

// A commit whose first answer was lost, and whose repetition is refused.
func TestLostAnswerOfACommit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		write   docstore.Write
		lost    codes.Code
		refused codes.Code
		stored  string // whose nonce the document bears then
		want    fault.Kind
	}{
		{"create took effect", create, codes.Unavailable, codes.AlreadyExists, "ours", ""},
		{"update took effect", update, codes.Unavailable, codes.FailedPrecondition, "ours", ""},
		{"update met a lock", update, codes.DeadlineExceeded, codes.Aborted, "ours", ""},
		{"another created", create, codes.Unavailable, codes.AlreadyExists, "another's", fault.Exists},
		{"another updated", update, codes.Unavailable, codes.FailedPrecondition, "another's", fault.Conflict},
		{"another deleted", update, codes.Unavailable, codes.NotFound, "", fault.Conflict},
		{"deletion", drop, codes.Unavailable, codes.NotFound, "", fault.Conflict},
		{"nothing was lost", create, codes.ResourceExhausted, codes.AlreadyExists, "ours", fault.Exists},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var nonce []byte
				s := &server{
					commit: func(_ context.Context, call int, request *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
						if call == 1 {
							nonce = request.GetWrites()[0].GetUpdate().GetFields()[docstore.NonceField].GetBytesValue()
							return nil, says(test.lost)
						}
						return nil, says(test.refused)
					},
					get: func(int) (*firestorepb.BatchGetDocumentsResponse, error) {
						switch test.stored {
						case "ours":
							return found(nonce), nil
						case "another's":
							return found([]byte("another's")), nil
						}
						return &firestorepb.BatchGetDocumentsResponse{Result: &firestorepb.BatchGetDocumentsResponse_Missing{}}, nil
					},
				}
				at, err := serve(t, s).Commit(t.Context(), test.write)
				if test.want == "" {
					if err != nil || !at.Equal(noon) {
						t.Errorf("got %v (%v), want success at the document's update time", at, err)
					}
				} else if !errors.Is(err, test.want) {
					t.Errorf("got error %v, want one of kind %q", err, test.want)
				}
			})
		})
	}
}

// Where it cannot be found out whether the lost attempt was taken, nobody may
// believe that it was not.
func TestLostAnswerAndNoWayToAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{
			commit: func(_ context.Context, call int, _ *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
				return nil, says(map[bool]codes.Code{true: codes.Unavailable, false: codes.AlreadyExists}[call == 1])
			},
			get: func(int) (*firestorepb.BatchGetDocumentsResponse, error) { return nil, says(codes.Unavailable) },
		}
		if _, err := serve(t, s).Commit(t.Context(), create); !errors.Is(err, fault.Unavailable) {
			t.Errorf("got error %v, want one of kind %q", err, fault.Unavailable)
		}
	})
}

// Firestore does not move the update time of a write that changes nothing.
func TestNoTwoCommitsAreTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{commit: func(_ context.Context, call int, _ *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
			if call == 1 {
				return nil, says(codes.Unavailable)
			}
			return taken(), nil
		}}
		store := serve(t, s)
		for range 2 {
			if at, err := store.Commit(t.Context(), always); err != nil || !at.Equal(noon) {
				t.Fatalf("got %v (%v), want %v", at, err, noon)
			}
		}
		nonce := func(i int) string {
			return string(s.commits[i].GetWrites()[0].GetUpdate().GetFields()[docstore.NonceField].GetBytesValue())
		}
		if len(s.commits) != 3 || nonce(0) == "" || nonce(0) != nonce(1) || nonce(1) == nonce(2) {
			t.Errorf("the nonces of an attempt, its repetition and another commit are %x, %x and %x", nonce(0), nonce(1), nonce(2))
		}
	})
}

func TestServerThatHangs(t *testing.T) {
	t.Parallel()
	hang := func() *server {
		return &server{commit: func(ctx context.Context, _ int, _ *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
	}
	for _, test := range []struct {
		name string
		end  func(context.Context) (context.Context, context.CancelFunc)
		want fault.Kind
		took time.Duration
	}{
		{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second)
		}, fault.Deadline, 3 * time.Second},
		{"cancel", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(2*time.Second, cancel)
			return ctx, cancel
		}, fault.Canceled, 2 * time.Second},
		{"patience", func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, fault.Unavailable, 30 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := serve(t, hang())
				ctx, cancel := test.end(t.Context())
				defer cancel()
				start := time.Now()
				_, err := store.Commit(ctx, always)
				if !errors.Is(err, test.want) {
					t.Errorf("got error %v, want one of kind %q", err, test.want)
				}
				if took := time.Since(start); took < test.took || took > test.took+time.Second {
					t.Errorf("it took %v, want %v and no more than a second on top", took, test.took)
				}
			})
		})
	}
}

func TestMissingIndexIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{list: func(int) ([]*firestorepb.RunQueryResponse, error) { return nil, says(codes.FailedPrecondition) }}
		_, err := serve(t, s).List(t.Context(), listed)
		for _, want := range []string{"things", "state", "at"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not name %s: %v", want, err)
			}
		}
	})
}

func TestValueOfAForeignType(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{get: func(int) (*firestorepb.BatchGetDocumentsResponse, error) {
			answer := found(nil)
			answer.GetFound().Fields["place"] = &firestorepb.Value{ValueType: &firestorepb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: 12.5}}}
			return answer, nil
		}}
		if _, err := serve(t, s).Get(t.Context(), thing); !errors.Is(err, fault.Internal) || strings.Contains(err.Error(), "12.5") {
			t.Errorf("got error %v, want one of kind %q without the value", err, fault.Internal)
		}
	})
}

// Over a socket, as the emulator is reached.
func TestEmulatorsCredential(t *testing.T) {
	t.Parallel()
	s := &server{get: func(int) (*firestorepb.BatchGetDocumentsResponse, error) { return found(nil), nil }}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	firestorepb.RegisterFirestoreServer(grpcServer, s)
	go func() { _ = grpcServer.Serve(listener) }()
	defer grpcServer.Stop()
	store, err := Open(t.Context(), Config{Project: "acme", EmulatorHost: listener.Addr().String()}, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if _, err := store.Get(t.Context(), thing); err != nil {
		t.Fatal(err)
	}
	if got := s.header.Get("authorization"); len(got) != 1 || got[0] != "Bearer owner" {
		t.Errorf("authorization: %v, want Bearer owner", got)
	}
}

func TestConfigWithoutAProject(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{EmulatorHost: "127.0.0.1:1"}, clock.Real()); !errors.Is(err, fault.ConfigInvalid) {
		t.Errorf("got error %v, want %v", err, fault.ConfigInvalid)
	}
}
