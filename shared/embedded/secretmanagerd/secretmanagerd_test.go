package secretmanagerd_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	project = "acme-secrets-prod"
	parent  = "projects/" + project
	dbURL   = parent + "/secrets/db-url"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, config secretmanagerd.Config) (*secretmanagerd.Server, pb.SecretManagerServiceClient) {
	t.Helper()
	s, err := secretmanagerd.New(config)
	check(t, err)
	return s, connect(t, s.ListenInMemory())
}

func connect(t *testing.T, endpoint *secretmanagerd.Endpoint) pb.SecretManagerServiceClient {
	t.Helper()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if endpoint.Dial != nil {
		options = append(options, grpc.WithContextDialer(endpoint.Dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+endpoint.Address, options...)
	check(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		endpoint.Close()
	})
	return pb.NewSecretManagerServiceClient(conn)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

func newSecret() *pb.Secret {
	return &pb.Secret{Replication: &pb.Replication{Replication: &pb.Replication_Automatic_{Automatic: &pb.Replication_Automatic{}}}}
}

// create makes a secret with versions of these values.
func create(t *testing.T, c pb.SecretManagerServiceClient, id string, values ...string) *pb.Secret {
	t.Helper()
	created, err := c.CreateSecret(t.Context(), &pb.CreateSecretRequest{Parent: parent, SecretId: id, Secret: newSecret()})
	check(t, err)
	for _, v := range values {
		_, err := c.AddSecretVersion(t.Context(), &pb.AddSecretVersionRequest{Parent: parent + "/secrets/" + id, Payload: &pb.SecretPayload{Data: []byte(v)}})
		check(t, err)
	}
	return created
}

func access(t *testing.T, c pb.SecretManagerServiceClient, name string) (string, error) {
	t.Helper()
	answer, err := c.AccessSecretVersion(t.Context(), &pb.AccessSecretVersionRequest{Name: name})
	return string(answer.GetPayload().GetData()), err
}

// The life of a version, as its caller sees it: what is done, the answer, and
// what `latest` and version 1 give afterwards.
func TestLifeOfASecret(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	ctx := t.Context()
	v := func(n int) string { return fmt.Sprintf("%s/versions/%d", dbURL, n) }
	add := func(value string) error {
		_, err := c.AddSecretVersion(ctx, &pb.AddSecretVersionRequest{Parent: dbURL, Payload: &pb.SecretPayload{Data: []byte(value)}})
		return err
	}
	enable := func(name string) error {
		_, err := c.EnableSecretVersion(ctx, &pb.EnableSecretVersionRequest{Name: name})
		return err
	}
	disable := func(name string) error {
		_, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: name})
		return err
	}
	destroy := func(name string) error {
		_, err := c.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: name})
		return err
	}
	for _, step := range []struct {
		name          string
		do            func() error
		want          codes.Code
		latest, first string // a value, or a code
	}{
		{"add to nothing", func() error { return add("one") }, codes.NotFound, "NotFound", "NotFound"},
		{"create", func() error { create(t, c, "db-url"); return nil }, codes.OK, "NotFound", "NotFound"},
		{"add one", func() error { return add("one") }, codes.OK, "one", "one"},
		{"add two", func() error { return add("two") }, codes.OK, "two", "one"},
		{"add nothing", func() error { return add("") }, codes.InvalidArgument, "two", "one"},
		{"disable two", func() error { return disable(v(2)) }, codes.OK, "FailedPrecondition", "one"},
		{"disable two again", func() error { return disable(v(2)) }, codes.OK, "FailedPrecondition", "one"},
		{"enable two", func() error { return enable(v(2)) }, codes.OK, "two", "one"},
		{"enable latest", func() error { return enable(dbURL + "/versions/latest") }, codes.InvalidArgument, "two", "one"},
		{"destroy one", func() error { return destroy(v(1)) }, codes.OK, "two", "FailedPrecondition"},
		{"enable one", func() error { return enable(v(1)) }, codes.FailedPrecondition, "two", "FailedPrecondition"},
		{"destroy one again", func() error { return destroy(v(1)) }, codes.FailedPrecondition, "two", "FailedPrecondition"},
		{"destroy two", func() error { return destroy(v(2)) }, codes.OK, "FailedPrecondition", "FailedPrecondition"},
		{"destroy three", func() error { return destroy(v(3)) }, codes.NotFound, "FailedPrecondition", "FailedPrecondition"},
		{"add three", func() error { return add("three") }, codes.OK, "three", "FailedPrecondition"},
		{"delete", func() error {
			_, err := c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: dbURL})
			return err
		}, codes.OK, "NotFound", "NotFound"},
		{"delete again", func() error {
			_, err := c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: dbURL})
			return err
		}, codes.NotFound, "NotFound", "NotFound"},
		{"create anew", func() error { create(t, c, "db-url", "new one"); return nil }, codes.OK, "new one", "new one"},
	} {
		wantCode(t, step.name, step.do(), step.want)
		for name, want := range map[string]string{dbURL + "/versions/latest": step.latest, v(1): step.first} {
			got, err := access(t, c, name)
			if err != nil {
				got = status.Code(err).String()
			}
			if got != want {
				t.Errorf("after %q, %s gives %q, want %q", step.name, name, got, want)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	create(t, c, "db-url", "v")
	ctx := t.Context()
	makeSecret := func(in, id string, change func(*pb.Secret)) error {
		s := newSecret()
		change(s)
		_, err := c.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: in, SecretId: id, Secret: s})
		return err
	}
	as := func(*pb.Secret) {}
	addData := func(data []byte, crc *int64) error {
		_, err := c.AddSecretVersion(ctx, &pb.AddSecretVersionRequest{Parent: dbURL, Payload: &pb.SecretPayload{Data: data, DataCrc32C: crc}})
		return err
	}
	update := func(change func(*pb.Secret), paths ...string) error {
		s := &pb.Secret{Name: dbURL}
		change(s)
		_, err := c.UpdateSecret(ctx, &pb.UpdateSecretRequest{Secret: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return err
	}
	list := func(size int32, token, filter string) error {
		_, err := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: dbURL, PageSize: size, PageToken: token, Filter: filter})
		return err
	}
	get := func(name string) error {
		_, err := c.GetSecretVersion(ctx, &pb.GetSecretVersionRequest{Name: name})
		return err
	}
	sum := int64(crc32.Checksum([]byte("v"), crc32.MakeTable(crc32.Castagnoli)))
	for name, test := range map[string]struct {
		err  error
		want codes.Code
	}{
		"twice":                       {makeSecret(parent, "db-url", as), codes.AlreadyExists},
		"twice, by the number":        {makeSecret(numbered(t, c, parent), "db-url", as), codes.AlreadyExists},
		"a bad id":                    {makeSecret(parent, "db.url", as), codes.InvalidArgument},
		"no id":                       {makeSecret(parent, "", as), codes.InvalidArgument},
		"a bad parent":                {makeSecret("acme", "x", as), codes.InvalidArgument},
		"a bad project":               {makeSecret("projects/A", "x", as), codes.InvalidArgument},
		"a region":                    {makeSecret(parent+"/locations/us-east1", "x", as), codes.Unimplemented},
		"no replication":              {makeSecret(parent, "x", func(s *pb.Secret) { s.Replication = nil }), codes.InvalidArgument},
		"an expiry":                   {makeSecret(parent, "x", func(s *pb.Secret) { s.Expiration = &pb.Secret_Ttl{Ttl: durationpb.New(time.Hour)} }), codes.Unimplemented},
		"a bad label":                 {makeSecret(parent, "x", func(s *pb.Secret) { s.Labels = map[string]string{"Team": "a"} }), codes.InvalidArgument},
		"a bad topic":                 {makeSecret(parent, "x", func(s *pb.Secret) { s.Topics = []*pb.Topic{{Name: "changes"}} }), codes.InvalidArgument},
		"a bad annotation":            {makeSecret(parent, "x", func(s *pb.Secret) { s.Annotations = map[string]string{"-a": ""} }), codes.InvalidArgument},
		"annotations of 16 KiB":       {makeSecret(parent, "x", func(s *pb.Secret) { s.Annotations = map[string]string{"a": strings.Repeat("x", 16<<10-1)} }), codes.InvalidArgument},
		"annotations just under":      {makeSecret(parent, "y", func(s *pb.Secret) { s.Annotations = map[string]string{"a": strings.Repeat("x", 16<<10-2)} }), codes.OK},
		"64 KiB":                      {addData(make([]byte, 64<<10), nil), codes.OK},
		"a byte over 64 KiB":          {addData(make([]byte, 64<<10+1), nil), codes.InvalidArgument},
		"the right checksum":          {addData([]byte("v"), proto.Int64(sum)), codes.OK},
		"a wrong checksum":            {addData([]byte("v"), proto.Int64(sum+1)), codes.InvalidArgument},
		"no mask":                     {update(as), codes.InvalidArgument},
		"an unknown path":             {update(as, "colour"), codes.InvalidArgument},
		"an immutable path":           {update(as, "replication"), codes.InvalidArgument},
		"an alias of nothing":         {update(func(s *pb.Secret) { s.VersionAliases = map[string]int64{"live": 99} }, "version_aliases"), codes.InvalidArgument},
		"an alias named latest":       {update(func(s *pb.Secret) { s.VersionAliases = map[string]int64{"latest": 1} }, "version_aliases"), codes.InvalidArgument},
		"a negative page":             {list(-1, "", ""), codes.InvalidArgument},
		"a made-up token":             {list(1, "x", ""), codes.InvalidArgument},
		"an unknown field to filter":  {list(0, "", "colour:red"), codes.InvalidArgument},
		"a filter that is not served": {list(0, "", "state:ENABLED OR state:DISABLED"), codes.InvalidArgument},
		"a version that is not there": {get(dbURL + "/versions/99"), codes.NotFound},
		"version 0":                   {get(dbURL + "/versions/0"), codes.NotFound},
		"a huge version":              {get(dbURL + "/versions/99999999999999999999"), codes.NotFound},
		"an unknown alias":            {get(dbURL + "/versions/live"), codes.NotFound},
		"a negative version":          {get(dbURL + "/versions/-1"), codes.InvalidArgument},
		"no version":                  {get(dbURL), codes.InvalidArgument},
		"a secret that is not there":  {get(parent + "/secrets/gone/versions/1"), codes.NotFound},
	} {
		wantCode(t, name, test.err, test.want)
	}
}

