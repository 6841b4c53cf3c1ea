package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/fault"
)

const layout = "Mon 2006-01-02 15:04"

// TestNext is when lines are due after a time.
func TestNext(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{ // after Sat 2026-02-28 23:58:30
		"* * * * *":               {"Sat 2026-02-28 23:59", "Sun 2026-03-01 00:00", "Sun 2026-03-01 00:01"},
		"0 */6 * * *":             {"Sun 2026-03-01 00:00", "Sun 2026-03-01 06:00"},
		"*/25 23 * * *":           {"Sun 2026-03-01 23:00", "Sun 2026-03-01 23:25", "Sun 2026-03-01 23:50", "Mon 2026-03-02 23:00"},
		"5,10-20/5 1 * * *":       {"Sun 2026-03-01 01:05", "Sun 2026-03-01 01:10", "Sun 2026-03-01 01:15", "Sun 2026-03-01 01:20", "Mon 2026-03-02 01:05"},
		"0 0 31 * *":              {"Tue 2026-03-31 00:00", "Sun 2026-05-31 00:00"},
		"0 0 29 2 *":              {"Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"},
		"30 4 * * 1-5":            {"Mon 2026-03-02 04:30", "Tue 2026-03-03 04:30"},
		"0 0 * * 7":               {"Sun 2026-03-01 00:00", "Sun 2026-03-08 00:00"},
		"0 0 * * 0":               {"Sun 2026-03-01 00:00", "Sun 2026-03-08 00:00"},
		"0 0 13 * 5":              {"Fri 2026-03-06 00:00", "Fri 2026-03-13 00:00", "Fri 2026-03-20 00:00", "Fri 2026-03-27 00:00", "Fri 2026-04-03 00:00"}, // either day
		"0 0 */15 * *":            {"Sun 2026-03-01 00:00", "Mon 2026-03-16 00:00", "Tue 2026-03-31 00:00", "Wed 2026-04-01 00:00"},
		"0 0 * * */3":             {"Sun 2026-03-01 00:00", "Wed 2026-03-04 00:00", "Sat 2026-03-07 00:00", "Sun 2026-03-08 00:00"},
		"59 23 31 12 *":           {"Thu 2026-12-31 23:59"},
		" 0\t12  1 1,7 * ":        {"Wed 2026-07-01 12:00", "Fri 2027-01-01 12:00"},
		"0 0 30 2 1":              {"Mon 2027-02-01 00:00"}, // the weekday is enough
		"*/59,0-59/59 */23 * * *": {"Sat 2026-02-28 23:59", "Sun 2026-03-01 00:00", "Sun 2026-03-01 00:59"},
	} {
		cron, err := ParseCron(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		at := time.Date(2026, 3, 1, 1, 58, 30, 5, time.FixedZone("", 2*60*60))
		var got []string
		for range want {
			at = cron.Next(at)
			got = append(got, at.Format(layout))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q is due at %q, want %q", line, got, want)
		}
	}
}

func TestOverAYearWithoutALeapDay(t *testing.T) {
	t.Parallel()
	cron, err := ParseCron("0 0 29 2 *")
	if err != nil {
		t.Fatal(err)
	}
	if got := cron.Next(time.Date(2096, 2, 29, 0, 0, 0, 0, time.UTC)); got.Format(layout) != "Fri 2104-02-29 00:00" {
		t.Errorf("due at %s", got.Format(layout))
	}
}

func TestLinesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 8",
		"-1 * * * *", "+1 * * * *", "001 * * * *", "1.5 * * * *", "x * * * *", "٣ * * * *", "5-1 * * * *", "1- * * * *", "-5 * * * *", "1-2-3 * * * *",
		"*/0 * * * *", "*/ * * * *", "*/-1 * * * *", "*/x * * * *", "5/5 * * * *", "/5 * * * *", "** * * * *", "*-5 * * * *", "1,,2 * * * *", ", * * * *",
		"* * * JAN *", "* * * * MON", "@hourly", "? * * * *", "TZ=UTC * * * * *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 *",
		"0 0 */2 * 1", "0 0 1 * */2", "0 0 1,* * 1", "0 0 */2 * */2",
	} {
		if _, err := ParseCron(line); !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// admits is what a field admits, by its definition, written another way.
func admits(field string, least, most, n int) bool {
	for part := range strings.SplitSeq(field, ",") {
		span, stepText, _ := strings.Cut(part, "/")
		step, err := strconv.Atoi(stepText)
		if err != nil {
			step = 1
		}
		first, last := least, most
		if span != "*" {
			if _, err := fmt.Sscanf(span, "%d-%d", &first, &last); err != nil {
				last = first
			}
		}
		if n >= first && n <= last && (n-first)%step == 0 {
			return true
		}
	}
	return false
}

// TestEveryMinuteIsDueOrNot compares Next with asking each minute of a while.
func TestEveryMinuteIsDueOrNot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		field := func(name string, least, most int) string {
			part := rapid.Custom(func(t *rapid.T) string {
				a := rapid.IntRange(least, most).Draw(t, "a")
				b := rapid.IntRange(a, most).Draw(t, "b")
				n := rapid.IntRange(1, most).Draw(t, "n")
				return rapid.SampledFrom([]string{"*", fmt.Sprint(a), fmt.Sprintf("*/%d", n), fmt.Sprintf("%d-%d", a, b), fmt.Sprintf("%d-%d/%d", a, b, n)}).Draw(t, "part")
			})
			return strings.Join(rapid.SliceOfN(part, 1, 3).Draw(t, name), ",")
		}
		minute, hour, day, month, weekday := field("minute", 0, 59), field("hour", 0, 23), field("day", 1, 31), field("month", 1, 12), field("weekday", 0, 7)
		cron, err := ParseCron(strings.Join([]string{minute, hour, day, month, weekday}, " "))
		if err != nil {
			return // due on no day, or on days that crons differ on
		}
		start := time.Unix(rapid.Int64Range(1_500_000_000, 2_500_000_000).Draw(t, "start"), 0).UTC()
		next := cron.Next(start)
		for at := start.Truncate(time.Minute).Add(time.Minute); at.Before(start.AddDate(0, 0, 1)); at = at.Add(time.Minute) {
			ofMonth := admits(day, 1, 31, at.Day())
			ofWeek := admits(weekday, 0, 7, int(at.Weekday())) || at.Weekday() == time.Sunday && admits(weekday, 0, 7, 7)
			onDay := ofMonth && ofWeek
			if day != "*" && weekday != "*" {
				onDay = ofMonth || ofWeek
			}
			due := onDay && admits(minute, 0, 59, at.Minute()) && admits(hour, 0, 23, at.Hour()) && admits(month, 1, 12, int(at.Month()))
			if due != at.Equal(next) {
				t.Fatalf("%s: due is %t, and next is %s", at.Format(layout), due, next.Format(layout))
			}
			if due {
				next = cron.Next(at)
			}
		}
	})
}

// FuzzParseCron holds that a line that is taken is due again and again, on
// whole minutes in UTC that only go forwards.
func FuzzParseCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "0 */6 * * *", "5,10-20/5 0 29 2 0-7", "0 0 31 4 *", "-/,* * * * *", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cron, err := ParseCron(line)
		if err != nil {
			return
		}
		at := time.Unix(1_800_000_017, 3)
		for range 5 {
			next := cron.Next(at)
			if !next.After(at) || !next.Equal(next.Truncate(time.Minute)) || next.Location() != time.UTC {
				t.Fatalf("%q is due at %s after %s", line, next, at)
			}
			at = next
		}
	})
}
