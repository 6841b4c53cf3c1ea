package secretmanagerd

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// quota is one of the service's three budgets.
type quota string

const (
	readQuota   quota = "Read requests"
	writeQuota  quota = "Write requests"
	accessQuota quota = "Access requests"
)

// quotaPeriod is what the limits are counted over.
const quotaPeriod = time.Minute

type quotaKey struct {
	quota   quota
	project string // its number
}

// window counts what was admitted in the last period.
type window struct{ admitted []time.Time }

func (w *window) admit(now time.Time, limit int) bool {
	start := now.Add(-quotaPeriod)
	w.admitted = slices.DeleteFunc(w.admitted, func(t time.Time) bool { return !t.After(start) })
	if len(w.admitted) >= limit {
		return false
	}
	w.admitted = append(w.admitted, now)
	return true
}

// spend takes one call from the project's budget.
func (s *Server) spend(q quota, resource string) error {
	limit := s.limit(q)
	if limit == 0 {
		return nil
	}
	project := projectOf(resource)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := quotaKey{quota: q, project: project}
	if s.quotas[key] == nil {
		s.quotas[key] = &window{}
	}
	if s.quotas[key].admit(s.clock.Now(), limit) {
		return nil
	}
	return quotaError(q, project)
}

func (s *Server) limit(q quota) int {
	switch q {
	case writeQuota:
		return s.config.WritesPerMinute
	case accessQuota:
		return s.config.AccessesPerMinute
	default:
		return s.config.ReadsPerMinute
	}
}

func quotaError(q quota, project string) error {
	st := status.Newf(codes.ResourceExhausted,
		"Quota exceeded for quota metric '%s' and limit '%s per minute' of service 'secretmanager.googleapis.com' for consumer 'project_number:%s'.",
		q, q, project)
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// projectOf returns the number of the project that a resource is in.
func projectOf(resource string) string {
	parts := strings.SplitN(resource, "/", 3)
	if len(parts) < 2 {
		return ""
	}
	return projectNumber(parts[1])
}

// identity returns the bearer token that came with a call.
func identity(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if token, ok := strings.CutPrefix(v, "Bearer "); ok {
			return token
		}
	}
	return ""
}
