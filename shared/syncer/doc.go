// Package syncer carries a plan out, so that nothing is lost when it is killed
// at any point, and nothing is written by two at once.
//
// # One container's run
//
//  1. Take the lease. Who does not get it leaves a mark, tries once more, and
//     fails at once.
//  2. Read the mark, before anything that the plan depends on.
//  3. Read the ledger, list each scope, inspect each source. Make the plan.
//  4. Check the hourly quota for the whole plan.
//  5. For each batch of at most [BatchSize] targets: read the values, record
//     in the audit the outcomes of the batch before and the intent of this one,
//     store in the ledger those outcomes and the write-ahead, write concurrently.
//  6. List again each scope that was written, and settle; meanwhile record the
//     last outcomes in the audit.
//  7. Store the ledger and release the lease, in one commit.
//  8. Take the mark of step 2 away, unless the run was for some targets only or
//     ended early. If a mark was set meanwhile, begin again, for the whole
//     container: a request sets its mark and then tries the lease once more, and
//     this looks for marks after the release, so that one sees the other.
//
// While the run lasts, the lease is renewed every [lease.RenewEvery], in one
// commit with the ledger as it stands. So what the ledger says is at most that
// old, and a pending write's Until is the end of the lease at the last commit.
// The outcomes that a ledger tells of are recorded in the audit before it is
// stored, by a renewal too.
//
// # What can go wrong, and what then holds
//
// Killed before the write-ahead is stored: nothing was written, nothing is
// remembered but an intent in the audit.
//
// Killed between a write-ahead and the outcome: the ledger says which targets
// may have been written. The next run takes each that is absent, or that was
// updated while the write may have been in flight, as its own and writes it
// again. These are at most one batch. What was updated later is a conflict.
//
// Killed after the audit's outcomes and before the ledger's: as above; the
// repeated write is a second outcome in the audit, never a missing one.
//
// Paused past the end of the lease: the guard that stands right before each
// request refuses, and every commit fails on its precondition. A request that
// was in flight cannot be recalled. If it lands before the next holder lists,
// the next holder sees a target that was updated outside its own writes within
// the first holder's window, and writes it again. If it lands later, its
// updated_at differs from what was settled, and the next plan says conflict.
//
// Interrupted (a signal, a deadline): nothing new is started, what is in flight
// is awaited, the ledger is stored and the lease released. The result names
// what was not started.
//
// The store fails: no commit, no write-ahead, so nothing new is written; the
// lease runs out by itself. The audit fails in both sinks: nothing new is
// written, and what was written without a recorded outcome stays pending, so
// that the next run repeats it.
//
// GitHub fails for some targets: the others go on. A write that failed stays
// pending in the ledger, until when it may have taken effect, and the next run
// repeats it if that cannot be told. A write that was never sent is forgotten.
package syncer
