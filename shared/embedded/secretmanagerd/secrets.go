package secretmanagerd

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Limits of a secret's metadata. Source: the comments of the fields of
// google.cloud.secretmanager.v1.Secret.
const (
	maxLabels          = 64
	maxTopics          = 10
	maxAliases         = 50
	maxAnnotationBytes = 16 << 10
)

var (
	annotationKey = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	labelKey      = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue    = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
	topicName     = regexp.MustCompile(`^projects/[^/]+/topics/[^/]+$`)
)

// CreateSecret implements the method of the service.
func (s *Server) CreateSecret(ctx context.Context, req *pb.CreateSecretRequest) (*pb.Secret, error) {
	return serve(ctx, s, createSecret, req.GetParent(), req, func() (*pb.Secret, error) {
		parent, err := parseProject(req.GetParent())
		if err != nil {
			return nil, err
		}
		if !secretPattern.MatchString(req.GetSecretId()) {
			return nil, status.Error(codes.InvalidArgument, "Secret ID must match the pattern [a-zA-Z0-9_-]{1,255}.")
		}
		if err := checkNewSecret(req.GetSecret()); err != nil {
			return nil, err
		}
		return change(s, func(tx *transaction) (*pb.Secret, error) {
			return tx.create(parent+"/secrets/"+req.GetSecretId(), req.GetSecret())
		})
	})
}

func (tx *transaction) create(name string, meta *pb.Secret) (*pb.Secret, error) {
	if _, exists := tx.secrets[name]; exists {
		return nil, status.Errorf(codes.AlreadyExists, "Secret [%s] already exists.", name)
	}
	record := &secretRecord{meta: proto.CloneOf(meta)}
	record.meta.Name = name
	if len(record.meta.GetTopics()) == 0 {
		record.meta.Topics = topicsOf(tx.topics)
	}
	record.meta.CreateTime = timestamppb.New(tx.now)
	record.meta.Etag = tx.etag()
	record.created = tx.revision
	tx.secrets[name] = record
	tx.tryTopics(record)
	tx.announce(SecretCreated, record, nil)
	return proto.CloneOf(record.meta), nil
}

// GetSecret implements the method of the service.
func (s *Server) GetSecret(ctx context.Context, req *pb.GetSecretRequest) (*pb.Secret, error) {
	return serve(ctx, s, getSecret, req.GetName(), req, func() (*pb.Secret, error) {
		name, err := parseSecret(req.GetName())
		if err != nil {
			return nil, err
		}
		return view(s, func(d snapshot) (*pb.Secret, error) {
			record, err := d.secret(name)
			if err != nil {
				return nil, err
			}
			return record.meta, nil
		})
	})
}

// ListSecrets implements the method of the service: newest first.
func (s *Server) ListSecrets(ctx context.Context, req *pb.ListSecretsRequest) (*pb.ListSecretsResponse, error) {
	return serve(ctx, s, listSecrets, req.GetParent(), req, func() (*pb.ListSecretsResponse, error) {
		parent, err := parseProject(req.GetParent())
		if err != nil {
			return nil, err
		}
		match, err := parseFilter(req.GetFilter(), secretFields)
		if err != nil {
			return nil, err
		}
		return view(s, func(d snapshot) (*pb.ListSecretsResponse, error) {
			return d.listSecrets(parent, match, req)
		})
	})
}

func (d snapshot) listSecrets(parent string, match filter[*pb.Secret], req *pb.ListSecretsRequest) (*pb.ListSecretsResponse, error) {
	var found []*secretRecord
	for _, record := range d.oldestFirst() {
		if strings.HasPrefix(record.meta.GetName(), parent+"/") && match.admits(record.meta) {
			found = append(found, record)
		}
	}
	slices.Reverse(found)
	page := pageRequest{size: req.GetPageSize(), token: req.GetPageToken(), list: parent + " " + req.GetFilter()}
	records, next, err := cut(found, page, func(r *secretRecord) int64 { return r.created })
	if err != nil {
		return nil, err
	}
	answer := &pb.ListSecretsResponse{NextPageToken: next}
	if req.GetFilter() == "" {
		answer.TotalSize = int32(len(found))
	}
	for _, record := range records {
		answer.Secrets = append(answer.Secrets, record.meta)
	}
	return answer, nil
}

// UpdateSecret implements the method of the service for labels, annotations,
// topics and version aliases, each replaced as a whole.
func (s *Server) UpdateSecret(ctx context.Context, req *pb.UpdateSecretRequest) (*pb.Secret, error) {
	return serve(ctx, s, updateSecret, req.GetSecret().GetName(), req, func() (*pb.Secret, error) {
		name, err := parseSecret(req.GetSecret().GetName())
		if err != nil {
			return nil, err
		}
		if len(req.GetUpdateMask().GetPaths()) == 0 {
			return nil, status.Error(codes.InvalidArgument, "The update mask must name at least one field.")
		}
		return change(s, func(tx *transaction) (*pb.Secret, error) {
			return tx.update(name, req.GetSecret(), req.GetUpdateMask().GetPaths())
		})
	})
}

