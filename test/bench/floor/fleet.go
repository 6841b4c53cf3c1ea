package floor

import "time"

// GitHubRequests is how many requests GitHub allows an identity an hour. Source:
// docs.github.com, rest/using-the-rest-api/rate-limits-for-the-rest-api.
const GitHubRequests = 5000

// Lists returns the least time from the first to the last answer of so many
// lists: as in [Time], the points of a minute are spent at once, and are there
// again when the minute is over that began with the first request.
func Lists(lists int, c Conditions) time.Duration {
	if c.PointsPerMinute == 0 {
		return c.reading(lists)
	}
	waits := (max(lists, 1)*readPoints - 1) / c.PointsPerMinute
	last := lists - waits*c.PointsPerMinute/readPoints
	return time.Duration(waits)*time.Minute + c.reading(last)
}

// reading is as writing, of requests with nothing to seal.
func (c Conditions) reading(n int) time.Duration {
	return time.Duration(ceil(n, c.InFlight)) * c.RoundTrip
}

// Fleet is a crowd of containers that nothing was written to yet, each with the
// same job, under some identities that have the same number of them.
type Fleet struct {
	Containers int
	Each       Job
	Identities int
}

// Requests returns how many requests one identity takes for its part.
func (f Fleet) Requests() int { return ceil(f.Containers, f.Identities) * Requests(f.Each) }

// FirstSyncs returns the least time until every container of the fleet is
// written and proven, where an identity has so many requests an hour besides its
// points a minute. The hour's requests are spent as early as the points permit,
// and are there again when the hour is over that began with the first of them.
func FirstSyncs(f Fleet, requestsPerHour int, c Conditions) time.Duration {
	if f.Containers == 0 {
		return 0
	}
	all := f.Requests()
	waits := (all - 1) / requestsPerHour
	last := all - waits*requestsPerHour
	reads := ceil(f.Containers, f.Identities) * (Requests(f.Each) - f.Each.Writes)
	points := func(n, reads int) int { return reads*readPoints + (n-reads)*writePoints }
	// What is left for the last hour may be what costs least.
	hours := time.Duration(waits)*time.Hour + Lists(points(last, min(last, reads)), c)
	return max(hours, Lists(points(all, reads), c))
}
