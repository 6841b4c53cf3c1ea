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

// Until returns how long it is on c until deadline, which is a time of the
// machine's clock, as a context's deadline is.
func Until(c Clock, deadline time.Time) time.Duration {
	if s, ok := c.(scaled); ok {
		return time.Duration(float64(time.Until(deadline)) * s.factor)
	}
	return deadline.Sub(c.Now())
}

// WithTimeout is context.WithTimeout with d measured on c.
func WithTimeout(ctx context.Context, c Clock, d time.Duration) (context.Context, context.CancelFunc) {
	if s, ok := c.(scaled); ok {
		d = time.Duration(float64(d) / s.factor)
	}
	return context.WithTimeout(ctx, d)
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
