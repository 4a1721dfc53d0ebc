package main

import (
	"errors"
	"fmt"

	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"
)

// servePort is where "serve" listens by default, so that its addresses stay the same; IANA has not given it away.
const servePort = 4141

func newServeCommand(a *app) *cobra.Command {
	flags := nodeFlags{defaultListen: serveListen()}
	var httpListen string
	command := &cobra.Command{
		Use:   "serve [flags]",
		Short: "serve everything in the home until interrupted",
		Long: `Serve runs a node: it serves everything in the home, is part of the network for others, and does what other commands on
the same home ask for. It prints one line per address that others can join, and runs until it is interrupted or
terminated.`,
		Example:     "  $ swarmsync serve --join /ip4/192.0.2.1/tcp/4141/p2p/12D3KooW…",
		Args:        exactly(),
		Annotations: exits(),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			s, err := a.openOwn(command, &flags)
			if err != nil {
				return err
			}
			ctx := command.Context()
			defer func() { err = errors.Join(err, s.close(ctx)) }()
			if httpListen != "" {
				stop, err := a.serveHTTP(ctx, s, httpListen)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, stop()) }()
			}
			for _, address := range s.node.Addresses() {
				if err := a.result("address", addressLine{address.String()}, address.String()); err != nil {
					return err
				}
			}
			defer s.warnOfJoins(ctx, &flags)()
			return s.serveUntil(ctx)
		},
	}
	flags.register(command.Flags())
	command.Flags().StringVar(&httpListen, "http-listen", "", "also serve roots over HTTP at that `ADDR`, such as 127.0.0.1:8080: whoever "+
		"knows a root can read it at /ROOT")
	return command
}

type addressLine struct {
	Address string `json:"address"`
}

func serveListen() []multiaddr.Multiaddr {
	var listen []multiaddr.Multiaddr
	for _, pattern := range []string{
		"/ip4/0.0.0.0/tcp/%d", "/ip6/::/tcp/%d", "/ip4/0.0.0.0/udp/%d/quic-v1", "/ip6/::/udp/%d/quic-v1",
	} {
		listen = append(listen, multiaddr.StringCast(fmt.Sprintf(pattern, servePort)))
	}
	return listen
}
