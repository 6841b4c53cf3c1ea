package versionstate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// Each change is told once, to those who have the source, however it is named
// and however often it is brought.
func TestChanges(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		shared, own, other := source("shared"), source("own"), source("other")
		for _, source := range []secret.Source{shared, own, other} {
			s.put(source, "v", 42)
		}
		wantTold(s.T, "before the first sync", s.deliver())
		s.wantReads("a source of nobody", 0)
		s.inspect("one", shared, own)
		s.inspect("two", shared)
		s.inspect("three", other)
		s.reads()

		for _, step := range []struct {
			name   string
			change func() error
			told   []string
			reads  int
		}{
			{"a version", func() error { s.put(shared, "w", 42); return nil }, []string{"one", "two"}, 2},
			{"a version of another", func() error { s.put(own, "w", 42); return nil }, []string{"one"}, 2},
			{"disabled", func() error { return s.secrets.DisableVersion(vault, "shared", 2) }, []string{"one", "two"}, 2},
			{"enabled", func() error { return s.secrets.EnableVersion(vault, "shared", 2) }, []string{"one", "two"}, 2},
			{"enabled though it was", func() error { return s.secrets.EnableVersion(vault, "shared", 2) }, nil, 2},
			{"destroyed", func() error { return s.secrets.DestroyVersion(vault, "shared", 1) }, []string{"one", "two"}, 2},
			{"consent", func() error { s.put(shared, "w", 42, 7); return nil }, []string{"one", "two"}, 2},
			{"consent in another order", func() error { s.put(shared, "w", 7, 42); return nil }, nil, 2},
			{"the topics", func() error { return s.secrets.SetTopics(vault, "shared", topic, topic+"-2") }, nil, 2},
			{"deleted", func() error { return s.secrets.RemoveSecret(vault, "shared") }, []string{"one", "two"}, 1},
			// Its creation and its first version were one look.
			{"made anew", func() error { s.put(shared, "x", 42); return nil }, []string{"one", "two"}, 4},
		} {
			check(s.T, step.change())
			s.reads()
			wantTold(s.T, step.name, s.deliver(), step.told...)
			s.wantReads(step.name, step.reads)
			for _, ref := range []versionstate.Ref{{Project: vault, Secret: "shared"}, {Project: s.secrets.Number(vault), Secret: "shared"}} {
				wantTold(s.T, step.name+", brought again for "+ref.String(), s.changed(ref))
			}
			s.reads()
			states := s.inspect("one", shared, own)
			live, err := s.client.Inspect(s.Context(), []secret.Source{shared, own})
			check(s.T, err)
			for source, state := range live {
				if got := states[source]; got.Exists != state.Exists || !slices.Equal(got.Versions, state.Versions) || len(got.Repositories) != len(state.Repositories) {
					s.Errorf("%s: the store has %+v, Secret Manager %+v", step.name, got, state)
				}
			}
			s.reads()
		}
		s.forget("two")
		s.forget("two")
		s.put(shared, "y", 42)
		wantTold(s.T, "after two was forgotten", s.deliver(), "one")

		for _, shape := range s.store.Shapes() {
			if shape != (docstore.Shape{Collection: "source_versions", Contains: "sources"}) {
				s.Errorf("%+v: is there an index for it?", shape)
			}
		}
	})
}

// A source that is missing is found by the number of its project once another
// source of the project has told that.
func TestCreationOfWhatWasMissing(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t), topic)
	s.put(source("here"), "v", 42)
	s.inspect("p", source("here"), source("missing"))
	s.lose()
	s.put(source("missing"), "v", 42)
	wantTold(t, "its creation", s.deliver(), "p")
}

// Many projects may have one source: each is told, and the source read once.
func TestMoreProjectsThanAPage(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		shared := source("shared")
		s.put(shared, "v", 42)
		var want []string
		for i := range 45 {
			want = append(want, fmt.Sprintf("p%02d", i))
			s.inspect(want[i], shared)
		}
		s.lose()
		s.put(shared, "w", 42)
		s.reads()
		wantTold(s.T, "a version", s.deliver(), want...)
		s.wantReads("a version", 2)
	})
}