// numbered returns the project's name as the server gives it.
func numbered(t *testing.T, c pb.SecretManagerServiceClient, _ string) string {
	t.Helper()
	s, err := c.GetSecret(t.Context(), &pb.GetSecretRequest{Name: dbURL})
	check(t, err)
	name, _, _ := strings.Cut(s.GetName(), "/secrets/")
	return name
}

func TestResourcesAreNamedByTheProjectsNumber(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	create(t, c, "db-url", "v")
	byNumber := numbered(t, c, parent)
	if byNumber == parent || strings.Trim(byNumber, "0123456789") != "projects/" {
		t.Fatalf("the project is named %s", byNumber)
	}
	if got, err := access(t, c, byNumber+"/secrets/db-url/versions/latest"); err != nil || got != "v" {
		t.Errorf("by the number: %q, %v", got, err)
	}
	_, err := c.GetSecret(t.Context(), &pb.GetSecretRequest{Name: "projects/acme-secrets-dev/secrets/db-url"})
	wantCode(t, "another project", err, codes.NotFound)
}

func TestAccessCarriesTheChecksum(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	create(t, c, "db-url", "123456789")
	answer, err := c.AccessSecretVersion(t.Context(), &pb.AccessSecretVersionRequest{Name: dbURL + "/versions/latest"})
	check(t, err)
	if answer.GetPayload().GetDataCrc32C() != 0xE3069283 { // CRC-32C's check value
		t.Errorf("the checksum is %#x", answer.GetPayload().GetDataCrc32C())
	}
	if !strings.HasSuffix(answer.GetName(), "/versions/1") {
		t.Errorf("latest is answered as %s", answer.GetName())
	}
}

