package gsm

import (
	"context"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// maxPayloadBytes is Secret Manager's limit.
// Source: cloud.google.com/secret-manager/quotas, "Content limits".
const maxPayloadBytes = 64 << 10

// Create makes a secret without a version, replicated automatically, that
// admits the given repositories. It returns a [fault.Exists] if there is one.
// Other errors are those of AddVersion.
func (c *Client) Create(ctx context.Context, source secret.Source, repositories []int64) error {
	const op = "gsm.Create"
	meta := &pb.Secret{Replication: &pb.Replication{Replication: &pb.Replication_Automatic_{Automatic: &pb.Replication_Automatic{}}}}
	if len(repositories) > 0 {
		meta.Annotations = map[string]string{RepositoriesAnnotation: FormatRepositories(repositories)}
	}
	_, err := c.api.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: "projects/" + source.Project, SecretId: source.Secret, Secret: meta})
	if status.Code(err) == codes.AlreadyExists {
		return fault.Wrap(fault.Exists, op+" "+source.String(), nil)
	}
	if err != nil {
		return failure(ctx, op, source.String(), err)
	}
	return nil
}

// AddVersion adds a version with the value and returns its number. It is not
// repeated when its answer was lost, so after an error the version may or may
// not be there. It returns a [fault.Unprocessable] with [fault.SourceMissing]
// or [fault.ValueEmpty], a [fault.TooLarge] with [fault.ValueTooLarge], a
// [fault.Denied] with [fault.SourceNotPermitted], a [fault.Unavailable] with
// [fault.SourceUnavailable], and the context's error kinds.
func (c *Client) AddVersion(ctx context.Context, source secret.Source, value secret.Value) (secret.Version, error) {
	const op = "gsm.AddVersion"
	switch {
	case value.Len() == 0:
		return 0, fault.New(fault.ValueEmpty, "the value for %s is empty", source).WithOp(op)
	case value.Len() > maxPayloadBytes:
		return 0, fault.New(fault.ValueTooLarge, "the value for %s has %d bytes; Secret Manager holds %d", source, value.Len(), maxPayloadBytes).WithOp(op)
	}
	data := []byte(value.Reveal())
	version, err := c.api.AddSecretVersion(ctx, &pb.AddSecretVersionRequest{
		Parent:  secretName(source),
		Payload: &pb.SecretPayload{Data: data, DataCrc32C: proto.Int64(checksum(data))},
	})
	if err != nil {
		return 0, failure(ctx, op, source.String(), err)
	}
	number, ok := versionNumber(version.GetName())
	if !ok {
		return 0, fault.New(fault.SourceUnavailable, "Secret Manager added a version to %s and did not say which", source).WithOp(op)
	}
	return number, nil
}
