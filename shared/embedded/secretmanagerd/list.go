package secretmanagerd

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The sizes of a page. Source for the largest: the comment of
// google.cloud.secretmanager.v1.ListSecretsRequest.page_size. The real service
// does not say what it chooses where the caller leaves it open.
const (
	defaultPageSize = 100
	maxPageSize     = 25_000
)

// pageRequest is what a caller asks for.
type pageRequest struct {
	size  int32
	token string
	list  string // what is listed; a token of another list is refused
}

type pageToken struct {
	List  string `json:"l"`
	After int64  `json:"a"` // key of the last item of the page before
}

// cut returns one page of items, which are in descending order of their keys,
// and the token of the next page. What is added or deleted between two pages
// neither repeats nor hides what stays.
func cut[T any](items []T, req pageRequest, key func(T) int64) (page []T, next string, err error) {
	if req.size < 0 {
		return nil, "", status.Error(codes.InvalidArgument, "The page size must not be negative.")
	}
	rest, err := after(items, req, key)
	if err != nil {
		return nil, "", err
	}
	size := int(min(req.size, maxPageSize))
	if size == 0 {
		size = defaultPageSize
	}
	if len(rest) <= size {
		return rest, "", nil
	}
	token, _ := json.Marshal(pageToken{List: req.list, After: key(rest[size-1])}) // a string and a number
	return rest[:size], base64.RawURLEncoding.EncodeToString(token), nil
}

func after[T any](items []T, req pageRequest, key func(T) int64) ([]T, error) {
	if req.token == "" {
		return items, nil
	}
	var token pageToken
	text, err := base64.RawURLEncoding.DecodeString(req.token)
	if err != nil || json.Unmarshal(text, &token) != nil || token.List != req.list {
		return nil, status.Error(codes.InvalidArgument, "The page token is not one of this list.")
	}
	for i, item := range items {
		if key(item) < token.After {
			return items[i:], nil
		}
	}
	return nil, nil
}

// filter is a conjunction of terms; the empty one admits everything.
type filter[T any] []func(T) bool

func (f filter[T]) admits(item T) bool {
	for _, term := range f {
		if !term(item) {
			return false
		}
	}
	return true
}

// fields builds the test of one term: a field, `:` (has) or `=`, and a value.
// It returns nil for a field or an operator that is not served.
type fields[T any] func(field string, op byte, value string) func(T) bool

var filterTerm = regexp.MustCompile(`^([A-Za-z_]+(?:\.[\p{L}\p{N}_.-]+)?)([:=])("[^"]*"|[^\s"()]+)$`)

// parseFilter reads the part of the service's filter language that is served:
// terms on a name, a state, labels and annotations, joined with AND.
// Source: cloud.google.com/secret-manager/docs/filtering.
func parseFilter[T any](text string, known fields[T]) (filter[T], error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var terms filter[T]
	for part := range strings.SplitSeq(text, " AND ") {
		var test func(T) bool
		if m := filterTerm.FindStringSubmatch(strings.TrimSpace(part)); m != nil {
			test = known(m[1], m[2][0], strings.Trim(m[3], `"`))
		}
		if test == nil {
			return nil, status.Error(codes.InvalidArgument, "The filter is not valid, or uses what is not served here.")
		}
		terms = append(terms, test)
	}
	return terms, nil
}

func secretFields(field string, op byte, value string) func(*pb.Secret) bool {
	if key, ok := strings.CutPrefix(field, "labels."); ok {
		return func(s *pb.Secret) bool { return matchMap(s.GetLabels(), key, op, value) }
	}
	if key, ok := strings.CutPrefix(field, "annotations."); ok {
		return func(s *pb.Secret) bool { return matchMap(s.GetAnnotations(), key, op, value) }
	}
	if field == "name" {
		return func(s *pb.Secret) bool { return matchText(s.GetName(), op, value) }
	}
	return nil
}

func versionFields(field string, op byte, value string) func(*pb.SecretVersion) bool {
	switch field {
	case "name":
		return func(v *pb.SecretVersion) bool { return matchText(v.GetName(), op, value) }
	case "state":
		return func(v *pb.SecretVersion) bool { return strings.EqualFold(v.GetState().String(), value) }
	}
	return nil
}

func matchText(text string, op byte, value string) bool {
	if op == ':' {
		return strings.Contains(text, value)
	}
	return text == value
}

func matchMap(entries map[string]string, key string, op byte, value string) bool {
	got, ok := entries[key]
	return ok && (op == ':' && value == "*" || got == value)
}
