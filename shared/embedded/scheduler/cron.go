package scheduler

import (
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// Cron is when a job is due, in UTC.
type Cron struct {
	minute, hour, day, month, weekday set
	anyDay, anyWeekday                bool // the field is a star alone
}

// set is which of the numbers 0 to 63 a field admits.
type set uint64

func (s set) has(n int) bool { return s&(1<<n) != 0 }

// horizon is in how many days at the most something is due again: 29 February
// may be eight years off, about a year like 2100, which has none.
const horizon = 8*366 + 1

// ParseCron reads a line of five fields: minute, hour, day of the month, month,
// day of the week (0 to 7; 0 and 7 are Sunday). A field is a list, by commas, of
// numbers, ranges a-b and the star for all; a range or a star may have a step,
// /n. Where both days are restricted, either is enough. Names, @hourly and their
// like are not taken. A line that is malformed, or due on no day there is, like
// 30 February, is a [fault.ConfigInvalid]; so is one with both days of which one
// has a star with a step, since crons differ on what that means.
// Source: cloud.google.com/scheduler/docs/configuring/cron-job-schedules.
func ParseCron(line string) (Cron, error) {
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return Cron{}, fault.New(fault.ConfigInvalid, "a cron line has five fields")
	}
	day, weekday := fields[2], fields[4]
	c := Cron{anyDay: day == "*", anyWeekday: weekday == "*"}
	if !c.anyDay && !c.anyWeekday && strings.Contains(day+weekday, "*") {
		return Cron{}, fault.New(fault.ConfigInvalid, "a cron line with both days has no star in either")
	}
	for i, f := range []struct {
		name        string
		into        *set
		least, most int
	}{
		{"minute", &c.minute, 0, 59},
		{"hour", &c.hour, 0, 23},
		{"day of the month", &c.day, 1, 31},
		{"month", &c.month, 1, 12},
		{"day of the week", &c.weekday, 0, 7},
	} {
		parsed, ok := parseField(fields[i], f.least, f.most)
		if !ok {
			return Cron{}, fault.New(fault.ConfigInvalid, "the %s of a cron line is a list of numbers from %d to %d, ranges and *, with steps", f.name, f.least, f.most)
		}
		*f.into = parsed
	}
	if c.weekday.has(7) {
		c.weekday |= 1
	}
	if c.Next(time.Unix(0, 0)).IsZero() {
		return Cron{}, fault.New(fault.ConfigInvalid, "the cron line is due on no day that there is")
	}
	return c, nil
}

func parseField(text string, least, most int) (set, bool) {
	var all set
	for part := range strings.SplitSeq(text, ",") {
		s, ok := parseRange(part, least, most)
		if !ok {
			return 0, false
		}
		all |= s
	}
	return all, true
}

// parseRange reads a, a-b, a-b/n, * or */n.
func parseRange(text string, least, most int) (set, bool) {
	span, step, stepped := strings.Cut(text, "/")
	every := 1
	if stepped {
		n, ok := number(step)
		if !ok || n == 0 {
			return 0, false
		}
		every = n
	}
	first, last := least, most
	if span != "*" {
		from, to, ranged := strings.Cut(span, "-")
		if !ranged {
			to = from
		}
		a, okA := number(from)
		b, okB := number(to)
		if !okA || !okB || a < least || b > most || a > b || stepped && !ranged {
			return 0, false
		}
		first, last = a, b
	}
	var s set
	for n := first; n <= last; n += every {
		s |= 1 << n
	}
	return s, true
}

// number takes one or two digits and nothing else.
func number(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 8)
	return int(n), err == nil && len(text) <= 2
}

// Next returns the first minute after a time at which the job is due, in UTC.
func (c Cron) Next(after time.Time) time.Time {
	at := after.UTC().Truncate(time.Minute).Add(time.Minute)
	day := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	from := at.Hour()*60 + at.Minute() // of the first day only
	for range horizon {
		if c.onDay(day) {
			for minute := from; minute < 24*60; minute++ {
				if c.hour.has(minute/60) && c.minute.has(minute%60) {
					return day.Add(time.Duration(minute) * time.Minute)
				}
			}
		}
		day, from = day.AddDate(0, 0, 1), 0
	}
	return time.Time{}
}

func (c Cron) onDay(day time.Time) bool {
	if !c.month.has(int(day.Month())) {
		return false
	}
	ofMonth, ofWeek := c.day.has(day.Day()), c.weekday.has(int(day.Weekday()))
	if c.anyDay || c.anyWeekday {
		return ofMonth && ofWeek
	}
	return ofMonth || ofWeek
}
