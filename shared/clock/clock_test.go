package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

// each runs a test in a bubble for clocks of several speeds.
func each(t *testing.T, test func(t *testing.T, clk clock.Clock, factor float64)) {
	t.Helper()
	for _, factor := range []float64{1, 10, 0.5} {
		synctest.Test(t, func(t *testing.T) {
			clk := clock.Scaled(factor)
			if factor == 1 {
				clk = clock.Real()
			}
			test(t, clk, factor)
		})
	}
}

// machine is how long so much of a clock's time is on the machine's.
func machine(d time.Duration, factor float64) time.Duration {
	return time.Duration(float64(d) / factor)
}

// TestSleep wakes when the time has passed on the clock itself.
func TestSleep(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, clk clock.Clock, factor float64) {
		began, machineBegan := clk.Now(), time.Now()
		if !began.Equal(machineBegan) || began.Location() != time.UTC {
			t.Errorf("factor %g: it begins at %s, and it is %s", factor, began, machineBegan)
		}
		if err := clk.Sleep(t.Context(), time.Minute); err != nil {
			t.Errorf("factor %g: %v", factor, err)
		}
		if got := clk.Now().Sub(began); got != time.Minute {
			t.Errorf("factor %g: it slept %s of its time, want a minute", factor, got)
		}
		if got := time.Since(machineBegan); got != machine(time.Minute, factor) {
			t.Errorf("factor %g: it slept %s of the machine's time", factor, got)
		}
	})
}

// TestSleepIsCut ends with the context, which counts the machine's time.
func TestSleepIsCut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, clk clock.Clock, factor float64) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := clk.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("factor %g: got %v", factor, err)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("factor %g: cut after %s, want a second", factor, got)
		}
		for _, d := range []time.Duration{0, -time.Second, time.Hour} {
			if err := clk.Sleep(ctx, d); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("factor %g: %s under a context that has ended: got %v", factor, d, err)
			}
		}
		for _, d := range []time.Duration{0, -time.Second} {
			if err := clk.Sleep(t.Context(), d); err != nil {
				t.Errorf("factor %g: %s: got %v", factor, d, err)
			}
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("factor %g: what needs no time took some: %s", factor, got)
		}
	})
}

// shifted is a clock that this package does not know.
type shifted struct{ clock.Clock }

func (c shifted) Now() time.Time { return c.Clock.Now().Add(-time.Hour) }

// TestUntil tells the machine's deadlines in the clock's time.
func TestUntil(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, clk clock.Clock, factor float64) {
		deadline := time.Now().Add(time.Minute)
		if got := machine(clock.Until(clk, deadline), factor); got != time.Minute {
			t.Errorf("factor %g: %s of the machine's time, want a minute", factor, got)
		}
		time.Sleep(2 * time.Minute)
		if got := machine(clock.Until(clk, deadline), factor); got != -time.Minute {
			t.Errorf("factor %g: %s of the machine's time, want a minute ago", factor, got)
		}
		if got := clock.Until(shifted{clock.Real()}, deadline); got != time.Hour-time.Minute {
			t.Errorf("by a clock of one's own: %s", got)
		}
	})
}

// TestFactor takes a factor that makes no sense as 1.
func TestFactor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clocks := []clock.Clock{clock.Scaled(0), clock.Scaled(-2), clock.Real()}
		time.Sleep(time.Second)
		for i, clk := range clocks {
			if got := clk.Now(); !got.Equal(time.Now()) {
				t.Errorf("clock %d says %s, and it is %s", i, got, time.Now())
			}
		}
	})
}
