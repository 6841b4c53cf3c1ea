package gsm

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"sync"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	// inspectAtOnce is how many sources one Inspect looks at concurrently.
	inspectAtOnce = 16
	// newestVersions is how many versions of a source are looked at: one page.
	newestVersions = 50
)

var _ syncer.Sources = (*Client)(nil)

// Inspect implements syncer.Sources with two metadata reads a source. A source
// that Sealpost may not look at is Denied. Google answers so for what does not
// exist, too, where Sealpost's rights are on single secrets.
func (c *Client) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	var mu sync.Mutex
	states := make(map[secret.Source]secret.SourceState, len(sources))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(inspectAtOnce)
	for _, source := range distinct(sources) {
		group.Go(func() error {
			var state secret.SourceState
			err := fault.Contain(func() (err error) { state, err = c.inspect(groupCtx, source); return err })
			if errors.Is(err, fault.SourceNotPermitted) {
				state, err = secret.SourceState{Denied: true}, nil
			}
			mu.Lock()
			defer mu.Unlock()
			states[source] = state
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return states, nil
}

func distinct(sources []secret.Source) []secret.Source {
	seen := make(map[secret.Source]bool, len(sources))
	return slices.DeleteFunc(slices.Clone(sources), func(s secret.Source) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}

func (c *Client) inspect(ctx context.Context, source secret.Source) (secret.SourceState, error) {
	if source.Project == "" {
		return secret.SourceState{}, nil // an env file's name is nothing here
	}
	const op = "gsm.Inspect"
	meta, err := c.api.GetSecret(ctx, &pb.GetSecretRequest{Name: secretName(source)})
	if status.Code(err) == codes.NotFound {
		return secret.SourceState{}, nil
	}
	if err != nil {
		return secret.SourceState{}, failure(ctx, op, source.String(), err)
	}
	versions, err := c.versions(ctx, source)
	if status.Code(err) == codes.NotFound {
		return secret.SourceState{}, nil // deleted meanwhile
	}
	if err != nil {
		return secret.SourceState{}, failure(ctx, op, source.String(), err)
	}
	return secret.SourceState{
		Exists:       true,
		Repositories: parseRepositories(meta.GetAnnotations()[RepositoriesAnnotation]),
		Versions:     versions,

		Notified:      c.notified(meta.GetTopics()),
		ProjectNumber: projectNumber(meta.GetName()),
	}, nil
}

// notified reports whether changes are published where Sealpost hears of them.
func (c *Client) notified(topics []*pb.Topic) bool {
	return slices.ContainsFunc(topics, func(t *pb.Topic) bool { return c.topic == "" || t.GetName() == c.topic })
}

// Newest returns the number of the newest enabled version, or a
// [fault.SourceMissing] if there is none. Other errors are those of Value.
func (c *Client) Newest(ctx context.Context, source secret.Source) (secret.Version, error) {
	const op = "gsm.Newest"
	versions, err := c.versions(ctx, source)
	if err != nil {
		return 0, failure(ctx, op, source.String(), err)
	}
	for _, v := range versions {
		if v.State == secret.Enabled {
			return v.Number, nil
		}
	}
	return 0, fault.New(fault.SourceMissing, "%s has no enabled version", source).WithOp(op)
}

// versions returns the newest versions of a source, newest first, which is the
// order that the API documents for ListSecretVersionsResponse.versions. Errors
// are those of the API.
func (c *Client) versions(ctx context.Context, source secret.Source) ([]secret.SourceVersion, error) {
	it := c.api.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: secretName(source), PageSize: newestVersions})
	var versions []secret.SourceVersion
	for len(versions) < newestVersions {
		v, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			return nil, err
		}
		if known, ok := sourceVersion(v); ok {
			versions = append(versions, known)
		}
	}
	return versions, nil
}

var versionStates = map[pb.SecretVersion_State]secret.VersionState{
	pb.SecretVersion_ENABLED:   secret.Enabled,
	pb.SecretVersion_DISABLED:  secret.Disabled,
	pb.SecretVersion_DESTROYED: secret.Destroyed,
}

// sourceVersion reads a version. A state that this code does not know yet
// counts as disabled: its value is not to be had.
func sourceVersion(v *pb.SecretVersion) (secret.SourceVersion, bool) {
	number, ok := versionNumber(v.GetName())
	state, known := versionStates[v.GetState()]
	if !known {
		state = secret.Disabled
	}
	return secret.SourceVersion{Number: number, State: state}, ok
}

// Value implements syncer.Sources.
func (c *Client) Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error) {
	const op = "gsm.Value"
	what := fmt.Sprintf("%s@%d", source, version)
	if source.Project == "" || version < 1 {
		return secret.Value{}, fault.New(fault.SourceMissing, "%s does not name a version in Secret Manager", what).WithOp(op)
	}
	answer, err := c.api.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: versionName(source, version)})
	if status.Code(err) == codes.FailedPrecondition {
		return secret.Value{}, c.inaccessible(ctx, op, source, version)
	}
	if err != nil {
		return secret.Value{}, failure(ctx, op, what, err)
	}
	if number, ok := versionNumber(answer.GetName()); !ok || number != version {
		return secret.Value{}, fault.New(fault.SourceUnavailable, "Secret Manager answered with another version than %s", what).WithOp(op)
	}
	return secret.NewValue(string(answer.GetPayload().GetData())), nil
}

// inaccessible finds out why a version's value is refused. The refusal itself
// says so in its text only.
func (c *Client) inaccessible(ctx context.Context, op string, source secret.Source, version secret.Version) error {
	what := fmt.Sprintf("%s@%d", source, version)
	meta, err := c.api.GetSecretVersion(ctx, &pb.GetSecretVersionRequest{Name: versionName(source, version)})
	if err != nil {
		return failure(ctx, op, what, err)
	}
	switch meta.GetState() {
	case pb.SecretVersion_DISABLED:
		return fault.New(fault.SourceDisabled, "%s is disabled", what).WithOp(op)
	case pb.SecretVersion_DESTROYED:
		return fault.New(fault.SourceDestroyed, "%s is destroyed", what).WithOp(op)
	default:
		// Enabled meanwhile, or its encryption key cannot be used.
		return fault.New(fault.SourceUnavailable, "Secret Manager refused the value of %s though it is enabled", what).WithOp(op)
	}
}

func secretName(s secret.Source) string {
	return "projects/" + s.Project + "/secrets/" + s.Secret
}

func versionName(s secret.Source, v secret.Version) string {
	return fmt.Sprintf("%s/versions/%d", secretName(s), v)
}

// versionNumber reads the end of a version's resource name. The rest is not
// looked at: it names the project by its number, whatever it was asked by.
func versionNumber(name string) (secret.Version, bool) {
	_, digits, found := strings.Cut(name, "/versions/")
	number, err := strconv.ParseInt(digits, 10, 64)
	return secret.Version(number), found && err == nil && number > 0
}

// projectNumber reads the project's number in a secret's resource name, or
// returns nothing if the name has none. The service names resources by it in
// its answers as in its notifications, whatever it was asked by.
func projectNumber(name string) string {
	rest, _ := strings.CutPrefix(name, "projects/")
	number, _, _ := strings.Cut(rest, "/")
	if strings.Trim(number, "0123456789") != "" {
		return ""
	}
	return number
}

// checksum is CRC-32C, the API's choice.
func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}
