// Package queries holds the product's queries to the indexes of its databases,
// and says what each function costs in documents.
//
// Firestore refuses a query that no index serves, but only in the cloud: its
// emulator has every index, and SQLite needs none. So a scenario ([Record])
// drives every query of the product through the real functions and domain
// packages, over databases that note what they are asked, and from what they
// noted come the files under terraform/indexes, one for each database. The tests
// hold that the files are current, that every query written anywhere in the
// product was asked, and that Firestore's emulator takes them all.
//
// # The files
//
// They have the format of firestore.indexes.json, the index configuration file
// of the Firebase CLI (firebase.google.com/docs/reference/firestore/indexes),
// which Terraform can read as well. The format has no place for the name of a
// database: the CLI takes that from firebase.json, where each database names its
// own file. Hence a file for each. The database of managed apps has none yet.
//
// # What is indexed
//
// A field is indexed if a query asks for it, and else it is not. By default,
// Firestore keeps two indexes of every field, of a nested one too, and a third
// of every array; an exemption for the path "*" ends that for a whole
// collection, and exemptions from it name the fields that queries need. So a
// ledger, a manifest, the versions of a project's sources and the store's own
// _nonce are in no index, and no document comes near the 40,000 index entries
// that it may have. Of the field by which documents expire there is a policy,
// and no index, as Google advises. A field that is exempt can be part of a
// composite index all the same.
//
// # When a query needs a composite index
//
// Where it combines an order, a range or a look into an array with filters on
// other fields. Equality filters alone are served by merging the indexes of the
// fields. Merging also serves equality filters with an order, from one composite
// index for each filter, but with a range it is not promised, and it is advised
// against where an array is looked into. We rely on what is promised, so there is an
// index for each combination. In it the fields of equality filters come first, in
// any direction, and then the ordered field in the direction that the query has;
// the other direction would be another index. The document's name comes last by
// itself, in the direction of the field before it, as [docstore.Order] has it.
//
// Source of both: cloud.google.com/firestore/docs/concepts/index-overview.
package queries
