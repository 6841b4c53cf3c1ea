package pace

import (
	"context"
	"sync"
)

// Usage is what some work cost at GitHub.
type Usage struct {
	Requests int // sent, retries and refused ones included
	Charged  int // counted against the hourly quota: all but the 304s
	Points   int // of the budget a minute: 1 a read, 5 a write
}

// Meter adds up what one piece of work costs. It travels in the context, so
// that work which shares a client and its pace is still counted apart.
type Meter struct {
	mu    sync.Mutex
	usage Usage
}

// Add counts one more request's cost.
func (m *Meter) Add(u Usage) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.usage.Requests += u.Requests
	m.usage.Charged += u.Charged
	m.usage.Points += u.Points
}

// Usage returns the sum so far.
func (m *Meter) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage
}

type meterKey struct{}

// WithMeter returns a context whose requests are counted in m.
func WithMeter(ctx context.Context, m *Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// MeterFrom returns the context's meter, or nil, which counts nothing.
func MeterFrom(ctx context.Context) *Meter {
	m, _ := ctx.Value(meterKey{}).(*Meter)
	return m
}
