package secretmanagerd

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxPayloadBytes is the largest value that a version holds.
// Source: cloud.google.com/secret-manager/quotas, "Content limits".
const maxPayloadBytes = 64 << 10

// AddSecretVersion implements the method of the service.
func (s *Server) AddSecretVersion(ctx context.Context, req *pb.AddSecretVersionRequest) (*pb.SecretVersion, error) {
	return serve(ctx, s, addVersion, req.GetParent(), req, func() (*pb.SecretVersion, error) {
		name, err := parseSecret(req.GetParent())
		if err != nil {
			return nil, err
		}
		return change(s, func(tx *transaction) (*pb.SecretVersion, error) { return tx.add(name, req.GetPayload()) })
	})
}

func (tx *transaction) add(name string, payload *pb.SecretPayload) (*pb.SecretVersion, error) {
	if err := checkPayload(payload); err != nil {
		return nil, err
	}
	record, err := tx.edit(name)
	if err != nil {
		return nil, err
	}
	version := &versionRecord{
		data: slices.Clone(payload.GetData()),
		meta: &pb.SecretVersion{
			Name:       fmt.Sprintf("%s/versions/%d", name, len(record.versions)+1),
			CreateTime: timestamppb.New(tx.now),
			State:      pb.SecretVersion_ENABLED,
			Etag:       tx.etag(),
			ReplicationStatus: &pb.ReplicationStatus{ReplicationStatus: &pb.ReplicationStatus_Automatic{
				Automatic: &pb.ReplicationStatus_AutomaticStatus{},
			}},
			ClientSpecifiedPayloadChecksum: payload.DataCrc32C != nil,
		},
	}
	record.versions = append(record.versions, version)
	tx.announce(VersionAdded, record, version.meta)
	return proto.CloneOf(version.meta), nil
}

func checkPayload(payload *pb.SecretPayload) error {
	switch {
	case len(payload.GetData()) == 0:
		return status.Error(codes.InvalidArgument, "Secret Payload cannot be empty.")
	case len(payload.GetData()) > maxPayloadBytes:
		return status.Errorf(codes.InvalidArgument, "The payload is %d bytes, over the limit of %d.", len(payload.GetData()), maxPayloadBytes)
	case payload.DataCrc32C != nil && payload.GetDataCrc32C() != checksum(payload.GetData()):
		return status.Error(codes.InvalidArgument, "The payload does not match its checksum.")
	}
	return nil
}

// checksum is CRC-32C, as an int64 for languages without unsigned integers.
func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// GetSecretVersion implements the method of the service.
func (s *Server) GetSecretVersion(ctx context.Context, req *pb.GetSecretVersionRequest) (*pb.SecretVersion, error) {
	return serve(ctx, s, getVersion, req.GetName(), req, func() (*pb.SecretVersion, error) {
		version, err := s.find(req.GetName())
		if err != nil {
			return nil, err
		}
		return version.meta, nil
	})
}

// AccessSecretVersion implements the method of the service. A version that is
// not enabled is FAILED_PRECONDITION, also when `latest` names it.
func (s *Server) AccessSecretVersion(ctx context.Context, req *pb.AccessSecretVersionRequest) (*pb.AccessSecretVersionResponse, error) {
	return serve(ctx, s, accessVersion, req.GetName(), req, func() (*pb.AccessSecretVersionResponse, error) {
		version, err := s.find(req.GetName())
		if err != nil {
			return nil, err
		}
		if state := version.meta.GetState(); state != pb.SecretVersion_ENABLED {
			return nil, status.Errorf(codes.FailedPrecondition, "Secret Version [%s] is in %s state.", version.meta.GetName(), state)
		}
		return &pb.AccessSecretVersionResponse{
			Name:    version.meta.GetName(),
			Payload: &pb.SecretPayload{Data: version.data, DataCrc32C: proto.Int64(checksum(version.data))},
		}, nil
	})
}

func (s *Server) find(resource string) (*versionRecord, error) {
	name, version, err := parseVersion(resource)
	if err != nil {
		return nil, err
	}
	return view(s, func(d snapshot) (*versionRecord, error) { return d.secretVersion(name, version) })
}

