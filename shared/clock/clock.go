// Package clock is the only place that asks what time it is. Everything that
// waits or compares times takes a [Clock], so that a test can run it in a
// testing/synctest bubble and a bench can run an hour in minutes.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and waits.
type Clock interface {
	// Now returns the present time in UTC.
	Now() time.Time
	// Sleep returns nil after d, or the context's error if that ends first.
	// It returns at once for d ≤ 0, with the context's error if it has ended.
	Sleep(ctx context.Context, d time.Duration) error
}

// Real is the machine's clock.
func Real() Clock { return scaled{start: time.Now(), factor: 1} }

// Scaled is a clock on which factor seconds pass for each second of the
// machine's, counted from now. A bench uses it to run five minutes of
// rate-limited work in thirty seconds. A factor below or at 0 is taken as 1.
func Scaled(factor float64) Clock {
	if factor <= 0 {
		factor = 1
	}
	return scaled{start: time.Now(), factor: factor}
}

type scaled struct {
	start  time.Time
	factor float64
}

func (c scaled) Now() time.Time {
	if c.factor == 1 {
		return time.Now().UTC()
	}
	return c.start.Add(time.Duration(float64(time.Since(c.start)) * c.factor)).UTC()
}

func (c scaled) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(d) / c.factor))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