// Who is told reads the new state; who could not be told is told again, by the
// next notification or by the sweep.
func TestTellingIsRepeatedUntilItWorks(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here, ref := source("here"), versionstate.Ref(source("here"))
		s.put(here, "v", 42)
		s.inspect("broken", here)
		s.inspect("fine", here)
		s.put(here, "w", 42)
		failing := func(ctx context.Context, project string) error {
			states, err := s.Inspect(ctx, project, []secret.Source{here})
			if err != nil || len(states[here].Versions) != 2 {
				s.Errorf("%s is told and reads %+v (%v)", project, states[here], err)
			}
			if project == "broken" {
				return fault.Wrap(fault.Unavailable, "tell", nil)
			}
			return nil
		}
		for _, want := range [][]string{{"fine"}, nil} {
			told, err := s.Changed(s.Context(), ref, failing)
			if !errors.Is(err, fault.Unavailable) {
				s.Errorf("got %v, want what the telling returned", err)
			}
			wantTold(s.T, "a failing telling", told, want...)
		}
		s.age("broken", time.Hour)
		s.age("fine", time.Hour)
		told, err := s.Sweep(s.Context(), 100, func(context.Context, string) error { return fault.Wrap(fault.Conflict, "tell", nil) })
		if !errors.Is(err, fault.Conflict) {
			s.Errorf("got %v, want what the telling returned", err)
		}
		wantTold(s.T, "a sweep whose telling fails", told)
		s.age("broken", time.Hour)
		wantTold(s.T, "the sweep", s.sweep(100), "broken")
		wantTold(s.T, "the notification after it", s.changed(ref))
	})
}

// A look that is no sync, a dry run for one, does not take the news away.
func TestAnEarlierLookDoesNotSwallowTheChange(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here := source("here")
		s.put(here, "v", 42)
		s.inspect("p", here)
		s.lose()
		s.put(here, "w", 42)
		s.age("p", versionstate.MaxAge)
		if got := s.inspect("p", here)[here]; len(got.Versions) != 2 {
			s.Fatalf("got %+v", got)
		}
		wantTold(s.T, "the notification", s.deliver(), "p")
		wantTold(s.T, "the next", s.changed(versionstate.Ref(here)))
	})
}

// between is a live service during whose answer something else happens.
type between struct {
	versionstate.Live
	then func()
}

func (b *between) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	states, err := b.Live.Inspect(ctx, sources)
	if then := b.then; then != nil {
		b.then = nil
		then()
	}
	return states, err
}

// Of two that write, what was seen later stays, whoever writes first.
func TestTheLaterLookStays(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here, there, late := source("here"), source("there"), source("late")
		s.put(here, "v", 42)
		s.put(there, "v", 42)
		s.put(late, "v", 42)
		s.inspect("p", here)
		s.age("p", versionstate.MaxAge)
		s.lose()
		slow := s.Sources
		slow.Live = &between{Live: s.client, then: func() {
			s.put(here, "w", 42)
			wantTold(s.T, "while a sync looks", s.deliver(), "p")
			s.inspect("p", there)
		}}
		states, err := slow.Inspect(s.Context(), "p", []secret.Source{here, late})
		check(s.T, err)
		if got := states[here].Versions; len(got) != 1 {
			s.Errorf("the slow one was given %v", got)
		}
		s.reads()
		states = s.inspect("p", here, there, late)
		if len(states[here].Versions) != 2 || !states[there].Exists || !states[late].Exists {
			s.Errorf("got %+v", states)
		}
		s.wantReads("after the race", 0)
		wantTold(s.T, "after the race", s.changed(versionstate.Ref(here)))

		// Two that both find no document.
		slow.Live = &between{Live: s.client, then: func() { s.inspect("q", there) }}
		_, err = slow.Inspect(s.Context(), "q", []secret.Source{here})
		check(s.T, err)
		s.reads()
		s.inspect("q", here, there)
		s.wantReads("after a race of two first looks", 0)

		// What is forgotten meanwhile stays forgotten.
		slow.Live = &between{Live: s.client, then: func() { s.forget("p") }}
		s.put(here, "x", 42)
		told, err := slow.Changed(s.Context(), versionstate.Ref(here), heard)
		check(s.T, err)
		wantTold(s.T, "forgotten meanwhile", told, "q")
		if _, err := s.store.Get(s.Context(), docstore.Key{Collection: "source_versions", ID: "p"}); !errors.Is(err, fault.NotFound) {
			s.Errorf("it is back: %v", err)
		}
	})
}

