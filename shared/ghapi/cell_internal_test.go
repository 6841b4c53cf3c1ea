package ghapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

// TestFailureOfAnother tells a failure to those who wait for the same answer, but
// not to those who have a question of their own.
func TestFailureOfAnother(t *testing.T) {
	t.Parallel()
	for _, apart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := &cell[int]{clock: clock.Real(), apart: apart}
			failing := func(context.Context) (*int, time.Time, error) {
				time.Sleep(time.Second)
				return nil, time.Time{}, fault.New(fault.TargetNotFound, "not the App's")
			}
			good := func(context.Context) (*int, time.Time, error) { return new(int), time.Time{}, nil }
			done := make(chan error)
			go func() {
				_, err := c.get(t.Context(), nil, failing)
				done <- err
			}()
			synctest.Wait()
			_, err := c.get(t.Context(), nil, good)
			if (err == nil) != apart {
				t.Errorf("apart %t: who waited got %v", apart, err)
			}
			if err := <-done; !errors.Is(err, fault.TargetNotFound) {
				t.Errorf("apart %t: who asked got %v", apart, err)
			}
		})
	}
}
