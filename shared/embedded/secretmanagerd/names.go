package secretmanagerd

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	projectPattern = regexp.MustCompile(`^([a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,19})$`)
	secretPattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	aliasPattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
	digitsPattern  = regexp.MustCompile(`^[0-9]+$`)
)

// projectNumber returns the number by which the server names a project. Real
// numbers are assigned; these are derived from the id, so that they are the
// same at every start.
func projectNumber(project string) string {
	if digitsPattern.MatchString(project) {
		return project
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(project))
	return strconv.FormatUint(100_000_000_000+h.Sum64()%900_000_000_000, 10)
}

// parseProject returns the canonical form of projects/P.
func parseProject(name string) (string, error) {
	parts := strings.Split(name, "/")
	if len(parts) >= 4 && parts[2] == "locations" {
		return "", status.Error(codes.Unimplemented, "Regional secrets are not served here.")
	}
	if len(parts) != 2 || parts[0] != "projects" || !projectPattern.MatchString(parts[1]) {
		return "", status.Errorf(codes.InvalidArgument, "The provided resource name [%s] does not match the expected format [projects/*].", name)
	}
	return "projects/" + projectNumber(parts[1]), nil
}

// parseSecret returns the canonical form of projects/P/secrets/S.
func parseSecret(name string) (string, error) {
	parts := strings.Split(name, "/")
	if len(parts) >= 4 && parts[2] == "locations" {
		return "", status.Error(codes.Unimplemented, "Regional secrets are not served here.")
	}
	if len(parts) != 4 || parts[0] != "projects" || parts[2] != "secrets" ||
		!projectPattern.MatchString(parts[1]) || !secretPattern.MatchString(parts[3]) {
		return "", status.Errorf(codes.InvalidArgument, "The provided resource name [%s] does not match the expected format [projects/*/secrets/*].", name)
	}
	return fmt.Sprintf("projects/%s/secrets/%s", projectNumber(parts[1]), parts[3]), nil
}

// parseVersion splits projects/P/secrets/S/versions/V into the secret's
// canonical name and V: a number, `latest` or another alias.
func parseVersion(name string) (secret, version string, err error) {
	i := strings.LastIndex(name, "/versions/")
	if i < 0 {
		return "", "", status.Errorf(codes.InvalidArgument, "The provided resource name [%s] does not match the expected format [projects/*/secrets/*/versions/*].", name)
	}
	version = name[i+len("/versions/"):]
	if !digitsPattern.MatchString(version) && !aliasPattern.MatchString(version) {
		return "", "", status.Errorf(codes.InvalidArgument, "The provided version [%s] is neither a number nor an alias.", version)
	}
	secret, err = parseSecret(name[:i])
	return secret, version, err
}
