package pace_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
)

func TestPriceOf(t *testing.T) {
	t.Parallel()
	first := pace.Work{Keys: 3, Writes: 300, Settles: 3}
	many := pace.Work{Keys: 1, Writes: 1000, Settles: 10}
	cases := []struct {
		mode pace.Mode
		work pace.Work
		want pace.Price
	}{
		{pace.Fast, pace.Work{}, pace.Price{}},
		{pace.Polite, pace.Work{Keys: 3}, pace.Price{Requests: 3, Points: 3, Duration: 100 * time.Millisecond}},
		{pace.Off, first, pace.Price{Requests: 306, Points: 1506, Duration: 600 * time.Millisecond}},
		{pace.Fast, first, pace.Price{Requests: 306, Points: 1506, Duration: 60*time.Second + 600*time.Millisecond}},
		{pace.Polite, first, pace.Price{Requests: 306, Points: 1506, Duration: 299*time.Second + 300*time.Millisecond}},
		{pace.Fast, many, pace.Price{Requests: 1011, Points: 5011, Duration: 301400 * time.Millisecond}},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.mode, c.work), func(t *testing.T) {
			t.Parallel()
			if got := pace.PriceOf(c.mode, c.work); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// The price is what the pacer then takes, within a tenth and a second.
func TestThePriceIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		mode := rapid.SampledFrom([]pace.Mode{pace.Polite, pace.Fast, pace.Off}).Draw(rt, "mode")
		work := pace.Work{Keys: rapid.IntRange(0, 20).Draw(rt, "keys"), Writes: rapid.IntRange(0, 250).Draw(rt, "writes")}
		want := pace.PriceOf(mode, work)
		var took time.Duration
		bubble(t, func(t *testing.T, c clock.Clock) {
			s, p := &server{}, pace.New(mode, c)
			start := time.Now()
			for range work.Keys {
				_ = s.send(context.Background(), p, pace.Read, 0, 0)
			}
			s.writeAll(p, work.Writes, 100*time.Millisecond)
			took = time.Since(start)
		})
		if diff := (took - want.Duration).Abs(); diff > want.Duration/10+time.Second {
			rt.Fatalf("took %s, priced %s", took, want.Duration)
		}
	})
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pace.Mode{"": pace.Polite, "polite": pace.Polite, "fast": pace.Fast, "off": pace.Off} {
		if got, err := pace.ParseMode(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := pace.ParseMode("FAST"); !errors.Is(err, fault.UsageInvalid) {
		t.Errorf("FAST: %v", err)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	var none *pace.Meter
	none.Add(pace.Usage{Requests: 1}) // counts nothing, and does not panic
	if pace.MeterFrom(context.Background()) != nil {
		t.Error("a meter out of nowhere")
	}
	meter := new(pace.Meter)
	ctx := pace.WithMeter(context.Background(), meter)
	pace.MeterFrom(ctx).Add(pace.Usage{Requests: 1, Charged: 1, Points: 5})
	pace.MeterFrom(ctx).Add(pace.Usage{Requests: 1, Points: 1})
	if got := meter.Usage(); got != (pace.Usage{Requests: 2, Charged: 1, Points: 6}) {
		t.Errorf("%+v", got)
	}
}
