package main

// price is a list price in US dollars, beyond what is free, in us-central1 (Iowa;
// tier 1 of Cloud Run).
type price struct {
	dollars float64
	per     float64 // so many
	unit    string
	source  string // page of the price list
}

func (p price) of(n float64) float64 { return p.dollars * n / p.per }

// The prices of what Sealpost is billed for. Functions of the 2nd generation are
// billed as Cloud Run services, for the time of their requests. Who deploys
// elsewhere pays other prices. Those of CPU, messages and accesses were read on
// the page itself; those of document reads and writes, of memory and of requests
// on pages that quote it; those of deletes and of Scheduler's jobs on neither, so
// check them before a decision depends on them.
var prices = struct {
	read, write, remove         price // documents
	access                      price // of a secret's version; whatever else is asked of Secret Manager is free
	message                     price // by bytes, published and pushed
	invocation, cpu, memory     price
	job                         price // of Scheduler, a month
	minMessage, billingInterval float64
}{
	read:       price{0.03, 100_000, "documents", "https://cloud.google.com/firestore/pricing"},
	write:      price{0.09, 100_000, "documents", "https://cloud.google.com/firestore/pricing"},
	remove:     price{0.01, 100_000, "documents", "https://cloud.google.com/firestore/pricing"},
	access:     price{0.03, 10_000, "operations", "https://cloud.google.com/secret-manager/pricing"},
	message:    price{40, 1 << 40, "bytes", "https://cloud.google.com/pubsub/pricing"},
	invocation: price{0.40, 1_000_000, "requests", "https://cloud.google.com/run/pricing"},
	cpu:        price{0.000024, 1, "vCPU-seconds", "https://cloud.google.com/run/pricing"},
	memory:     price{0.0000025, 1, "GiB-seconds", "https://cloud.google.com/run/pricing"},
	job:        price{0.10, 1, "jobs a month", "https://cloud.google.com/scheduler/pricing"},

	// At the least for each publish or push request, in bytes: see the source of message.
	minMessage: 1000,
	// In seconds, to which the time of a request is rounded up: see the source of cpu.
	billingInterval: 0.1,
}

// cpuOf is the share of a CPU that a function has by its memory in MiB, unless
// its deployment says more. Source:
// https://docs.cloud.google.com/functions/1stgendocs/configuring/memory, for the
// 1st generation; the 2nd is taken to have the same.
var cpuOf = map[int]float64{128: 0.083, 256: 0.167, 512: 0.333}