// A state that a wrong clock dated into the future does not outlive the news.
func TestAWrongClock(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here := source("here")
		s.put(here, "v", 42)
		s.inspect("p", here)
		s.age("p", -time.Hour)
		s.lose()
		s.put(here, "w", 42)
		wantTold(s.T, "a version", s.deliver(), "p")
		s.reads()
		if got := s.inspect("p", here)[here].Versions; len(got) != 2 {
			s.Errorf("got %v", got)
		}
		s.wantReads("after the notification", 0)
	})
}

// jammed is a store in which every commit loses.
type jammed struct {
	docstore.Store
	commits int
}

func (j *jammed) Commit(context.Context, ...docstore.Write) (time.Time, error) {
	j.commits++
	return time.Time{}, fault.Wrap(fault.Conflict, "commit", nil)
}

func TestALostRaceIsNoErrorOfALook(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t), topic)
	here := source("here")
	s.put(here, "v", 42)
	s.inspect("p", here)
	s.put(here, "w", 42)
	s.age("p", versionstate.MaxAge)
	jam := &jammed{Store: s.store}
	losing := s.Sources
	losing.Store = jam
	states, err := losing.Inspect(t.Context(), "p", []secret.Source{here})
	if err != nil || len(states[here].Versions) != 2 {
		t.Errorf("got %+v and %v", states, err)
	}
	if jam.commits != 5 {
		t.Errorf("it was tried %d times, want 5", jam.commits)
	}
	if _, err := losing.Changed(t.Context(), versionstate.Ref(here), heard); !errors.Is(err, fault.Conflict) {
		t.Errorf("Changed: got %v, want %s, so that the notification comes again", err, fault.Conflict)
	}
}

// A crowd that looks and is notified while versions are added ends with the
// truth, and with every change told.
func TestACrowd(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here := source("here")
		s.put(here, "v", 42)
		s.inspect("p", here)
		s.lose()
		var group sync.WaitGroup
		for i := range 6 {
			group.Go(func() {
				_, err := s.secrets.AddVersion(vault, "here", secret.NewValue(fmt.Sprint(i)))
				if err != nil {
					s.Error(err)
				}
				if _, err := s.Changed(s.Context(), versionstate.Ref(here), heard); err != nil && !errors.Is(err, fault.Conflict) {
					s.Errorf("Changed: %v", err)
				}
			})
			group.Go(func() {
				if _, err := s.Inspect(s.Context(), "p", []secret.Source{here, source(fmt.Sprint("x", i))}); err != nil {
					s.Errorf("Inspect: %v", err)
				}
			})
		}
		group.Wait()
		s.deliver() // those that lost their race come again
		s.reads()
		if got := s.inspect("p", here)[here].Versions; len(got) != 7 || got[0].Number != 7 {
			s.Errorf("got %v", got)
		}
		s.wantReads("after the crowd", 0)
		wantTold(s.T, "after the crowd", s.changed(versionstate.Ref(here)))
	})
}

func (s *site) sweep(reads int) []string {
	s.Helper()
	told, err := s.Sweep(s.Context(), reads, heard)
	check(s.T, err)
	slices.Sort(told)
	return told
}

