package local

import (
	"context"
	"net/http"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/embedded/broker"
	"github.com/sealpost/sealpost/shared/embedded/scheduler"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	// cloudProject is the Google Cloud project that the embedded systems are in.
	cloudProject = "sealpost-local"
	secretsTopic = "projects/" + cloudProject + "/topics/" + event.SecretEvents
	deadLetters  = "dead-letters"
	// pusher is whom the broker's tokens are of.
	pusher = "push@sealpost-local"
	// pushToken is how long such a token lives. One is made for each push.
	pushToken = 5 * time.Minute
	// endTime is how long a sync that is broken off may take to store what it
	// did: longer than it allows itself.
	endTime = 15 * time.Second
)

// openBroker makes the topics of the catalogue. The subscriptions come with the
// functions.
func (s *Server) openBroker(o Options) {
	topics := []string{deadLetters}
	for _, f := range catalogue.Functions() {
		if f.Topic != "" {
			topics = append(topics, f.Topic)
		}
	}
	s.Broker = broker.New(broker.Config{Project: cloudProject, Topics: topics, Clock: o.Clock})
}

// subscribe has the broker push to each function that listens to a topic, as
// its subscription does.
func (s *Server) subscribe(handlers map[string]http.Handler) error {
	for _, f := range catalogue.Functions() {
		if f.Topic == "" {
			continue
		}
		err := s.Broker.Subscribe(broker.Subscription{
			Name: f.Name, Topic: f.Topic, Endpoint: s.URL + eventx.Path(f.Name), Handler: handlers[f.Name], DeadLetter: deadLetters,
			AckDeadline: time.Duration(f.TimeoutSec) * time.Second, MinBackoff: time.Second,
			Token: func(context.Context) (string, error) {
				return s.Token(pusher, auth.Grants{auth.AllProjects: {catalogue.Internal}}, pushToken)
			},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pushes are the options of a function that the broker pushes to.
func (s *Server) pushes(function string) eventx.Options {
	return eventx.Options{Subscriptions: []string{s.Broker.FullName(function)}}
}

// announce publishes what the embedded Secret Manager tells. What cannot be
// published any more, because the server is stopping, a sweep makes up for.
func (s *Server) announce(e secretmanagerd.Event) {
	s.watch.changed(e)
	_ = s.Broker.Publish(context.Background(), event.SecretEvents, event.Message{Attributes: e.Attributes, Data: e.Data})
}

// startScheduler starts the jobs of the catalogue.
func (s *Server) startScheduler(o Options) error {
	var jobs []scheduler.Job
	for _, f := range catalogue.Functions() {
		if f.Schedule != "" {
			jobs = append(jobs, scheduler.Job{Name: f.Name, Cron: f.Schedule, Topic: f.Topic})
		}
	}
	var err error
	if s.Scheduler, err = scheduler.New(jobs, s.Broker, o.Log, o.Clock); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Scheduler.Run(running) // it has no error
	}()
	s.stopScheduler = func() { stop(); <-ended }
	return nil
}

// closeBroker lets messages under way end. Those that take long it breaks off,
// and waits while they store what they did: the rest goes on from the marks at
// the next start.
func (s *Server) closeBroker() error {
	for _, patience := range []time.Duration{closeTime, endTime} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := s.Broker.Close(ctx)
		cancel()
		if err == nil {
			return nil
		}
	}
	return fault.Wrap(fault.Deadline, "close the broker", nil)
}
