// Package gsm reads and writes secrets in Google Secret Manager, and is the
// only importer of its client library.
//
// [Client] implements syncer.Sources. Every call goes through one table of
// policies (see policy): how long an attempt may take, which answers are worth
// repeating and how often, and whether it counts as a metadata read, of which
// Secret Manager allows few. The client library's own retries and timeouts are
// switched off, and so is its logging, which would print values.
//
// What Secret Manager answers is mapped to a code of package fault; its text,
// which may quote what it was sent, is dropped.
package gsm

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

// DefaultReadsPerMinute is 95 % of the 600 read requests that Secret Manager
// allows a project in a minute, since a minute here and a minute there do not
// begin at the same moment.
// Source: cloud.google.com/secret-manager/quotas, "Request rate quotas".
const DefaultReadsPerMinute = 570

// Config says how to reach Secret Manager. Its zero value is the real service
// under the credentials that the environment provides.
type Config struct {
	// Endpoint, as host:port, replaces the real service's.
	Endpoint string
	// Insecure talks to Endpoint without TLS and without credentials. It is
	// allowed on loopback only, or through Dial.
	Insecure bool
	// Dial opens the connections to Endpoint in place of TCP: how a server in
	// the same process is reached without a port.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)
	// Topic is the Pub/Sub topic that Sealpost listens to, as secrets name it:
	// projects/P/topics/T. A source counts as notified if that is among its
	// topics; if Topic is empty, with any.
	Topic string
	// Clock waits between attempts and paces; nil is the machine's.
	Clock clock.Clock
	// ReadsPerMinute is how many metadata reads the client starts in any
	// minute, over all source projects: whether the quota of the project that
	// asks or of the project that is asked counts, it holds. 0 stands for
	// DefaultReadsPerMinute, a negative number for no limit.
	ReadsPerMinute int
}

// Client is a connection to Secret Manager. All methods may be called
// concurrently.
type Client struct {
	api   *secretmanager.Client
	topic string
}

// Open prepares a client; the first call connects. It returns a
// [fault.ConfigInvalid] for an insecure endpoint that is not on loopback, and
// where no usable credentials are found. The client must be closed.
func Open(ctx context.Context, config Config) (*Client, error) {
	options, err := dialOptions(config)
	if err != nil {
		return nil, err
	}
	api, err := secretmanager.NewClient(ctx, options...)
	if err != nil {
		// The cause is dropped: a parser's message may quote a credentials file.
		return nil, fault.New(fault.ConfigInvalid, "there are no usable Google Cloud credentials for Secret Manager").
			WithRemedy("Log in, or let GOOGLE_APPLICATION_CREDENTIALS name a credentials file.", "gcloud auth application-default login")
	}
	api.CallOptions = &secretmanager.CallOptions{} // no retry and no timeout but the policies'
	return &Client{api: api, topic: config.Topic}, nil
}

// Close ends the connection and every call under way.
func (c *Client) Close() error {
	if err := c.api.Close(); err != nil {
		return fault.Wrap(fault.Internal, "gsm.Close", err)
	}
	return nil
}

func dialOptions(config Config) ([]option.ClientOption, error) {
	caller := newCaller(config)
	options := []option.ClientOption{
		option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(caller.intercept)),
		option.WithGRPCDialOption(grpc.WithDisableRetry()), // the policies retry; nothing below them does
		// At debug level the library logs whole answers, values included; the
		// environment alone could turn that on.
		option.WithLogger(slog.New(slog.DiscardHandler)),
		// A span would record the text of a failed call's status.
		option.WithTelemetryDisabled(),
	}
	endpoint := config.Endpoint
	if config.Dial != nil {
		options = append(options, option.WithGRPCDialOption(grpc.WithContextDialer(config.Dial)))
		endpoint = "passthrough:///" + endpoint
	}
	if endpoint != "" {
		options = append(options, option.WithEndpoint(endpoint))
	}
	if !config.Insecure {
		return options, nil
	}
	if config.Dial == nil && !onLoopback(config.Endpoint) {
		return nil, fault.New(fault.ConfigInvalid, "the Secret Manager endpoint %q is not on loopback: it needs TLS", config.Endpoint)
	}
	return append(options,
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	), nil
}

func onLoopback(endpoint string) bool {
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

func newCaller(config Config) *caller {
	c := &caller{clock: config.Clock}
	if c.clock == nil {
		c.clock = clock.Real()
	}
	reads := config.ReadsPerMinute
	if reads == 0 {
		reads = DefaultReadsPerMinute
	}
	c.reads = newPacer(c.clock, reads, time.Minute)
	return c
}
