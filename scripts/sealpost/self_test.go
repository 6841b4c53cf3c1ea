package main

import "testing"

func TestSelfIsHowItWasCalled(t *testing.T) {
	t.Parallel()
	const run = "go run ./scripts/sealpost"
	for called, want := range map[string]string{
		"sealpost":     "sealpost",
		"bin/sealpost": "bin/sealpost",
		"/tmp/go-build961353062/b001/exe/sealpost": run,
		"/home/alice/.cache/go-build/36/36c799616f604668ad32fd744fbefa5d5a7019989ca0c0612517e3cae9ce9572-d/sealpost": run,
		"/var/cache/ci/36/36c799616f604668ad32fd744fbefa5d5a7019989ca0c0612517e3cae9ce9572-d/sealpost":               run,
	} {
		if got := self(called); got != want {
			t.Errorf("%s: got %s, want %s", called, got, want)
		}
	}
	if got := pasteable("gcloud auth login"); got != "gcloud auth login" {
		t.Errorf("another command became %s", got)
	}
}
