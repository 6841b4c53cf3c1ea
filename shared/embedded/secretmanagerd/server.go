// Package secretmanagerd is an in-process Secret Manager: a gRPC server that
// implements google.cloud.secretmanager.v1.SecretManagerService, so that the
// real client library can talk to it in tests and on a laptop.
//
// It serves global secrets with automatic replication: secrets, their labels,
// annotations, topics and version aliases; versions and their three states;
// etags, paging, checksums and the service's error codes. What it does not
// serve (regional secrets, expiry, rotation, delayed destruction, customer
// managed keys, IAM policies) it answers with UNIMPLEMENTED, never silently.
// As the real service does, it names resources by the project's number,
// whatever the caller named it by.
//
// Besides, it can be slow, refuse, fail before or after taking effect, and
// enforce quotas; see [Config] and [Fault].
package secretmanagerd

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

// The real service's quotas for each project.
// Source: cloud.google.com/secret-manager/quotas, "Request rate quotas".
const (
	RealReadsPerMinute    = 600
	RealWritesPerMinute   = 600
	RealAccessesPerMinute = 90_000
)

// Config says how the server behaves. Its zero value keeps everything in
// memory, answers at once, admits everybody and has no quota.
type Config struct {
	// Clock tells the time and waits; nil is the machine's.
	Clock clock.Clock
	// File, if set, holds the data from one start to the next. It is replaced
	// as a whole at every change and readable by its owner only, since it holds
	// the values as they are. Its directory must exist. One server may use it
	// at a time.
	File string
	// Latency is waited before each call takes effect.
	Latency time.Duration
	// Quotas for each project over a sliding minute; 0 means none.
	ReadsPerMinute, WritesPerMinute, AccessesPerMinute int
	// Permit says which calls are allowed; nil allows all. A call that is not
	// gets PERMISSION_DENIED. It may be called by several goroutines at once.
	Permit func(Request) bool
	// Topics are given to each secret that is created without any, and at the
	// start to each that has none: projects/P/topics/T. So all are notified.
	Topics []string
	// Notify, if set, gets an event after each change, before the call is
	// answered. It is called without a lock held, so it may call the server.
	Notify func(Event)
	// Seed makes the choices of faults with a probability repeatable.
	Seed uint64
}

// Request is what Config.Permit decides about.
type Request struct {
	Method     string // such as AccessSecretVersion
	Permission string // the IAM permission that it needs, such as secretmanager.versions.access
	Resource   string // as the caller named it
	Identity   string // the bearer token that came with the call; empty if none
}

// Server is a Secret Manager. All methods may be called concurrently.
type Server struct {
	pb.UnimplementedSecretManagerServiceServer

	config Config
	clock  clock.Clock

	mu     sync.Mutex
	data   snapshot
	calls  map[string]int
	faults []*plantedFault
	quotas map[quotaKey]*window
	random *rand.Rand
}

// New returns a server with the data of config.File, if there is that file. It
// returns a [fault.ConfigInvalid] if the file cannot be read or is damaged, and
// for topics that are none.
func New(config Config) (*Server, error) {
	if err := checkMetadata(&pb.Secret{Topics: topicsOf(config.Topics)}); err != nil {
		return nil, fault.New(fault.ConfigInvalid, "the topics of the embedded Secret Manager are to be named projects/P/topics/T")
	}
	data, err := load(config.File)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: config, clock: config.Clock, data: data,
		calls: map[string]int{}, quotas: map[quotaKey]*window{},
		random: rand.New(rand.NewPCG(config.Seed, config.Seed)),
	}
	if s.clock == nil {
		s.clock = clock.Real()
	}
	s.data.giveTopics(config.Topics)
	return s, nil
}

// Register adds the service to a gRPC server.
func (s *Server) Register(g *grpc.Server) { pb.RegisterSecretManagerServiceServer(g, s) }

// Calls returns how often a method, such as GetSecret, was called, refused and
// failed calls included.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// ResetCalls sets every counter to 0.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

// method describes one method of the service.
type method struct {
	name       string
	permission string
	quota      quota
}

var (
	listSecrets    = method{"ListSecrets", "secretmanager.secrets.list", readQuota}
	createSecret   = method{"CreateSecret", "secretmanager.secrets.create", writeQuota}
	getSecret      = method{"GetSecret", "secretmanager.secrets.get", readQuota}
	updateSecret   = method{"UpdateSecret", "secretmanager.secrets.update", writeQuota}
	deleteSecret   = method{"DeleteSecret", "secretmanager.secrets.delete", writeQuota}
	addVersion     = method{"AddSecretVersion", "secretmanager.versions.add", writeQuota}
	getVersion     = method{"GetSecretVersion", "secretmanager.versions.get", readQuota}
	listVersions   = method{"ListSecretVersions", "secretmanager.versions.list", readQuota}
	accessVersion  = method{"AccessSecretVersion", "secretmanager.versions.access", accessQuota}
	enableVersion  = method{"EnableSecretVersion", "secretmanager.versions.enable", writeQuota}
	disableVersion = method{"DisableSecretVersion", "secretmanager.versions.disable", writeQuota}
	destroyVersion = method{"DestroySecretVersion", "secretmanager.versions.destroy", writeQuota}
)

// serve runs one call through everything that stands before and after its
// effect: counting, delay, permission, quota and planted faults.
func serve[T any](ctx context.Context, s *Server, m method, resource string, req proto.Message, effect func() (T, error)) (T, error) {
	var none T
	planted := s.receive(m, resource)
	if err := s.clock.Sleep(ctx, s.config.Latency+planted.Delay); err != nil {
		return none, status.FromContextError(err).Err()
	}
	if err := s.admit(ctx, m, resource); err != nil {
		return none, err
	}
	if planted.Code != codes.OK && !planted.After {
		return none, planted.err(req)
	}
	result, err := effect()
	if err == nil && planted.Code != codes.OK {
		return none, planted.err(req)
	}
	return result, err
}

// receive counts a call and returns the fault that is planted for it.
func (s *Server) receive(m method, resource string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[m.name]++
	for _, f := range s.faults {
		if f.strikes(m.name, resource, s.random) {
			return f.Fault
		}
	}
	return Fault{}
}

// admit checks the caller's permission, then the project's quota.
func (s *Server) admit(ctx context.Context, m method, resource string) error {
	if s.config.Permit != nil {
		request := Request{Method: m.name, Permission: m.permission, Resource: resource, Identity: identity(ctx)}
		if !s.config.Permit(request) {
			return status.Errorf(codes.PermissionDenied, "Permission '%s' denied for resource '%s' (or it may not exist).", m.permission, resource)
		}
	}
	return s.spend(m.quota, resource)
}