func (tx *transaction) update(name string, given *pb.Secret, paths []string) (*pb.Secret, error) {
	record, err := tx.edit(name)
	if err != nil {
		return nil, err
	}
	if err := checkEtag(given.GetEtag(), record.meta.GetEtag(), name); err != nil {
		return nil, err
	}
	given = proto.CloneOf(given)
	for _, path := range paths {
		switch path {
		case "labels":
			record.meta.Labels = given.GetLabels()
		case "annotations":
			record.meta.Annotations = given.GetAnnotations()
		case "topics":
			record.meta.Topics = given.GetTopics()
		case "version_aliases":
			record.meta.VersionAliases = given.GetVersionAliases()
		case "name", "replication", "create_time", "etag":
			return nil, status.Errorf(codes.InvalidArgument, "The field [%s] is immutable.", path)
		default:
			return nil, status.Errorf(codes.InvalidArgument, "The update mask names [%s], which cannot be updated.", path)
		}
	}
	if err := checkMetadata(record.meta); err != nil {
		return nil, err
	}
	for alias, number := range record.meta.GetVersionAliases() {
		if number < 1 || number > int64(len(record.versions)) {
			return nil, status.Errorf(codes.InvalidArgument, "The alias [%s] names a version that does not exist.", alias)
		}
	}
	record.meta.Etag = tx.etag()
	if slices.Contains(paths, "topics") {
		tx.tryTopics(record)
	}
	tx.announce(SecretUpdated, record, nil)
	return proto.CloneOf(record.meta), nil
}

// DeleteSecret implements the method of the service.
func (s *Server) DeleteSecret(ctx context.Context, req *pb.DeleteSecretRequest) (*emptypb.Empty, error) {
	return serve(ctx, s, deleteSecret, req.GetName(), req, func() (*emptypb.Empty, error) {
		name, err := parseSecret(req.GetName())
		if err != nil {
			return nil, err
		}
		return change(s, func(tx *transaction) (*emptypb.Empty, error) {
			return &emptypb.Empty{}, tx.delete(name, req.GetEtag())
		})
	})
}

func (tx *transaction) delete(name, etag string) error {
	record, err := tx.secret(name)
	if err != nil {
		return err
	}
	if err := checkEtag(etag, record.meta.GetEtag(), name); err != nil {
		return err
	}
	delete(tx.secrets, name)
	tx.announce(SecretDeleted, record, nil)
	return nil
}

// checkNewSecret refuses what the real service refuses, and what this server
// does not serve.
func checkNewSecret(meta *pb.Secret) error {
	switch {
	case meta.GetReplication().GetReplication() == nil:
		return status.Error(codes.InvalidArgument, "Secret.replication must be provided.")
	case meta.GetExpiration() != nil, meta.GetRotation() != nil, meta.GetVersionDestroyTtl() != nil,
		meta.GetCustomerManagedEncryption() != nil, meta.GetReplication().GetUserManaged() != nil,
		meta.GetReplication().GetAutomatic().GetCustomerManagedEncryption() != nil, len(meta.GetTags()) > 0,
		meta.GetSecretType() != pb.Secret_SECRET_TYPE_UNSPECIFIED:
		return status.Error(codes.Unimplemented, "Expiry, rotation, delayed destruction, types, tags, chosen locations and keys are not served here.")
	case len(meta.GetVersionAliases()) > 0:
		return status.Error(codes.InvalidArgument, "A new secret has no versions that an alias could name.")
	}
	return checkMetadata(meta)
}

func checkMetadata(meta *pb.Secret) error {
	if len(meta.GetLabels()) > maxLabels || len(meta.GetTopics()) > maxTopics || len(meta.GetVersionAliases()) > maxAliases {
		return status.Errorf(codes.InvalidArgument, "A secret has at most %d labels, %d topics and %d aliases.", maxLabels, maxTopics, maxAliases)
	}
	for key, value := range meta.GetLabels() {
		if !labelKey.MatchString(key) || !labelValue.MatchString(value) {
			return status.Errorf(codes.InvalidArgument, "The label [%s] is not valid.", key)
		}
	}
	for _, topic := range meta.GetTopics() {
		if !topicName.MatchString(topic.GetName()) {
			return status.Error(codes.InvalidArgument, "A topic's name has the form [projects/*/topics/*].")
		}
	}
	for alias := range meta.GetVersionAliases() {
		if !aliasPattern.MatchString(alias) || alias == "latest" || alias == "NEW" {
			return status.Errorf(codes.InvalidArgument, "The alias [%s] is not valid.", alias)
		}
	}
	return checkAnnotations(meta.GetAnnotations())
}

func checkAnnotations(annotations map[string]string) error {
	size := 0
	for key, value := range annotations {
		if !annotationKey.MatchString(key) || !utf8.ValidString(value) {
			return status.Errorf(codes.InvalidArgument, "The annotation [%s] is not valid.", key)
		}
		size += len(key) + len(value)
	}
	if size >= maxAnnotationBytes {
		return status.Error(codes.InvalidArgument, "The annotations must be less than 16KiB in total.")
	}
	return nil
}
