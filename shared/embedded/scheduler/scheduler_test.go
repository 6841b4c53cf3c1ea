package scheduler_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/scheduler"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// notes is a publisher that notes what it is given and answers as it is told.
type notes struct {
	mu     sync.Mutex
	began  time.Time
	got    []string
	answer func(ctx context.Context, topic string) error
}

func (n *notes) Publish(ctx context.Context, topic string, messages ...event.Message) error {
	n.mu.Lock()
	for _, m := range messages {
		if m.Check() == nil {
			n.got = append(n.got, time.Since(n.began).String()+" "+topic+" "+m.Attributes[scheduler.JobAttribute])
		}
	}
	n.mu.Unlock()
	if n.answer != nil {
		return n.answer(ctx, topic)
	}
	return nil
}

var jobs = []scheduler.Job{
	{Name: "scheduled-sync", Cron: "0 */6 * * *", Topic: "sync-tick"},
	{Name: "dispatcher", Cron: "*/30 * * * *", Topic: "dispatch-tick"},
}

func start(t *testing.T, publisher event.Publisher, log *bytes.Buffer) *scheduler.Scheduler {
	t.Helper()
	s, err := scheduler.New(jobs, publisher, slog.New(slog.NewTextHandler(log, nil)), clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs the scheduler for so long. In a bubble it is midnight at the start.
func run(t *testing.T, n *notes, d time.Duration) string {
	t.Helper()
	n.began = time.Now()
	var log bytes.Buffer
	s := start(t, n, &log)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil || time.Since(n.began) != d {
		t.Errorf("it ended after %s with %v", time.Since(n.began), err)
	}
	return log.String()
}

func TestRunPublishesWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &notes{}
		if log := run(t, n, 6*time.Hour+time.Minute); log != "" {
			t.Errorf("log: %s", log)
		}
		want := []string{"30m0s dispatch-tick dispatcher", "1h0m0s dispatch-tick dispatcher", "1h30m0s dispatch-tick dispatcher"}
		if len(n.got) != 13 || !slices.Equal(n.got[:3], want) || !slices.Contains(n.got, "6h0m0s sync-tick scheduled-sync") {
			t.Errorf("published: %q", n.got)
		}
	})
}

func TestAFailureIsLoggedAndTriedTheNextTime(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(context.Context, string) error{
		"an error": func(context.Context, string) error { return fault.Unavailable },
		"a panic":  func(context.Context, string) error { panic("no") },
		"no answer": func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &notes{answer: answer}
				log := run(t, n, 61*time.Minute)
				if len(n.got) != 2 || strings.Count(log, "job=dispatcher") != 2 || strings.Count(log, "\n") != 2 {
					t.Errorf("published: %q, log: %s", n.got, log)
				}
			})
		})
	}
}

// TestWhatWasMissedIsPublishedOnce has publishing take as long as a machine's
// sleep.
func TestWhatWasMissedIsPublishedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := true
		n := &notes{answer: func(context.Context, string) error {
			if slow {
				slow = false
				time.Sleep(100 * time.Minute)
			}
			return nil
		}}
		run(t, n, 3*time.Hour)
		want := []string{"30m0s", "2h10m0s", "2h30m0s"}
		for i, at := range want {
			want[i] = at + " dispatch-tick dispatcher"
		}
		if !slices.Equal(n.got[:3], want) {
			t.Errorf("published: %q", n.got)
		}
	})
}

func TestTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &notes{began: time.Now()}
		s := start(t, n, &bytes.Buffer{})
		if err := s.Tick(t.Context(), "scheduled-sync"); err != nil || !slices.Equal(n.got, []string{"0s sync-tick scheduled-sync"}) {
			t.Errorf("published: %q, %v", n.got, err)
		}
		if err := s.Tick(t.Context(), "x"); !errors.Is(err, fault.NotFound) {
			t.Errorf("no such job: %v", err)
		}
		n.answer = func(context.Context, string) error { return fault.Denied }
		if err := s.Tick(t.Context(), "dispatcher"); !errors.Is(err, fault.Denied) {
			t.Errorf("a publisher that fails: %v", err)
		}
	})
}

func TestNoJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := scheduler.New(nil, &notes{}, slog.New(slog.DiscardHandler), clock.Real())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil || ctx.Err() == nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestJobsThatCannotRun(t *testing.T) {
	t.Parallel()
	for name, jobs := range map[string][]scheduler.Job{
		"no name":    {{Cron: "* * * * *", Topic: "t"}},
		"no topic":   {{Name: "a", Cron: "* * * * *"}},
		"no line":    {{Name: "a", Topic: "t"}},
		"twice":      {{Name: "a", Cron: "* * * * *", Topic: "t"}, {Name: "a", Cron: "0 * * * *", Topic: "t"}},
		"never due":  {{Name: "a", Cron: "0 0 30 2 *", Topic: "t"}},
		"a bad line": {{Name: "a", Cron: "@hourly", Topic: "t"}},
	} {
		if _, err := scheduler.New(jobs, &notes{}, slog.New(slog.DiscardHandler), clock.Real()); !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