func TestUpdateReplacesOnlyWhatTheMaskNames(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	create(t, c, "db-url", "one", "two")
	update := func(s *pb.Secret, paths ...string) *pb.Secret {
		t.Helper()
		s.Name = dbURL
		got, err := c.UpdateSecret(t.Context(), &pb.UpdateSecretRequest{Secret: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		check(t, err)
		return got
	}
	update(&pb.Secret{Labels: map[string]string{"team": "pay"}, Annotations: map[string]string{"sealpost-repositories": "42"}}, "labels", "annotations")
	got := update(&pb.Secret{Annotations: map[string]string{"owner": "alice"}, VersionAliases: map[string]int64{"live": 1}}, "annotations", "version_aliases")
	if len(got.GetLabels()) != 1 || len(got.GetAnnotations()) != 1 || got.GetAnnotations()["owner"] != "alice" {
		t.Errorf("got labels %v and annotations %v", got.GetLabels(), got.GetAnnotations())
	}
	if value, err := access(t, c, dbURL+"/versions/live"); err != nil || value != "one" {
		t.Errorf("the alias gives %q, %v", value, err)
	}
	if got = update(&pb.Secret{}, "labels", "version_aliases"); len(got.GetLabels())+len(got.GetVersionAliases()) != 0 {
		t.Errorf("not cleared: %v", got)
	}
}

func TestEtags(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	ctx := t.Context()
	created := create(t, c, "db-url", "v")
	if e := created.GetEtag(); len(e) < 3 || e[0] != '"' || e[len(e)-1] != '"' {
		t.Errorf("the etag %s is not quoted", e)
	}
	version := func() *pb.SecretVersion {
		t.Helper()
		v, err := c.GetSecretVersion(ctx, &pb.GetSecretVersionRequest{Name: dbURL + "/versions/1"})
		check(t, err)
		return v
	}
	old := version().GetEtag()
	_, err := c.EnableSecretVersion(ctx, &pb.EnableSecretVersionRequest{Name: dbURL + "/versions/1", Etag: old})
	check(t, err)
	for name, call := range map[string]func(etag string) error{
		"enable": func(e string) error {
			_, err := c.EnableSecretVersion(ctx, &pb.EnableSecretVersionRequest{Name: dbURL + "/versions/1", Etag: e})
			return err
		},
		"disable": func(e string) error {
			_, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: dbURL + "/versions/1", Etag: e})
			return err
		},
		"destroy": func(e string) error {
			_, err := c.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: dbURL + "/versions/1", Etag: e})
			return err
		},
		"delete": func(e string) error {
			_, err := c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: dbURL, Etag: e})
			return err
		},
		"update": func(e string) error {
			_, err := c.UpdateSecret(ctx, &pb.UpdateSecretRequest{Secret: &pb.Secret{Name: dbURL, Etag: e}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}})
			return err
		},
	} {
		wantCode(t, name+" with an old etag", call(old), codes.FailedPrecondition)
	}
	if v := version(); v.GetState() != pb.SecretVersion_ENABLED {
		t.Errorf("the version is %s", v.GetState())
	}
	_, err = c.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: dbURL + "/versions/1", Etag: version().GetEtag()})
	check(t, err)
	if version().GetDestroyTime() == nil {
		t.Error("no time of destruction")
	}
	got, err := c.GetSecret(ctx, &pb.GetSecretRequest{Name: dbURL})
	check(t, err)
	if got.GetEtag() != created.GetEtag() {
		t.Error("a change of a version changed the secret's etag")
	}
	_, err = c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: dbURL, Etag: created.GetEtag()})
	check(t, err)
	if again := create(t, c, "db-url"); again.GetEtag() == created.GetEtag() {
		t.Error("a secret made anew has the old one's etag")
	}
}

