// Package dispatch spreads the work of syncing over functions that are killed,
// repeated, reordered and throttled at will.
//
// # The protocol
//
// What is to be done is in the store, as the mark of a container (see package
// mark). A message on [event.SyncRequests] is a [Nudge]: look at this
// container's mark.
//
//  1. Whoever wants a sync sets the mark, and then publishes a nudge, unless the
//     mark was there and due already: a [Requester]. Where the work is for all
//     at once, it sets the marks only.
//  2. Each minute the [Dispatcher] lists the marks that are due, the most urgent
//     and then the oldest of each account first, publishes as many as the
//     account's pace admits within the minute, and moves the time of those to
//     the next tick.
//  3. A [Worker] that is nudged reads the mark. If there is none, or it is held,
//     there is nothing to do. Else it carries out each ask, and then a run of
//     the whole container, under its lease; the run clears what it answered.
//
// # What can go wrong, and what then holds
//
// Killed after the mark and before the nudge, or the nudge is lost: the mark is
// due, and the next tick publishes it. So a reply that says "queued" depends on
// the mark alone, and a failure to publish is only logged.
//
// A nudge is repeated, late, or comes after another one: the mark is gone, or
// another worker holds the lease. A worker that finds the lease held leaves
// everything as it is: its mark was set before, so that the holder either read
// it, or finds after its release that it was set meanwhile, and plans again.
//
// Killed in mid-work: the mark is still there, since it is cleared at the end.
// Pub/Sub delivers the nudge again, or the next tick does; the lease has ended
// by then, or ends soon; the run goes on from the ledger. An ask whose run ended
// but which was not taken away yet runs again, and finds everything done.
//
// Work outlasts the function's life: the worker's time ends before the
// function's does, nothing new is started, the ledger is stored; the mark stays,
// and the worker nudges itself.
//
// The hourly quota is spent: the mark is held until GitHub's reset. It is the
// account's quota, so whoever asks again meanwhile waits too.
//
// A run fails: the mark is put off, longer each time, up to [longestHold], and
// after [alertTries] failures in a row an error is logged for the alert, once. A nudge
// never fails for what its container does, so it delays no others and is never
// dead-lettered; what is dead-lettered are bodies that nobody can read.
//
// The dispatcher is killed after it published and before it moved the marks: the
// next tick publishes them again, which is a repeat like any other.
//
// Marks are read by the clock of the machine that wrote them. If the clocks of
// two are apart by a minute, a mark is published a minute early or late.
package dispatch
