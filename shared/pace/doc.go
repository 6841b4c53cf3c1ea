// Package pace keeps work at GitHub within the limits of an installation.
//
// A [Pacer] admits the requests of one identity (an installation of a GitHub
// App, or a token), since that is whom GitHub counts. It queues them in order,
// keeps them within the mode's limits, and at GitHub's first refusal stops
// them all, waits as long as it was told, and goes on slower. [PriceOf] says
// beforehand what some work will cost under a mode, and a [Meter] counts
// afterwards what it did cost.
//
// Where several processes work under one identity, their pacers draw what they
// may spend from a [Budget] that they share: [NewShared].
//
// GitHub documents 900 points a minute for one endpoint, where a read costs 1
// and a write 5, 100 requests in flight, 80 content-creating writes a minute
// and 500 an hour "in general", and says that there are limits which it does
// not disclose. Sources: docs.github.com,
// rest/using-the-rest-api/rate-limits-for-the-rest-api and
// rest/using-the-rest-api/best-practices-for-using-the-rest-api.
package pace
