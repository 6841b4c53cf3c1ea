// Package quota keeps the pace that the workers of one GitHub identity share.
//
// GitHub counts by identity, whoever asks for it. Each worker process has a
// [pace.Pacer] of its own, and all pacers of an identity draw from one
// document, its budget, by writes with preconditions: who loses a race reads
// again. The workers are few, and a draw takes points for a second and a half
// at the least, so that the document is written about once a second at the
// most. It holds:
//
//   - for each worker, the points that it holds and those that it spent. They
//     are told anew, whole, with each of its draws. What a worker holds may be
//     spent until its chunk is void, [ChunkLife], and arrive [Travel] later; it
//     is counted until a minute after that. What was answered is counted until
//     a minute after the answer. So a point is never counted shorter than GitHub
//     counts it; and since a worker with work draws again and tells, it is
//     counted about two seconds longer at the most. A worker that crashed tells
//     nothing, and what it held lapses by itself, as does its whole entry;
//   - until when writes are reserved, where the mode spaces them. A worker that
//     wants to write reserves the next five seconds that are free, for itself;
//     these may lie behind those of others. So writes come one after another
//     over all workers, each in its turn, and the turn of a crashed worker just
//     passes;
//   - what refusals taught. A refusal is told at once, and each draw reads it:
//     no worker draws before the stop is over, and all go on slower;
//   - the hourly quota as GitHub told it last, and what each worker has reserved
//     of it for runs that have begun. A reservation shrinks as its requests are
//     sent, and lapses [ReservationLife] after its worker's last word.
//
// Times in the document are the store's. A worker takes the time of its read
// for the time at which it sent it, where it tells what it spent and when its
// chunk is void; and for the time at which it had the answer, where it waits
// for something. Either errs to the safe side by the time of a read. [Margin]
// covers the rest.
//
// While the store cannot be reached, nothing is sent: a worker alone cannot know
// what the others do. What it holds already may still be spent.
//
// What is not promised: with a mode that writes one at a time, a write that
// suddenly takes longer than the one before it may still be in flight when
// another worker's turn begins. And a process that stood still between the
// decision to send and the sending sends late.
package quota

import "time"

const (
	// ChunkLife is how long what was drawn may be spent.
	ChunkLife = 5 * time.Second
	// Travel is how long a request may be on its way to GitHub: as long as any is
	// waited for.
	Travel = 30 * time.Second
	// Margin is how much longer than GitHub's minute points are counted.
	Margin = 500 * time.Millisecond
	// ReservationLife is how long a reservation outlives its worker's last word.
	ReservationLife = 5 * time.Minute
)

const (
	minute = time.Minute
	// slot is how finely spent points are told apart.
	slot = 500 * time.Millisecond
	// settle is how soon what was drawn is expected to be told as spent, and how
	// soon who found nothing looks again where it was not.
	settle = 500 * time.Millisecond
	// slack is what a turn to write is longer than its writes need: reads and
	// writes of the document fall into it.
	slack = 500 * time.Millisecond

	// grain is more than what is lost where a store keeps microseconds.
	grain = time.Millisecond

	// patience is how long one draw may take. Conflicts are tried again so often,
	// after waits that are drawn from 0 to a bound that doubles.
	patience       = 10 * time.Second
	tries          = 10
	firstBackOff   = 20 * time.Millisecond
	longestBackOff = time.Second
)
