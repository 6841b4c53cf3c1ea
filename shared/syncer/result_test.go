package syncer_test

import (
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/syncer"
)

// What failed for a reason that passes waits for another run; what needs
// somebody to do something does not.
func TestUnfinishedIsWhatPasses(t *testing.T) {
	t.Parallel()
	for code, want := range map[fault.Code]bool{
		fault.RateLimitExhausted: true, fault.GitHubUnavailable: true, fault.SourceUnavailable: true, fault.Unreachable: true,
		fault.RequestTimeout: true, fault.RequestCanceled: true,
		fault.SecretConflict: false, fault.PermissionMissing: false, fault.SourceMissing: false, fault.ValueTooLarge: false, "": false,
	} {
		result := syncer.Result{Results: []syncer.Item{{Status: syncer.ItemSucceeded}, {Status: syncer.ItemFailed, Code: code}}}
		if got := result.Unfinished(); got != want {
			t.Errorf("%q: unfinished %t", code, got)
		}
	}
	for status, want := range map[syncer.ItemStatus]bool{
		syncer.ItemPending: true, syncer.ItemUnknown: true, syncer.ItemSucceeded: false, syncer.ItemSkipped: false, syncer.ItemPlanned: false,
	} {
		if got := (syncer.Result{Results: []syncer.Item{{Status: status}}}).Unfinished(); got != want {
			t.Errorf("%s: unfinished %t", status, got)
		}
	}
}

// A quota that is spent is waited for, one that is not is not.
func TestUntilReset(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	limits := func(remaining int, reset string) *syncer.Limits {
		return &syncer.Limits{Limit: 5000, Remaining: remaining, ResetAt: reset}
	}
	for _, test := range []struct {
		quota *syncer.Limits
		want  time.Duration
	}{
		{nil, 0},
		{limits(1, "2026-01-02T15:30:00Z"), 0},
		{limits(0, "2026-01-02T15:30:00Z"), 30 * time.Minute},
		{limits(0, "2026-01-02T14:30:00Z"), 0},
		{limits(0, ""), 0},
	} {
		if got := (syncer.Result{Quota: test.quota}).UntilReset(now); got != test.want {
			t.Errorf("%+v: %s, want %s", test.quota, got, test.want)
		}
	}
}
