package pace

import "context"

// patience is how long who wants to be told of a spent quota waits for it.
const patience = minute

type toldKey struct{}

// ToldOfQuota returns a context for whoever would rather be told that the hourly
// quota is spent, at once, than wait for it: somebody at a terminal.
func ToldOfQuota(ctx context.Context) context.Context {
	return context.WithValue(ctx, toldKey{}, true)
}

func toldOfQuota(ctx context.Context) bool {
	told, _ := ctx.Value(toldKey{}).(bool)
	return told
}
