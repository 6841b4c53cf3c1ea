package secretmanagerd

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Remote manages what a [Server] in another process has: it lists the secrets
// and changes the states of versions. It cannot read or write a value. Its
// methods return a [fault.NotFound] for what is not there, a
// [fault.SourceDestroyed] for a version that is destroyed already, a
// [fault.Unavailable] if the server does not answer, and the context's kinds.
type Remote struct {
	conn *grpc.ClientConn
	api  pb.SecretManagerServiceClient
}

// NewRemote takes the way to the server; the first call connects. The remote
// must be closed.
func NewRemote(dial func(ctx context.Context, address string) (net.Conn, error)) (*Remote, error) {
	conn, err := grpc.NewClient("passthrough:///secretmanagerd",
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "secretmanagerd.NewRemote", err)
	}
	return &Remote{conn: conn, api: pb.NewSecretManagerServiceClient(conn)}, nil
}

// Close ends the connection.
func (r *Remote) Close() error {
	if err := r.conn.Close(); err != nil {
		return fault.Wrap(fault.Internal, "secretmanagerd.Remote.Close", err)
	}
	return nil
}

// Listed is a secret in a list.
type Listed struct {
	ID        string
	Newest    secret.SourceVersion // number 0 if there is no version yet
	CreatedAt time.Time            // of that version
}

// List returns a project's secrets by id.
func (r *Remote) List(ctx context.Context, project string) ([]Listed, error) {
	var all []Listed
	for token := ""; ; {
		page, err := r.api.ListSecrets(ctx, &pb.ListSecretsRequest{Parent: "projects/" + project, PageToken: token})
		if err != nil {
			return nil, remoteFault(err, project)
		}
		for _, s := range page.GetSecrets() {
			listed, err := r.newest(ctx, s.GetName())
			if err != nil {
				return nil, err
			}
			all = append(all, listed)
		}
		if token = page.GetNextPageToken(); token == "" {
			slices.SortFunc(all, func(a, b Listed) int { return cmp.Compare(a.ID, b.ID) })
			return all, nil
		}
	}
}

// newest reads the newest version of a secret, the first in the service's order.
func (r *Remote) newest(ctx context.Context, name string) (Listed, error) {
	listed := Listed{ID: path.Base(name)}
	page, err := r.api.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: name, PageSize: 1})
	if err != nil || len(page.GetVersions()) == 0 {
		return listed, remoteFault(err, listed.ID)
	}
	version := page.GetVersions()[0]
	number, err := strconv.ParseInt(path.Base(version.GetName()), 10, 64)
	if err != nil {
		return listed, fault.Wrap(fault.Internal, "secretmanagerd.Remote.List "+listed.ID, err)
	}
	listed.Newest = secret.SourceVersion{Number: secret.Version(number), State: states[version.GetState()]}
	listed.CreatedAt = version.GetCreateTime().AsTime()
	return listed, nil
}

var states = map[pb.SecretVersion_State]secret.VersionState{
	pb.SecretVersion_ENABLED:   secret.Enabled,
	pb.SecretVersion_DISABLED:  secret.Disabled,
	pb.SecretVersion_DESTROYED: secret.Destroyed,
}

// SetState gives a version a state: enabled, disabled or destroyed, of which
// the last is for good.
func (r *Remote) SetState(ctx context.Context, source secret.Source, version secret.Version, state secret.VersionState) error {
	name := fmt.Sprintf("projects/%s/secrets/%s/versions/%d", source.Project, source.Secret, version)
	var err error
	switch state {
	case secret.Enabled:
		_, err = r.api.EnableSecretVersion(ctx, &pb.EnableSecretVersionRequest{Name: name})
	case secret.Disabled:
		_, err = r.api.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: name})
	case secret.Destroyed:
		_, err = r.api.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: name})
	default:
		panic("secretmanagerd: no state " + string(state))
	}
	return remoteFault(err, fmt.Sprintf("version %d of %s", version, source))
}

func remoteFault(err error, what string) error {
	switch code := status.Code(err); code {
	case codes.OK:
		return nil
	case codes.NotFound, codes.InvalidArgument:
		return fault.New(fault.RequestNotFound, "Secret Manager has no %s", what)
	case codes.FailedPrecondition:
		return fault.New(fault.SourceDestroyed, "%s is destroyed", what)
	case codes.Unavailable:
		return fault.New(fault.SourceUnavailable, "Secret Manager did not answer about %s", what)
	case codes.Canceled:
		return fault.Wrap(fault.Canceled, "secretmanagerd.Remote "+what, nil)
	case codes.DeadlineExceeded:
		return fault.Wrap(fault.Deadline, "secretmanagerd.Remote "+what, nil)
	default:
		return fault.New(fault.SourceUnavailable, "Secret Manager failed on %s", what)
	}
}
