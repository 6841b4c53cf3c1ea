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
//  5. For each batch of at most [BatchSize] targets, deletions in batches of
//     their own before all others, so that they make room: read the values, record
//     in the audit the outcomes of the batch before and the intent of this one,
//     store in the ledger those outcomes and the write-ahead, write concurrently.
//  6. List again each scope that was written, and settle; meanwhile record the
//     last outcomes in the audit.
//  7. Store the ledger and release the lease, in one commit.
//  8. Take the mark of step 2 away, unless the run was for some targets only,
//     ended early, or left targets that a later run may finish. If a mark was set
//     meanwhile, begin again, for the whole container: a request sets its mark and
//     then tries the lease once more, and this looks for marks after the release,
//     so that one sees the other.
//
// While the run lasts, the lease is renewed every [lease.RenewEvery], in one
// commit with the ledger as it stands; a renewal that hangs is given up and
// repeated. So what the ledger says is at most that old, and a pending write's
// Until is not before the end of the lease that this commit makes.
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
// what was not started. A platform kills a function at its deadline, so a run
// counts as interrupted 30 seconds before its context's deadline: that is [lease.TTL]
// for the answer to what was sent last, and 10 seconds for storing what it did.
// Where less than a minute is allowed, half of it is for the work.
//
// The quota is spent, or the pace has no room for a write before the deadline:
// the write is not sent, no further batch is begun, and the run ends with that
// error once what is in flight was answered. The result names what was not
// started.
//
// The store fails: no commit, no write-ahead, so nothing new is written; the
// lease runs out by itself. The audit fails in both sinks: nothing new is
// written, and what was written without a recorded outcome stays pending, so
// that the next run repeats it.
//
// GitHub fails for some targets: the others go on. A write that failed stays
// pending in the ledger, with until when it may have taken effect: until its
// answer, or where none came for [lease.TTL] more, as for a killed run. The next
// run repeats it if it cannot be told whether it did. A write that was never sent
// (see [NotSent]) is forgotten by the ledger and has no outcome in the audit.
//
// A further round fails, after the one that was asked for succeeded: the result
// is that of the first, and the mark stays for another run.
package syncer
