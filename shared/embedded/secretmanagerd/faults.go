package secretmanagerd

import (
	"math/rand/v2"
	"strings"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Fault makes some calls fail or wait. The first planted fault that strikes a
// call decides about it.
type Fault struct {
	Method   string        // such as AccessSecretVersion; empty strikes every method
	Resource string        // a part of the resource's name; empty strikes every resource
	Nth      int           // strikes only the nth call that matches, counted from 1; 0 strikes each
	Times    int           // strikes at most so often; 0 sets no limit
	Chance   float64       // strikes with this probability; 0 stands for 1
	Delay    time.Duration // is waited before anything else
	Code     codes.Code    // of the answer; OK only delays
	After    bool          // the call takes effect, and then the answer is lost
	Message  string        // of the answer
	Echo     bool          // the message goes on with all that the caller sent
}

// plantedFault counts what it has met.
type plantedFault struct {
	Fault
	met, struck int
}

// Plant adds faults; they strike until [Server.ClearFaults].
func (s *Server) Plant(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &plantedFault{Fault: f})
	}
}

// ClearFaults takes every fault away.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// strikes counts a call that matches, and says whether the fault strikes it.
func (f *plantedFault) strikes(method, resource string, random *rand.Rand) bool {
	if f.Method != "" && f.Method != method || !strings.Contains(resource, f.Resource) {
		return false
	}
	f.met++
	switch {
	case f.Nth > 0 && f.met != f.Nth,
		f.Times > 0 && f.struck >= f.Times,
		f.Chance > 0 && random.Float64() >= f.Chance:
		return false
	}
	f.struck++
	return true
}

// err is the answer to a call that was struck.
func (f Fault) err(req proto.Message) error {
	message := f.Message
	if f.Echo {
		message += " " + echo(req)
	}
	return status.Error(f.Code, message)
}

// echo renders a request with its payload, as upstreams do that quote what
// they could not take.
func echo(req proto.Message) string {
	text, _ := protojson.Marshal(req) // a message that was received can be marshalled
	if add, ok := req.(*pb.AddSecretVersionRequest); ok {
		return string(text) + " " + strings.ToValidUTF8(string(add.GetPayload().GetData()), "?")
	}
	return string(text)
}