func TestListsComeInPagesNewestFirst(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{})
	var values []string
	for n := range 7 {
		values = append(values, fmt.Sprint(n))
		create(t, c, fmt.Sprintf("other-%d", n))
	}
	create(t, c, "db-url", values...)
	check(t, s.DisableVersion(project, "db-url", 2))
	check(t, s.DestroyVersion(project, "db-url", 5))

	versions := func(size int32, filter string) (pages []string) {
		token := ""
		for {
			answer, err := c.ListSecretVersions(t.Context(), &pb.ListSecretVersionsRequest{Parent: dbURL, PageSize: size, PageToken: token, Filter: filter})
			check(t, err)
			var page []string
			for _, v := range answer.GetVersions() {
				page = append(page, v.GetName()[strings.LastIndex(v.GetName(), "/")+1:])
			}
			pages = append(pages, strings.Join(page, " "))
			if token = answer.GetNextPageToken(); token == "" {
				return pages
			}
		}
	}
	for _, test := range []struct {
		size   int32
		filter string
		want   []string
	}{
		{0, "", []string{"7 6 5 4 3 2 1"}},
		{3, "", []string{"7 6 5", "4 3 2", "1"}},
		{7, "", []string{"7 6 5 4 3 2 1"}},
		{30_000, "", []string{"7 6 5 4 3 2 1"}},
		{0, "state:ENABLED", []string{"7 6 4 3 1"}},
		{2, "state=enabled", []string{"7 6", "4 3", "1"}},
		{0, "state:DISABLED", []string{"2"}},
		{0, `state:"DESTROYED" AND name:versions/5`, []string{"5"}},
		{0, "state:DESTROYED AND name:versions/4", []string{""}},
	} {
		if got := versions(test.size, test.filter); !slices.Equal(got, test.want) {
			t.Errorf("size %d, filter %q: got %q, want %q", test.size, test.filter, got, test.want)
		}
	}

	secrets, err := c.ListSecrets(t.Context(), &pb.ListSecretsRequest{Parent: parent, PageSize: 2})
	check(t, err)
	if secrets.GetTotalSize() != 8 || len(secrets.GetSecrets()) != 2 || !strings.HasSuffix(secrets.GetSecrets()[0].GetName(), "/db-url") {
		t.Errorf("got %v", secrets)
	}
	_, err = c.ListSecretVersions(t.Context(), &pb.ListSecretVersionsRequest{Parent: dbURL, PageToken: secrets.GetNextPageToken()})
	wantCode(t, "the token of another list", err, codes.InvalidArgument)
}

