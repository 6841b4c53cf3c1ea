package quota

import (
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/pace"
)

// storedQuota is the stored form: one document for each identity.
type storedQuota struct {
	Workers     map[string]storedWorker `doc:"workers"`
	Writer      string                  `doc:"writer,omitempty"`      // whose turn to write is the last
	WritesFrom  time.Time               `doc:"writesFrom,omitempty"`  // the beginning of that turn; others may come before it
	WritesUntil time.Time               `doc:"writesUntil,omitempty"` // and its end
	Brake       storedBrake             `doc:"brake"`
	Limit       int64                   `doc:"limit,omitempty"` // of the hourly quota; 0 if nothing was told
	Remaining   int64                   `doc:"remaining,omitempty"`
	ResetAt     time.Time               `doc:"resetAt,omitempty"`
}

// storedWorker is what one worker told last.
type storedWorker struct {
	ToldAt time.Time `doc:"toldAt"`

	Held      int64     `doc:"held,omitempty"`      // points that are drawn or in flight
	HeldUntil time.Time `doc:"heldUntil,omitempty"` // they arrive at GitHub before

	// What was answered in each half second from Since on.
	Since  time.Time `doc:"since,omitempty"`
	Points []int64   `doc:"points,omitempty"`
	Writes []int64   `doc:"writes,omitempty"`

	Reserved      int64     `doc:"reserved,omitempty"` // of the hourly quota
	ReservedUntil time.Time `doc:"reservedUntil,omitempty"`
}

type storedBrake struct {
	Refusals     int64     `doc:"refusals,omitempty"`
	StoppedUntil time.Time `doc:"stoppedUntil,omitempty"`
	QuotaUntil   time.Time `doc:"quotaUntil,omitempty"`
	Share        float64   `doc:"share,omitempty"`
	Unserved     int64     `doc:"unserved,omitempty"`
	Points       int64     `doc:"points,omitempty"`
	Writes       int64     `doc:"writes,omitempty"`
	Hourly       int64     `doc:"hourly,omitempty"`
}

var collection = docstore.Collection[storedQuota]{Name: "github_api_quotas", Version: 1}

// lump is points that are counted until some time.
type lump struct {
	until  time.Time
	likely time.Time // or earlier, once its worker has told more
	points int
}

func (w storedWorker) lumps() []lump {
	var list []lump
	if w.Held > 0 {
		list = append(list, lump{w.HeldUntil.Add(minute + Margin), w.ToldAt.Add(settle + minute + Margin), int(w.Held)})
	}
	for i, n := range w.Points {
		if n > 0 {
			until := w.Since.Add(time.Duration(i+1)*slot + minute + Margin)
			list = append(list, lump{until, until, int(n)})
		}
	}
	return list
}

// spend fills in what was answered, in the store's time.
func (w *storedWorker) spend(now time.Time, spent []pace.Spent) {
	w.Since = now.Add(-minute - slot).Truncate(slot)
	for _, s := range spent {
		i := max(0, int((s.At.Sub(w.Since)-1)/slot))
		if more := i + 1 - len(w.Points); more > 0 {
			w.Points = append(w.Points, make([]int64, more)...)
			w.Writes = append(w.Writes, make([]int64, more)...)
		}
		w.Points[i] += int64(s.Points)
		w.Writes[i] += int64(s.Writes)
	}
}

// spent sums up what was answered in the last minute.
func (w storedWorker) spent(now time.Time) (points, writes int) {
	for i := range min(len(w.Points), len(w.Writes)) {
		if w.Since.Add(time.Duration(i+1) * slot).After(now.Add(-minute)) {
			points += int(w.Points[i])
			writes += int(w.Writes[i])
		}
	}
	return points, writes
}

// over reports whether nothing of what the worker told counts any more.
func (w storedWorker) over(now time.Time) bool {
	counts := func(l lump) bool { return l.until.After(now) }
	return !slices.ContainsFunc(w.lumps(), counts) && w.reserved(now) == 0
}

func (w storedWorker) reserved(now time.Time) int {
	if !w.ReservedUntil.After(now) {
		return 0
	}
	return int(w.Reserved)
}

func (q *storedQuota) lumps() []lump {
	var list []lump
	for _, w := range q.Workers {
		list = append(list, w.lumps()...)
	}
	return list
}

// used returns the points that are counted at that time, as far as is known.
func (q *storedQuota) used(at time.Time) int {
	used := 0
	for _, l := range q.lumps() {
		if l.until.After(at) {
			used += l.points
		}
	}
	return used
}

// room returns when so many points are likely to be free.
func (q *storedQuota) room(now time.Time, limit, need int) time.Time {
	free := limit
	var counted []lump
	for _, l := range q.lumps() {
		if l.until.After(now) {
			if !l.likely.After(now) {
				l.likely = now.Add(settle)
			}
			counted = append(counted, l)
			free -= l.points
		}
	}
	slices.SortFunc(counted, func(a, b lump) int { return a.likely.Compare(b.likely) })
	at := now
	for _, l := range counted {
		if free >= need {
			break
		}
		free, at = free+l.points, l.likely
	}
	return at
}

func (q *storedQuota) reserved(now time.Time) int {
	n := 0
	for _, w := range q.Workers {
		n += w.reserved(now)
	}
	return n
}

// note takes in what GitHub told. Answers may overtake each other: within one
// hour, the lowest figure is the latest.
func (q *storedQuota) note(told pace.Quota) {
	remaining := int64(max(0, told.Remaining))
	switch {
	case told.Limit == 0 || told.ResetAt.Before(q.ResetAt):
		return
	case told.ResetAt.Equal(q.ResetAt):
		remaining = min(remaining, q.Remaining)
	}
	q.Limit, q.Remaining, q.ResetAt = int64(told.Limit), remaining, told.ResetAt
}

// known reports whether the hourly quota is that of the present hour.
func (q *storedQuota) known(now time.Time) bool { return q.Limit > 0 && now.Before(q.ResetAt) }

func storeBrake(b pace.Brake) storedBrake {
	return storedBrake{
		Refusals: int64(b.Refusals), StoppedUntil: b.StoppedUntil, QuotaUntil: b.QuotaUntil, Share: b.Share,
		Unserved: int64(b.Unserved), Points: int64(b.Points), Writes: int64(b.Writes), Hourly: int64(b.Hourly),
	}
}

func (b storedBrake) brake() pace.Brake {
	return pace.Brake{
		Refusals: int(b.Refusals), StoppedUntil: b.StoppedUntil, QuotaUntil: b.QuotaUntil, Share: b.Share,
		Unserved: int(b.Unserved), Points: int(b.Points), Writes: int(b.Writes), Hourly: int(b.Hourly),
	}
}
