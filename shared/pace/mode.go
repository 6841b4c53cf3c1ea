package pace

import (
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// Mode says how fast an identity may work.
type Mode string

// The modes. All keep at most 90 requests in flight and adapt when refused.
const (
	// Polite writes once a second and one at a time, as GitHub advises.
	Polite Mode = "polite"
	// Fast spends at most 95 % of 900 points a minute over all endpoints.
	Fast Mode = "fast"
	// Off sets no rate: for GitHub Enterprise Server, whose limits are off by default.
	Off Mode = "off"
)

// ParseMode returns the mode of that name, Polite for an empty one, or a
// [fault.UsageInvalid].
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Polite, nil
	case Polite, Fast, Off:
		return m, nil
	}
	return "", fault.New(fault.UsageInvalid, "there is no pace %q: polite, fast or off", s)
}

// Cost is what a request costs of the points that GitHub allows a minute.
type Cost int

// What requests cost. Source: docs.github.com,
// rest/using-the-rest-api/rate-limits-for-the-rest-api, "Calculating points".
const (
	Read  Cost = 1 // GET, HEAD and OPTIONS
	Write Cost = 5 // POST, PATCH, PUT and DELETE
)

// MaxInFlight is how many requests of an identity are in flight at the most. It
// leaves a tenth of GitHub's 100 to whoever else uses it.
const MaxInFlight = 90

const (
	minute = time.Minute

	// fastPoints is 95 % of GitHub's 900 points a minute.
	fastPoints = 855
	// politeSpacing is GitHub's advice for writes.
	politeSpacing = time.Second
)

// limits is what may be spent at one moment. Zero means that there is no limit.
type limits struct {
	points  int           // in any minute
	writes  int           // in any minute
	hourly  int           // writes in any hour
	spacing time.Duration // between the starts of two writes
	serial  bool          // one write at a time
}

// limits returns what the mode allows as long as GitHub refuses nothing.
func (m Mode) limits() limits {
	switch m {
	case Off:
		return limits{}
	case Fast:
		return limits{points: fastPoints}
	default:
		return limits{points: fastPoints, spacing: politeSpacing, serial: true}
	}
}
