package secretmanagerd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// snapshot is all the data at one moment. What it points to is never changed:
// a change makes a new snapshot, which takes the old one's place only when it
// has been stored.
type snapshot struct {
	revision int64 // grows with every change; etags are made from it
	secrets  map[string]*secretRecord
}

// secretRecord is a secret with its versions; version n is at n-1.
type secretRecord struct {
	meta     *pb.Secret
	created  int64 // revision, the order of creation
	versions []*versionRecord
}

type versionRecord struct {
	meta *pb.SecretVersion
	data []byte // nil once destroyed
}

// transaction is a snapshot in the making.
type transaction struct {
	snapshot
	now    time.Time
	topics []string // of a secret that is created without any
	events []Event
}

// view calls read with the present data.
func view[T any](s *Server, read func(snapshot) (T, error)) (T, error) {
	s.mu.Lock()
	data := s.data
	s.mu.Unlock()
	return read(data)
}

// change calls write with a copy of the data, stores what it made of it, and
// tells Config.Notify.
func change[T any](s *Server, write func(*transaction) (T, error)) (T, error) {
	result, events, err := commit(s, write)
	if s.config.Notify != nil {
		for _, e := range events {
			s.config.Notify(e)
		}
	}
	return result, err
}

func commit[T any](s *Server, write func(*transaction) (T, error)) (T, []Event, error) {
	var none T
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &transaction{
		snapshot: snapshot{revision: s.data.revision, secrets: maps.Clone(s.data.secrets)},
		now:      s.clock.Now(),
		topics:   s.config.Topics,
	}
	result, err := write(tx)
	if err != nil {
		return none, nil, err
	}
	if err := save(s.config.File, tx.snapshot); err != nil {
		return none, nil, status.Error(codes.Internal, "Internal error encountered.")
	}
	s.data = tx.snapshot
	return result, tx.events, nil
}

// etag returns a new etag. As the real ones it is quoted.
// Source: cloud.google.com/secret-manager/docs/etags.
func (tx *transaction) etag() string {
	tx.revision++
	return fmt.Sprintf("%q", fmt.Sprintf("%x", tx.revision))
}

// edit returns a copy of a secret that the transaction may change.
func (tx *transaction) edit(name string) (*secretRecord, error) {
	record, err := tx.secret(name)
	if err != nil {
		return nil, err
	}
	edited := &secretRecord{meta: proto.CloneOf(record.meta), created: record.created, versions: slices.Clone(record.versions)}
	tx.secrets[name] = edited
	return edited, nil
}

// editVersion returns copies of a secret and of one of its versions.
func (tx *transaction) editVersion(name, version string) (*secretRecord, *versionRecord, error) {
	record, err := tx.edit(name)
	if err != nil {
		return nil, nil, err
	}
	if !digitsPattern.MatchString(version) {
		return nil, nil, status.Errorf(codes.InvalidArgument, "The version must be given by its number, not by the alias [%s].", version)
	}
	found, err := record.version(version)
	if err != nil {
		return nil, nil, err
	}
	edited := &versionRecord{meta: proto.CloneOf(found.meta), data: found.data}
	record.versions[slices.Index(record.versions, found)] = edited
	return record, edited, nil
}

// giveTopics gives the topics to each secret that has none. It is for data that
// nobody else has yet.
func (d snapshot) giveTopics(topics []string) {
	for _, record := range d.secrets {
		if len(record.meta.GetTopics()) == 0 {
			record.meta.Topics = topicsOf(topics)
		}
	}
}

func topicsOf(names []string) []*pb.Topic {
	var topics []*pb.Topic
	for _, name := range names {
		topics = append(topics, &pb.Topic{Name: name})
	}
	return topics
}

// oldestFirst returns the secrets in the order of their creation.
func (d snapshot) oldestFirst() []*secretRecord {
	return slices.SortedFunc(maps.Values(d.secrets), func(a, b *secretRecord) int { return cmp.Compare(a.created, b.created) })
}

func (d snapshot) secret(name string) (*secretRecord, error) {
	record, ok := d.secrets[name]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "Secret [%s] not found.", name)
	}
	return record, nil
}

// secretVersion resolves a version's number or alias.
func (d snapshot) secretVersion(name, version string) (*versionRecord, error) {
	record, ok := d.secrets[name]
	if !ok || len(record.versions) == 0 {
		return nil, status.Errorf(codes.NotFound, "Secret [%s] not found or has no versions.", name)
	}
	return record.version(version)
}

// version resolves a number or an alias. `latest` is the most recently created
// version, whatever its state: a disabled one is not passed over.
func (r *secretRecord) version(version string) (*versionRecord, error) {
	number := 0
	switch aliased, ok := r.meta.GetVersionAliases()[version]; {
	case version == "latest":
		number = len(r.versions)
	case ok:
		number = int(aliased)
	case digitsPattern.MatchString(version) && len(version) < 10:
		number, _ = strconv.Atoi(version) // digits, and few enough
	}
	if number < 1 || number > len(r.versions) {
		return nil, status.Errorf(codes.NotFound, "Secret Version [%s/versions/%s] not found.", r.meta.GetName(), version)
	}
	return r.versions[number-1], nil
}

// checkEtag refuses a change that was meant for an older state. No etag: no check.
func checkEtag(given, stored, resource string) error {
	if given == "" || given == stored {
		return nil
	}
	return status.Errorf(codes.FailedPrecondition, "The etag provided for resource [%s] does not match its current etag.", resource)
}
