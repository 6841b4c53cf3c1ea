package secretmanagerd

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sealpost/sealpost/shared/fault"
)

// pipeBytes is the buffer of an in-memory connection; more than the largest value.
const pipeBytes = 256 << 10

// Endpoint is where a server can be reached until it is closed.
type Endpoint struct {
	// Address is host:port on loopback, or a name that only Dial knows.
	Address string
	// Dial opens a connection; nil stands for TCP to Address.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	server *grpc.Server
	done   chan struct{}
}

// Listen serves on a free port of the loopback interface, or on the given
// port. It returns a [fault.Unavailable] if the port cannot be had.
func (s *Server) Listen(ctx context.Context, port string) (*Endpoint, error) {
	if port == "" {
		port = "0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "secretmanagerd.Listen "+port, err)
	}
	return s.start(listener, &Endpoint{Address: listener.Addr().String()}), nil
}

// ListenInMemory serves without a network, for clients of the same process.
func (s *Server) ListenInMemory() *Endpoint {
	listener := bufconn.Listen(pipeBytes)
	return s.start(listener, &Endpoint{
		Address: "secretmanagerd",
		Dial:    func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) },
	})
}

func (s *Server) start(listener net.Listener, e *Endpoint) *Endpoint {
	e.server = grpc.NewServer()
	e.done = make(chan struct{})
	s.Register(e.server)
	go func() {
		defer close(e.done)
		_ = e.server.Serve(listener) // ends when Close stops the server
	}()
	return e
}

// Close ends the calls under way and waits until nothing is served any more.
func (e *Endpoint) Close() {
	e.server.Stop()
	<-e.done
}
