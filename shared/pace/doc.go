// Package pace keeps work at GitHub within the limits of an installation.
package pace