// What no notification told is found by the sweep, within its reads, those
// first that nobody looked at for the longest.
func TestSweep(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		all := sources(6)
		for i, source := range all {
			s.put(source, "v", 42)
			s.inspect(fmt.Sprint("p", i), source)
			s.age(fmt.Sprint("p", i), time.Duration(1+i)*versionstate.SweepEvery)
		}
		for _, source := range all {
			s.put(source, "w", 42)
		}
		s.lose()
		s.reads()
		wantTold(s.T, "no reads", s.sweep(1))
		s.wantReads("no reads", 0)
		wantTold(s.T, "the first sweep", s.sweep(5), "p4", "p5")
		s.wantReads("the first sweep", 4)
		wantTold(s.T, "the second sweep", s.sweep(6), "p1", "p2", "p3")
		s.wantReads("the second sweep", 6)
		wantTold(s.T, "the third sweep", s.sweep(100), "p0")
		s.wantReads("the third sweep", 2)
		s.store.Reset()
		wantTold(s.T, "nothing due", s.sweep(100))
		s.wantReads("nothing due", 0)
		if got := s.store.Reset(); got.Lists != 1 || got.Commits != 0 {
			s.Errorf("nothing due: %+v, want one listing and no commit", got)
		}

		// A look counts as well as a sweep.
		s.age("p3", versionstate.MaxAge)
		s.inspect("p3", all[3])
		s.reads()
		s.sweep(100)
		s.wantReads("after a look", 0)
		if got, want := s.store.Shapes(), []docstore.Shape{{Collection: "source_versions", OrderBy: "sweptAt"}}; !slices.Equal(got, want) {
			s.Errorf("the queries have the shapes %+v, want %+v", got, want)
		}
	})
}

// A project with more sources than there are reads is swept bit by bit; a
// source of several projects is read once.
func TestSweepOfALargeProject(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t), topic)
	all := sources(25)
	for _, source := range all {
		s.put(source, "v", 42)
	}
	s.inspect("large", all...)
	s.age("large", 3*versionstate.SweepEvery)
	s.inspect("small", all[24])
	s.age("small", 2*versionstate.SweepEvery)
	s.reads()
	for i, want := range []int{20, 20, 10, 0} {
		s.sweep(20)
		s.wantReads(fmt.Sprint("sweep ", i), want)
	}
}

// A project whose sources cannot be read holds up no other.
func TestSweepPassesByWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]codes.Code{"broken": codes.Internal, "out of quota": codes.ResourceExhausted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, sqlite(t), topic)
			live := &between{Live: s.client}
			s.Live = once{live, map[codes.Code]error{
				codes.Internal:          fault.New(fault.SourceUnavailable, "broken"),
				codes.ResourceExhausted: fault.New(fault.SourceUnavailable, "spent").WithRetryAfter(time.Minute),
			}[code]}
			for i, source := range sources(3) {
				s.put(source, "v", 42)
				project := fmt.Sprint("p", i)
				check(t, seed(s, project, source))
				s.age(project, time.Duration(9-i)*versionstate.SweepEvery)
				s.put(source, "w", 42)
			}
			told, err := s.Sweep(t.Context(), 2, heard)
			if !errors.Is(err, fault.SourceUnavailable) {
				t.Errorf("got %v, want %s", err, fault.SourceUnavailable)
			}
			wantTold(t, "the first sweep", told)
			wantTold(t, "the second sweep", s.sweep(2), "p1")
			wantTold(t, "the third sweep", s.sweep(2), "p2")
		})
	}
}

// once fails for the first of the sources.
type once struct {
	versionstate.Live
	err error
}

func (o once) Inspect(ctx context.Context, asked []secret.Source) (map[secret.Source]secret.SourceState, error) {
	if slices.Contains(asked, sources(1)[0]) {
		return nil, o.err
	}
	return o.Live.Inspect(ctx, asked)
}

// seed makes a project's document though its source cannot be read now.
func seed(s *site, project string, source secret.Source) error {
	working := s.Sources
	working.Live = s.client
	_, err := working.Inspect(s.Context(), project, []secret.Source{source})
	return err
}

// The events of a real server while nothing is listened to are looked at by
// nobody: a source without our topic is swept like any other.
func TestSweepOfSourcesWithoutNotifications(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t))
	s.put(source("here"), "v", 42)
	s.inspect("p", source("here"))
	s.put(source("here"), "w", 42)
	wantTold(t, "no notification", s.deliver())
	s.age("p", versionstate.SweepEvery)
	wantTold(t, "the sweep", s.sweep(10), "p")
}

// registry is a service with so many sources that even an embedded server would
// take its time. It notes in which order they are looked at.
type registry struct {
	versionstate.Live
	mu     sync.Mutex
	looked []secret.Source
	high   secret.Version
}

func (r *registry) Inspect(_ context.Context, asked []secret.Source) (map[secret.Source]secret.SourceState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := map[secret.Source]secret.SourceState{}
	for _, s := range asked {
		states[s] = secret.SourceState{Exists: true, Notified: true, ProjectNumber: "1", Repositories: []int64{42}, Versions: []secret.SourceVersion{{Number: r.high, State: secret.Enabled}}}
	}
	r.looked = append(r.looked, asked...)
	return states, nil
}

