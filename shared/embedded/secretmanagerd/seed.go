package secretmanagerd

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// The methods of this file change the data directly: they pass by permission,
// quota, latency, faults and counters, and make events as any change does.
// They return a [fault.NotFound], [fault.Exists], [fault.Conflict],
// [fault.Invalid] or [fault.Internal]; no error holds a value.

// SetSecret makes the secret have this value and these annotations, and
// returns the version that holds the value. It creates what is missing, adds a
// version only if the newest is not enabled with this value, and replaces all
// annotations unless they are nil: seeding twice changes nothing.
func (s *Server) SetSecret(project, id string, value secret.Value, annotations map[string]string) (secret.Version, error) {
	return seed(s, "SetSecret", project, id, func(tx *transaction, name string) (secret.Version, error) {
		if err := tx.ensure(name, annotations); err != nil {
			return 0, err
		}
		versions := tx.secrets[name].versions
		if n := len(versions); n > 0 && string(versions[n-1].data) == value.Reveal() && versions[n-1].meta.GetState() == pb.SecretVersion_ENABLED {
			return secret.Version(n), nil
		}
		return tx.addValue(name, value)
	})
}

// AddVersion adds a version to a secret that exists.
func (s *Server) AddVersion(project, id string, value secret.Value) (secret.Version, error) {
	return seed(s, "AddVersion", project, id, func(tx *transaction, name string) (secret.Version, error) {
		return tx.addValue(name, value)
	})
}

// EnableVersion makes a version accessible.
func (s *Server) EnableVersion(project, id string, version secret.Version) error {
	return s.seedState("EnableVersion", project, id, version, pb.SecretVersion_ENABLED)
}

// DisableVersion makes a version inaccessible until it is enabled again.
func (s *Server) DisableVersion(project, id string, version secret.Version) error {
	return s.seedState("DisableVersion", project, id, version, pb.SecretVersion_DISABLED)
}

// DestroyVersion deletes a version's value for good.
func (s *Server) DestroyVersion(project, id string, version secret.Version) error {
	return s.seedState("DestroyVersion", project, id, version, pb.SecretVersion_DESTROYED)
}

// RemoveSecret deletes a secret with all its versions.
func (s *Server) RemoveSecret(project, id string) error {
	_, err := seed(s, "RemoveSecret", project, id, func(tx *transaction, name string) (struct{}, error) {
		return struct{}{}, tx.delete(name, "")
	})
	return err
}

// SetTopics replaces the Pub/Sub topics of a secret, projects/P/topics/T, which
// each [Event] about it names.
func (s *Server) SetTopics(project, id string, topics ...string) error {
	_, err := seed(s, "SetTopics", project, id, func(tx *transaction, name string) (*pb.Secret, error) {
		return tx.update(name, &pb.Secret{Topics: topicsOf(topics)}, []string{"topics"})
	})
	return err
}

func (s *Server) seedState(op, project, id string, version secret.Version, state pb.SecretVersion_State) error {
	_, err := seed(s, op, project, id, func(tx *transaction, name string) (*pb.SecretVersion, error) {
		return tx.setState(name, strconv.FormatInt(int64(version), 10), "", state)
	})
	return err
}

// ensure creates a secret, or replaces the annotations of the one there is.
func (tx *transaction) ensure(name string, annotations map[string]string) error {
	record, exists := tx.secrets[name]
	if exists && (annotations == nil || maps.Equal(record.meta.GetAnnotations(), annotations)) {
		return nil
	}
	given := &pb.Secret{Annotations: maps.Clone(annotations), Replication: automatic()}
	if exists {
		_, err := tx.update(name, given, []string{"annotations"})
		return err
	}
	if err := checkNewSecret(given); err != nil {
		return err
	}
	_, err := tx.create(name, given)
	return err
}

func (tx *transaction) addValue(name string, value secret.Value) (secret.Version, error) {
	data := []byte(value.Reveal())
	if _, err := tx.add(name, &pb.SecretPayload{Data: data, DataCrc32C: proto.Int64(checksum(data))}); err != nil {
		return 0, err
	}
	return secret.Version(len(tx.secrets[name].versions)), nil
}

func automatic() *pb.Replication {
	return &pb.Replication{Replication: &pb.Replication_Automatic_{Automatic: &pb.Replication_Automatic{}}}
}

func seed[T any](s *Server, op, project, id string, write func(*transaction, string) (T, error)) (T, error) {
	var none T
	op = "secretmanagerd." + op + " " + project + "/" + id
	name, err := parseSecret("projects/" + project + "/secrets/" + id)
	if err != nil {
		return none, fault.Wrap(fault.Invalid, op, nil)
	}
	result, err := change(s, func(tx *transaction) (T, error) { return write(tx, name) })
	if err != nil {
		return none, fault.Wrap(seedKind(err), op, nil)
	}
	return result, nil
}

func seedKind(err error) fault.Kind {
	kinds := map[codes.Code]fault.Kind{
		codes.NotFound: fault.NotFound, codes.AlreadyExists: fault.Exists,
		codes.FailedPrecondition: fault.Conflict, codes.InvalidArgument: fault.Invalid,
	}
	if kind, ok := kinds[status.Code(err)]; ok {
		return kind
	}
	return fault.Internal
}

// Secrets returns the ids of a project's secrets, sorted.
func (s *Server) Secrets(project string) []string {
	parent := "projects/" + projectNumber(project) + "/secrets/"
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for name := range s.data.secrets {
		if id, ok := strings.CutPrefix(name, parent); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Number returns the number by which the server names a project.
func (s *Server) Number(project string) string { return projectNumber(project) }
