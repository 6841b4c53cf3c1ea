package githubd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/fault"
)

// stateFile keeps the world from one start to the next: a line of JSON for each
// change, appended as it happens, so that a kill loses at most a line that was
// not written whole. Opening it writes it anew, with one line for each thing.
type stateFile struct{ file *os.File }

// stateLine is one change: the value of a key from now on, null if it is gone.
type stateLine struct {
	Key   string          `json:"k"`
	Value json.RawMessage `json:"v"`
}

// openState reads the file into the world, if there is one, and makes it ready
// for more. It returns a [fault.Invalid] for a file that is not a server's.
func openState(path string, w *world) (*stateFile, error) {
	lines, err := readState(path)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if err := w.restore(line); err != nil {
			return nil, fault.Wrap(fault.Invalid, "githubd: state file "+path+": "+line.Key, nil)
		}
	}
	if err := compactState(path, lines); err != nil {
		return nil, fault.Wrap(fault.Internal, "githubd: write state file "+path, err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "githubd: open state file "+path, err)
	}
	return &stateFile{file}, nil
}

// readState returns the last line of each key, in the order in which the keys
// appeared first. A last line that was cut off is left out.
func readState(path string) ([]stateLine, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "githubd: read state file "+path, err)
	}
	raw = raw[:bytes.LastIndexByte(raw, '\n')+1]
	at := map[string]int{}
	var lines []stateLine
	for text := range bytes.Lines(raw) {
		var line stateLine
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, fault.Wrap(fault.Invalid, "githubd: state file "+path, nil)
		}
		if i, known := at[line.Key]; known {
			lines[i].Value = line.Value
			continue
		}
		at[line.Key] = len(lines)
		lines = append(lines, line)
	}
	return slices.DeleteFunc(lines, func(l stateLine) bool { return string(l.Value) == "null" }), nil
}

// compactState replaces the file by the lines, at once.
func compactState(path string, lines []stateLine) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	encoder := json.NewEncoder(out)
	for _, line := range lines {
		err = errors.Join(err, encoder.Encode(line))
	}
	if err = errors.Join(err, out.Flush(), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), path)
}

func (f *stateFile) append(key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	line, err := json.Marshal(stateLine{key, raw})
	if err != nil {
		return err
	}
	_, err = f.file.Write(append(line, '\n'))
	return err
}

func (f *stateFile) close() error { return errors.Join(f.file.Sync(), f.file.Close()) }

// keep records the value of a key, nil for one that is gone. A failure is kept
// for the answer to the request, and for Close.
func (s *Server) keep(key string, value any) {
	if s.state == nil {
		return
	}
	if err := s.state.append(key, value); err != nil && s.stateErr == nil {
		s.stateErr = fault.Wrap(fault.Internal, "githubd: keep "+key, err)
	}
}

func (s *Server) keepRepo(r *repo) { s.keep("repository/"+idText(r.ID), r) }

// restore takes one line of the state file into the world.
func (w *world) restore(line stateLine) error {
	kind, rest, _ := strings.Cut(line.Key, "/")
	switch kind {
	case "account":
		return restoreInto(line.Value, func(a *account) {
			w.accounts[rest] = a
			w.claimID(a.ID)
		})
	case "repository":
		return restoreInto(line.Value, func(r *repo) {
			w.indexRepo(r)
			w.claimID(r.ID)
		})
	case "environment":
		return restoreInto(line.Value, func(e *environment) {
			w.environments[line.Key] = e
			w.claimID(e.ID)
		})
	case "key":
		return restoreInto(line.Value, func(k *sealKey) { w.stored(rest).key = *k })
	case "secret":
		return restoreInto(line.Value, func(r *record) {
			w.stored(strings.TrimSuffix(rest, "/"+r.Name)).secrets[r.Name] = *r
		})
	}
	return fault.Invalid
}

func restoreInto[T any](raw json.RawMessage, take func(*T)) error {
	value := new(T)
	if err := json.Unmarshal(raw, value); err != nil {
		return err
	}
	take(value)
	return nil
}

// stored returns the vault with the id; what it belongs to is filled in when it
// is first asked for.
func (w *world) stored(id string) *vault {
	if w.vaults[id] == nil {
		w.vaults[id] = &vault{id: id, secrets: map[string]record{}}
	}
	return w.vaults[id]
}