func TestSecretsAreFiltered(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{})
	for id, labels := range map[string]map[string]string{"a-url": {"team": "pay"}, "b-url": {"team": "web"}, "c-key": nil} {
		s := newSecret()
		s.Labels, s.Annotations = labels, map[string]string{"kind": id[2:]}
		_, err := c.CreateSecret(t.Context(), &pb.CreateSecretRequest{Parent: parent, SecretId: id, Secret: s})
		check(t, err)
	}
	for filter, want := range map[string]int{
		"name:url": 2, "labels.team=pay": 1, "labels.team:*": 2, "annotations.kind=key": 1,
		"name:url AND labels.team=web": 1, "labels.team=pay AND labels.team=web": 0, "name:nothing": 0,
	} {
		answer, err := c.ListSecrets(t.Context(), &pb.ListSecretsRequest{Parent: parent, Filter: filter})
		if err != nil || len(answer.GetSecrets()) != want || answer.GetTotalSize() != 0 {
			t.Errorf("%s: got %d, %v; want %d and no total", filter, len(answer.GetSecrets()), err, want)
		}
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{
			ReadsPerMinute: secretmanagerd.RealReadsPerMinute, WritesPerMinute: 2, AccessesPerMinute: 3,
		})
		create(t, c, "db-url", "v") // two writes
		get := func(name string) error {
			_, err := c.GetSecret(t.Context(), &pb.GetSecretRequest{Name: name})
			return err
		}
		for range 600 {
			check(t, get(dbURL))
		}
		wantCode(t, "the 601st read", get(dbURL), codes.ResourceExhausted)
		wantCode(t, "by the number", get(strings.Replace(dbURL, parent, "projects/"+s.Number(project), 1)), codes.ResourceExhausted)
		wantCode(t, "a read of another project", get("projects/acme-secrets-dev/secrets/x"), codes.NotFound)
		_, err := c.AddSecretVersion(t.Context(), &pb.AddSecretVersionRequest{Parent: dbURL, Payload: &pb.SecretPayload{Data: []byte("w")}})
		wantCode(t, "the third write", err, codes.ResourceExhausted)
		for range 3 {
			_, err = access(t, c, dbURL+"/versions/1")
			check(t, err)
		}
		_, err = access(t, c, dbURL+"/versions/1")
		wantCode(t, "the fourth access", err, codes.ResourceExhausted)
		time.Sleep(time.Minute - time.Nanosecond)
		wantCode(t, "just before a minute has passed", get(dbURL), codes.ResourceExhausted)
		time.Sleep(time.Nanosecond)
		wantCode(t, "a minute later", get(dbURL), codes.OK)
		if got := s.Calls("GetSecret"); got != 605 {
			t.Errorf("%d calls were counted", got)
		}
	})
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{Permit: func(r secretmanagerd.Request) bool {
		return r.Identity == "alice" || r.Permission == "secretmanager.secrets.get"
	}})
	alice := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer alice")
	_, err := c.CreateSecret(t.Context(), &pb.CreateSecretRequest{Parent: parent, SecretId: "db-url", Secret: newSecret()})
	wantCode(t, "nobody creates", err, codes.PermissionDenied)
	if !strings.Contains(status.Convert(err).Message(), "secretmanager.secrets.create") {
		t.Errorf("the permission is not named: %v", err)
	}
	_, err = c.CreateSecret(alice, &pb.CreateSecretRequest{Parent: parent, SecretId: "db-url", Secret: newSecret()})
	wantCode(t, "alice creates", err, codes.OK)
	_, err = c.GetSecret(t.Context(), &pb.GetSecretRequest{Name: dbURL})
	wantCode(t, "nobody gets", err, codes.OK)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	type F = secretmanagerd.Fault
	for name, test := range map[string]struct {
		fault F
		want  string // of eight accesses: . succeeds, x fails
	}{
		"each":                  {F{Code: codes.Unavailable}, "xxxxxxxx"},
		"of this method":        {F{Method: "AccessSecretVersion", Code: codes.Unavailable}, "xxxxxxxx"},
		"of another method":     {F{Method: "GetSecret", Code: codes.Unavailable}, "........"},
		"of this resource":      {F{Resource: "secrets/db-url", Code: codes.Unavailable}, "xxxxxxxx"},
		"of another resource":   {F{Resource: "secrets/other", Code: codes.Unavailable}, "........"},
		"the third":             {F{Nth: 3, Code: codes.Unavailable}, "..x....."},
		"the first two":         {F{Times: 2, Code: codes.Unavailable}, "xx......"},
		"never":                 {F{Chance: 1e-12, Code: codes.Unavailable}, "........"},
		"always":                {F{Chance: 1, Code: codes.Unavailable}, "xxxxxxxx"},
		"a delay fails nothing": {F{Delay: time.Nanosecond}, "........"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t, secretmanagerd.Config{})
			create(t, c, "db-url", "v")
			s.Plant(test.fault)
			got := ""
			for range 8 {
				if _, err := access(t, c, dbURL+"/versions/1"); err != nil {
					got += "x"
				} else {
					got += "."
				}
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			s.ClearFaults()
			if _, err := access(t, c, dbURL+"/versions/1"); err != nil {
				t.Errorf("after all faults are gone: %v", err)
			}
		})
	}
}

func TestFaultsOfChanceRepeatWithTheSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) string {
		s, c := start(t, secretmanagerd.Config{Seed: seed})
		create(t, c, "db-url", "v")
		s.Plant(secretmanagerd.Fault{Chance: 0.5, Code: codes.Unavailable})
		got := ""
		for range 64 {
			_, err := access(t, c, dbURL+"/versions/1")
			got += status.Code(err).String()[:1]
		}
		return got
	}
	first := run(1)
	if strings.Count(first, "U") < 10 || strings.Count(first, "O") < 10 {
		t.Errorf("not a half: %s", first)
	}
	if run(1) != first || run(2) == first {
		t.Error("the choices must depend on the seed alone")
	}
}

func TestAFaultBeforeOrAfterTheEffect(t *testing.T) {
	t.Parallel()
	for after, versions := range map[bool]int{false: 0, true: 1} {
		s, c := start(t, secretmanagerd.Config{})
		create(t, c, "db-url")
		s.Plant(secretmanagerd.Fault{Method: "AddSecretVersion", Code: codes.Internal, After: after, Echo: true, Message: "no:"})
		_, err := c.AddSecretVersion(t.Context(), &pb.AddSecretVersionRequest{Parent: dbURL, Payload: &pb.SecretPayload{Data: []byte("the value")}})
		wantCode(t, "add", err, codes.Internal)
		if text := status.Convert(err).Message(); !strings.HasPrefix(text, "no:") || !strings.Contains(text, "the value") {
			t.Errorf("the message %q does not echo the request", text)
		}
		answer, err := c.ListSecretVersions(t.Context(), &pb.ListSecretVersionsRequest{Parent: dbURL})
		if err != nil || len(answer.GetVersions()) != versions {
			t.Errorf("after %v: %d versions, want %d", after, len(answer.GetVersions()), versions)
		}
	}
}

