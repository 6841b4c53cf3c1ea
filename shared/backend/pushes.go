package backend

import "github.com/sealpost/sealpost/shared/eventx"

// Pushes returns the options of a function that Pub/Sub pushes to: its
// subscription has its name, in Sealpost's own project.
func (b Base) Pushes(function string) eventx.Options {
	return eventx.Options{
		Subscriptions: []string{"projects/" + b.Config.GCPProject + "/subscriptions/" + function}, Log: b.Kit.Log,
	}
}
