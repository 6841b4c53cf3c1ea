package secretmanagerd

import (
	"context"
	"net"
)

// Serve serves on a listener of any kind, such as a unix socket's, until the
// endpoint is closed, which closes the listener too.
func (s *Server) Serve(listener net.Listener) *Endpoint {
	address := listener.Addr()
	return s.start(listener, &Endpoint{
		Address: address.String(),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, address.Network(), address.String())
		},
	})
}