// 10,000 sources in 500 projects are swept in 36 sweeps, each once, the ones
// that waited longest first. Under the race detector there are fewer.
func TestSweepOfManyProjects(t *testing.T) {
	t.Parallel()
	const projects, each, reads = manyProjects, 20, 560
	live := &registry{high: 1}
	s := &site{T: t, store: docstore.NewCounting(sqlite(t))}
	s.Sources = versionstate.Sources{Store: s.store, Live: live, Clock: clock.Real()}
	name := func(i int) string { return fmt.Sprintf("p%03d", i*277%projects) } // not the order of ids
	place := map[secret.Source]int{}
	for i := range projects {
		var own []secret.Source
		for j := range each {
			own = append(own, source(fmt.Sprintf("%s-s%02d", name(i), j)))
			place[own[j]] = i
		}
		s.inspect(name(i), own...)
		s.age(name(i), versionstate.SweepEvery+time.Duration(projects-i)*time.Minute)
	}
	live.looked, live.high = nil, 2
	seen, told := map[secret.Source]int{}, map[string]int{}
	const want = (projects*each + reads/2 - 1) / (reads / 2)
	for n := range want {
		for _, project := range s.sweep(reads) {
			told[project]++
		}
		if len(live.looked) > reads/2 {
			t.Fatalf("sweep %d looked at %d sources", n, len(live.looked))
		}
		for _, source := range live.looked {
			seen[source]++
			if first := n * reads / 2 / each; place[source] < first || place[source] > first+reads/2/each {
				t.Errorf("sweep %d looked at %s, which has place %d", n, source, place[source])
			}
		}
		live.looked = nil
	}
	if len(seen) != projects*each || len(told) != projects {
		t.Errorf("after %d sweeps %d sources were seen and %d projects told", want, len(seen), len(told))
	}
	for source, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", source, n)
		}
	}
	s.sweep(reads)
	if len(live.looked) != 0 {
		t.Errorf("one sweep more looked at %d sources", len(live.looked))
	}
}

// Where Secret Manager asks to be left alone for a while, a sweep ends with the
// page that it is at; after another failure it goes on.
func TestSweepEndsWhereItIsAskedTo(t *testing.T) {
	t.Parallel()
	spent := fault.New(fault.SourceUnavailable, "spent").WithRetryAfter(time.Minute)
	for want, failure := range map[int]error{19: spent, 24: fault.New(fault.SourceUnavailable, "broken")} {
		live := &registry{high: 1}
		s := &site{T: t, store: docstore.NewCounting(sqlite(t))}
		s.Sources = versionstate.Sources{Store: s.store, Live: live, Clock: clock.Real()}
		for i, source := range sources(25) {
			s.inspect(fmt.Sprintf("p%02d", i), source)
			s.age(fmt.Sprintf("p%02d", i), versionstate.MaxAge-time.Duration(i)*time.Minute)
		}
		live.looked = nil
		s.Live = once{live, failure}
		if _, err := s.Sweep(t.Context(), 1000, heard); !errors.Is(err, fault.SourceUnavailable) || len(live.looked) != want {
			t.Errorf("%v: looked at %d sources and got %v, want %d", failure, len(live.looked), err, want)
		}
	}
}

func TestEndedContext(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t), topic)
	here := source("here")
	s.put(here, "v", 42)
	s.inspect("p", here)
	s.age("p", time.Hour)
	s.put(here, "w", 42)
	ctx, cancel := context.WithCancel(t.Context())
	live := &between{Live: s.client, then: cancel}
	s.Live = live
	if told, err := s.Sweep(ctx, 10, heard); !errors.Is(err, fault.Canceled) || len(told) != 0 {
		t.Errorf("told %q and got %v", told, err)
	}
	wantTold(t, "the next sweep", s.sweep(10), "p")
	if _, err := s.Changed(ctx, versionstate.Ref(here), heard); !errors.Is(err, fault.Canceled) {
		t.Errorf("Changed: got %v", err)
	}
}