// ListSecretVersions implements the method of the service: newest first.
func (s *Server) ListSecretVersions(ctx context.Context, req *pb.ListSecretVersionsRequest) (*pb.ListSecretVersionsResponse, error) {
	return serve(ctx, s, listVersions, req.GetParent(), req, func() (*pb.ListSecretVersionsResponse, error) {
		name, err := parseSecret(req.GetParent())
		if err != nil {
			return nil, err
		}
		match, err := parseFilter(req.GetFilter(), versionFields)
		if err != nil {
			return nil, err
		}
		return view(s, func(d snapshot) (*pb.ListSecretVersionsResponse, error) { return d.listVersions(name, match, req) })
	})
}

func (d snapshot) listVersions(name string, match filter[*pb.SecretVersion], req *pb.ListSecretVersionsRequest) (*pb.ListSecretVersionsResponse, error) {
	record, err := d.secret(name)
	if err != nil {
		return nil, err
	}
	type numbered struct {
		number int64
		meta   *pb.SecretVersion
	}
	var found []numbered
	for i, v := range slices.Backward(record.versions) {
		if match.admits(v.meta) {
			found = append(found, numbered{number: int64(i) + 1, meta: v.meta})
		}
	}
	page := pageRequest{size: req.GetPageSize(), token: req.GetPageToken(), list: name + " " + req.GetFilter()}
	versions, next, err := cut(found, page, func(v numbered) int64 { return v.number })
	if err != nil {
		return nil, err
	}
	answer := &pb.ListSecretVersionsResponse{NextPageToken: next}
	if req.GetFilter() == "" {
		answer.TotalSize = int32(len(found))
	}
	for _, v := range versions {
		answer.Versions = append(answer.Versions, v.meta)
	}
	return answer, nil
}

// EnableSecretVersion implements the method of the service.
func (s *Server) EnableSecretVersion(ctx context.Context, req *pb.EnableSecretVersionRequest) (*pb.SecretVersion, error) {
	return serve(ctx, s, enableVersion, req.GetName(), req, func() (*pb.SecretVersion, error) {
		return s.setState(req.GetName(), req.GetEtag(), pb.SecretVersion_ENABLED)
	})
}

// DisableSecretVersion implements the method of the service.
func (s *Server) DisableSecretVersion(ctx context.Context, req *pb.DisableSecretVersionRequest) (*pb.SecretVersion, error) {
	return serve(ctx, s, disableVersion, req.GetName(), req, func() (*pb.SecretVersion, error) {
		return s.setState(req.GetName(), req.GetEtag(), pb.SecretVersion_DISABLED)
	})
}

// DestroySecretVersion implements the method of the service.
func (s *Server) DestroySecretVersion(ctx context.Context, req *pb.DestroySecretVersionRequest) (*pb.SecretVersion, error) {
	return serve(ctx, s, destroyVersion, req.GetName(), req, func() (*pb.SecretVersion, error) {
		return s.setState(req.GetName(), req.GetEtag(), pb.SecretVersion_DESTROYED)
	})
}

// stateEvents names what is announced when a version gets a state.
var stateEvents = map[pb.SecretVersion_State]EventType{
	pb.SecretVersion_ENABLED:   VersionEnabled,
	pb.SecretVersion_DISABLED:  VersionDisabled,
	pb.SecretVersion_DESTROYED: VersionDestroyed,
}

func (s *Server) setState(resource, etag string, state pb.SecretVersion_State) (*pb.SecretVersion, error) {
	name, number, err := parseVersion(resource)
	if err != nil {
		return nil, err
	}
	return change(s, func(tx *transaction) (*pb.SecretVersion, error) { return tx.setState(name, number, etag, state) })
}

// setState gives a version a state. A version in that state already gets a new
// etag all the same, as the real service does it; a destroyed one never leaves
// its state. Source: cloud.google.com/secret-manager/docs/etags.
func (tx *transaction) setState(name, number, etag string, state pb.SecretVersion_State) (*pb.SecretVersion, error) {
	record, version, err := tx.editVersion(name, number)
	if err != nil {
		return nil, err
	}
	if err := checkEtag(etag, version.meta.GetEtag(), version.meta.GetName()); err != nil {
		return nil, err
	}
	if version.meta.GetState() == pb.SecretVersion_DESTROYED {
		return nil, status.Errorf(codes.FailedPrecondition, "Secret Version [%s] is in DESTROYED state.", version.meta.GetName())
	}
	if state == pb.SecretVersion_DESTROYED {
		version.data = nil
		version.meta.DestroyTime = timestamppb.New(tx.now)
	}
	version.meta.State = state
	version.meta.Etag = tx.etag()
	tx.announce(stateEvents[state], record, version.meta)
	return proto.CloneOf(version.meta), nil
}
