package secretmanagerd

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sealpost/sealpost/shared/fault"
)

// fileFormat is the version of the file's form.
const fileFormat = 1

type fileForm struct {
	Format   int          `json:"format"`
	Revision int64        `json:"revision"`
	Secrets  []secretForm `json:"secrets"`
}

type secretForm struct {
	Meta     json.RawMessage `json:"meta"`
	Created  int64           `json:"created"`
	Versions []versionForm   `json:"versions"`
}

type versionForm struct {
	Meta json.RawMessage `json:"meta"`
	Data []byte          `json:"data"`
}

// load reads the file. No path, or no file there yet, is no data. What the
// file holds never gets into an error: a parser's message may quote it.
func load(path string) (snapshot, error) {
	data := snapshot{secrets: map[string]*secretRecord{}}
	if path == "" {
		return data, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return data, nil
	}
	if err != nil {
		return data, fault.New(fault.ConfigInvalid, "the file of the embedded Secret Manager, %s, cannot be read", path)
	}
	if decode(text, &data) != nil {
		return data, fault.New(fault.ConfigInvalid, "the file of the embedded Secret Manager, %s, is damaged or of another version: move it away to start anew", path)
	}
	return data, nil
}

func decode(text []byte, data *snapshot) error {
	var form fileForm
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	if form.Format != fileFormat {
		return errors.New("another format")
	}
	data.revision = form.Revision
	for _, s := range form.Secrets {
		record := &secretRecord{meta: &pb.Secret{}, created: s.Created}
		if err := protojson.Unmarshal(s.Meta, record.meta); err != nil {
			return err
		}
		for _, v := range s.Versions {
			version := &versionRecord{meta: &pb.SecretVersion{}, data: v.Data}
			if err := protojson.Unmarshal(v.Meta, version.meta); err != nil {
				return err
			}
			record.versions = append(record.versions, version)
		}
		data.secrets[record.meta.GetName()] = record
	}
	return nil
}

// save replaces the file as a whole: after a crash there is the old one or the
// new one. CreateTemp makes a file that only its owner can read.
func save(path string, data snapshot) error {
	if path == "" {
		return nil
	}
	text, err := encode(data)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".secretmanagerd-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

func encode(data snapshot) ([]byte, error) {
	form := fileForm{Format: fileFormat, Revision: data.revision}
	for _, record := range data.oldestFirst() {
		meta, err := protojson.Marshal(record.meta)
		if err != nil {
			return nil, err
		}
		s := secretForm{Meta: meta, Created: record.created}
		for _, v := range record.versions {
			meta, err := protojson.Marshal(v.meta)
			if err != nil {
				return nil, err
			}
			s.Versions = append(s.Versions, versionForm{Meta: meta, Data: v.data})
		}
		form.Secrets = append(form.Secrets, s)
	}
	return json.Marshal(form)
}