func TestLatencyAndHanging(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{Latency: 80 * time.Millisecond})
		begin := time.Now()
		create(t, c, "db-url", "v")
		if took := time.Since(begin); took != 160*time.Millisecond {
			t.Errorf("two calls took %s", took)
		}
		s.Plant(secretmanagerd.Fault{Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.GetSecret(ctx, &pb.GetSecretRequest{Name: dbURL})
		wantCode(t, "a call that hangs", err, codes.DeadlineExceeded)
	})
}

func TestSeedingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{})
	set := func(value string, annotations map[string]string) secret.Version {
		t.Helper()
		v, err := s.SetSecret(project, "db-url", secret.NewValue(value), annotations)
		check(t, err)
		return v
	}
	etag := func() string {
		t.Helper()
		got, err := c.GetSecret(t.Context(), &pb.GetSecretRequest{Name: dbURL})
		check(t, err)
		return got.GetEtag() + got.GetAnnotations()["k"]
	}
	if v := set("one", map[string]string{"k": "1"}); v != 1 {
		t.Errorf("version %d", v)
	}
	before := etag()
	if v := set("one", map[string]string{"k": "1"}); v != 1 || etag() != before {
		t.Errorf("version %d", v)
	}
	if v := set("one", nil); v != 1 || etag() != before {
		t.Errorf("version %d, or the annotations changed", v)
	}
	if v := set("one", map[string]string{"k": "2"}); v != 1 || etag() == before {
		t.Errorf("version %d, or the annotations did not change", v)
	}
	if v := set("two", nil); v != 2 {
		t.Errorf("version %d", v)
	}
	check(t, s.DisableVersion(project, "db-url", 2))
	if v := set("two", nil); v != 3 {
		t.Errorf("version %d, but a disabled one does not count", v)
	}
	if got := s.Secrets(project); !slices.Equal(got, []string{"db-url"}) {
		t.Errorf("secrets %v", got)
	}
	if s.Calls("CreateSecret")+s.Calls("AddSecretVersion") != 0 {
		t.Error("seeding was counted as calls")
	}
}
