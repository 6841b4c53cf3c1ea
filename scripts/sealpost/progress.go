package main

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/syncer"
)

// bar shows how far a sync has come, on a terminal; elsewhere it shows nothing.
type bar struct {
	writer progress.Writer

	mu       sync.Mutex
	trackers map[string]*progress.Tracker // by container
}

func newBar(out io.Writer) *bar {
	b := &bar{trackers: map[string]*progress.Tracker{}}
	if !isTerminal(out) {
		return b
	}
	b.writer = progress.NewWriter()
	b.writer.SetOutputWriter(out)
	b.writer.SetUpdateFrequency(100 * time.Millisecond)
	b.writer.SetTrackerLength(30)
	b.writer.SetStyle(progress.StyleBlocks)
	b.writer.Style().Visibility.Speed = false
	b.writer.Style().Visibility.ETA = true
	go b.writer.Render()
	return b
}

func (b *bar) update(p syncer.Progress) {
	if b.writer == nil || p.Total == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.trackers[p.Container]
	if t == nil {
		t = &progress.Tracker{Message: "Syncing " + p.Container}
		b.trackers[p.Container] = t
		b.writer.AppendTracker(t)
	}
	t.UpdateTotal(int64(p.Total))
	t.SetValue(int64(p.Done))
}

// stop ends the drawing and waits for its last frame.
func (b *bar) stop() {
	if b.writer == nil {
		return
	}
	b.writer.Stop()
	for b.writer.IsRenderInProgress() {
		_ = clock.Real().Sleep(context.Background(), 5*time.Millisecond) // ends with the frame
	}
}
