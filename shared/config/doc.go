// Package config reads the environment, once and in one place.
//
// [Settings] is the table of all variables: what each is, who reads it, what
// it defaults to. [Load] reads those of one reader into a [Config] and reports
// every fault at once, by the names of the variables and never by their
// values. The file .env.example and the page settings.md are made from the
// table.
package config
