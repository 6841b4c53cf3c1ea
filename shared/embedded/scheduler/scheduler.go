// Package scheduler is a Cloud Scheduler inside the process, for the local
// server and for tests: it publishes a message for each job when its cron line
// says so.
//
// The parser of cron lines is this package's own. The one that most Go programs
// use, github.com/robfig/cron, had its last release in January 2020 and takes
// more than Cloud Scheduler does (names, time zones, @every); what a job here may
// say fits in a page.
package scheduler

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// JobAttribute is the attribute of each message that names its job.
const JobAttribute = "job"

// publishTime is what publishing one message may take.
const publishTime = 30 * time.Second

// Job is one line of the schedule.
type Job struct {
	Name  string
	Cron  string // see [ParseCron]
	Topic string
}

// Scheduler publishes what is due. All methods may be called concurrently.
type Scheduler struct {
	jobs      []job
	publisher event.Publisher
	log       *slog.Logger
	clock     clock.Clock
}

type job struct {
	Job
	cron Cron
}

// New returns a scheduler for the jobs. It returns a [fault.ConfigInvalid] for a
// job without a name or a topic, a name that stands twice, or a cron line that
// [ParseCron] refuses.
func New(jobs []Job, publisher event.Publisher, log *slog.Logger, clk clock.Clock) (*Scheduler, error) {
	s := &Scheduler{publisher: publisher, log: log, clock: clk}
	seen := map[string]bool{}
	for _, j := range jobs {
		if j.Name == "" || j.Topic == "" || seen[j.Name] {
			return nil, fault.New(fault.ConfigInvalid, "the job %q has no name or no topic, or stands twice", j.Name)
		}
		cron, err := ParseCron(j.Cron)
		if err != nil {
			return nil, fault.Annotate("scheduler: job "+j.Name, err)
		}
		seen[j.Name] = true
		s.jobs = append(s.jobs, job{j, cron})
	}
	return s, nil
}

// Run publishes each job's message in each minute at which it is due, until the
// context ends; it returns nil then. What falls due while the machine sleeps, or
// while another message is published, is published once afterwards, however
// often it was due. A failure is logged, and the next time tried again.
func (s *Scheduler) Run(ctx context.Context) error {
	due := make([]time.Time, len(s.jobs))
	for i, now := 0, s.clock.Now(); i < len(due); i++ {
		due[i] = s.jobs[i].cron.Next(now)
	}
	for s.wait(ctx, due) {
		now := s.clock.Now()
		for i, j := range s.jobs {
			if due[i].After(now) {
				continue
			}
			due[i] = j.cron.Next(now)
			if err := s.publish(ctx, j.Job); err != nil && ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelError, "a scheduled message was not published",
					slog.String("job", j.Name), slog.String("topic", j.Topic), slog.Any("error", err))
			}
		}
	}
	return nil
}

// wait returns true when the first job is due, and false when the context has
// ended.
func (s *Scheduler) wait(ctx context.Context, due []time.Time) bool {
	if len(due) == 0 {
		<-ctx.Done()
		return false
	}
	first := due[0]
	for _, at := range due {
		if at.Before(first) {
			first = at
		}
	}
	return s.clock.Sleep(ctx, first.Sub(s.clock.Now())) == nil
}

// Tick publishes a job's message now, whenever it is due. It returns a
// [fault.NotFound] for a job that is not there, and the publisher's errors.
func (s *Scheduler) Tick(ctx context.Context, name string) error {
	for _, j := range s.jobs {
		if j.Name == name {
			return s.publish(ctx, j.Job)
		}
	}
	return fault.Wrap(fault.NotFound, "scheduler.Tick "+name, nil)
}

// publish bounds the time, so that one topic that hangs does not stop the rest.
func (s *Scheduler) publish(ctx context.Context, j Job) error {
	ctx, cancel := clock.WithTimeout(ctx, s.clock, publishTime)
	defer cancel()
	return fault.Contain(func() error {
		return s.publisher.Publish(ctx, j.Topic, event.Message{Attributes: map[string]string{JobAttribute: j.Name}})
	})
}
