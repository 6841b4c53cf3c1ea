// Package syncer carries a plan out.
package syncer
