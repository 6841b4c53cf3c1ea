// Package floor computes how fast secrets can be written to GitHub at all, from
// nothing but its documented limits. The bench measures Sealpost against it, so
// it imports no code of Sealpost: what it says holds for any program.
package floor

import (
	"math"
	"time"
)

// Job is what is to be done: so many secrets to be put into so many scopes.
type Job struct {
	Writes int // in all scopes together
	Scopes int
}

// Conditions are those under which it is done.
type Conditions struct {
	RoundTrip       time.Duration // of one request
	InFlight        int           // requests at once, at the most
	PointsPerMinute int           // 0: no limit
}

// What requests cost in points, and how many may be in flight. Source:
// docs.github.com, rest/using-the-rest-api/rate-limits-for-the-rest-api.
const (
	readPoints  = 1
	writePoints = 5

	// GitHubInFlight and GitHubPoints are GitHub's documented limits.
	GitHubInFlight = 100
	GitHubPoints   = 900
)

// sealing is what one core needs to seal one value of 1 KB to a public key:
// two multiplications on Curve25519. It is work that no request can go without.
const sealing = 65 * time.Microsecond

// Time returns the least time from the start to the answer of the last write.
//
// Before the first write each scope must be listed and its key be asked for:
// two round trips, over all scopes at once. The writes then go out as many at a
// time as may be in flight. Under a limit of points the budget of a minute is
// spent as early as can be and is there again when the minute that began with
// the first request ends; what is left for the last budget is done after that.
func Time(j Job, c Conditions) time.Duration {
	const preparation = 2 // round trips
	unlimited := preparation*c.RoundTrip + c.writing(j.Writes)
	if c.PointsPerMinute == 0 {
		return unlimited
	}
	perMinute := c.PointsPerMinute / writePoints
	firstMinute := max(0, c.PointsPerMinute-preparation*readPoints*j.Scopes) / writePoints
	later := j.Writes - firstMinute
	if later <= 0 {
		return unlimited
	}
	minutes := ceil(later, perMinute)
	last := later - (minutes-1)*perMinute
	return max(unlimited, time.Duration(minutes)*time.Minute+c.writing(last))
}

// writing returns how long n writes last that nothing but the places in flight
// holds up.
func (c Conditions) writing(n int) time.Duration {
	return time.Duration(ceil(n, c.InFlight))*c.RoundTrip + time.Duration(n)*sealing
}

// Requests returns how many requests the job takes whose writes are proven
// afterwards: for each scope a list, a key and a list to settle, besides the
// writes. It holds where a scope's names fit a page, which has a hundred.
func Requests(j Job) int { return j.Writes + 3*j.Scopes }

func ceil(a, b int) int { return int(math.Ceil(float64(a) / float64(b))) }
